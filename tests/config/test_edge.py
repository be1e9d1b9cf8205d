"""The keys of the edge: listeners, TLS, networks, rates; and what is said when they are wrong."""

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from smtp_router.config.load import parse
from smtp_router.config.settings import Settings
from smtp_router.config.types import HostPort, Rate, SystemdSocket, UnixPath
from smtp_router.core.errors import ConfigError

USER = {
    "email": "a@a.example",
    "password": "secret",
    "algorithm": "failover",
    "downstreams": [{"addr": "b.example:25"}],
}
CERTIFIED = {"addr": "127.0.0.1:0", "tls": "starttls", "tls_cert": "cert.pem"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("PEM")
    return tmp_path


def read(folder: Path, **settings: Any) -> Settings:  # noqa: ANN401 - as JSON has it
    text = json.dumps({"users": [USER], **settings})
    return parse(text.encode(), folder / "config.yaml", environ={"SECRET": "s3cret"}).settings


def with_user(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    return {"users": [{**USER, **more}]}


@pytest.mark.parametrize(
    ("addr", "read_as", "said"),
    [
        ("127.0.0.1:25", HostPort(host="127.0.0.1", port=25), "127.0.0.1:25"),
        ("[::1]:25", HostPort(host="::1", port=25), "[::1]:25"),
        ("unix:/run/smtp", UnixPath(path="/run/smtp"), "unix:/run/smtp"),
        ("systemd", SystemdSocket(name=""), "systemd"),
        ("systemd:", SystemdSocket(name=""), "systemd"),
        ("systemd:smtp", SystemdSocket(name="smtp"), "systemd:smtp"),
    ],
)
def test_a_listener_has_an_address_of_one_of_three_kinds(
    addr: str, read_as: object, said: str, folder: Path
) -> None:
    found = read(folder, listen=[{"addr": addr}]).listen[0].addr
    assert found == read_as
    assert str(found) == said


def test_paths_start_from_the_configurations_folder(folder: Path) -> None:
    listen = [CERTIFIED | {"addr": "unix:run/smtp", "tls_key": "./key.pem"}]
    listener = read(folder, listen=listen).listen[0]
    assert listener.addr == UnixPath(path=str(folder / "run" / "smtp"))
    assert (listener.tls_cert, listener.tls_key) == (folder / "cert.pem", folder / "key.pem")


@pytest.mark.parametrize(
    ("rate", "read_as"),
    [
        ("1/s", (1, 1)),
        ("100/min", (100, 60)),
        ("5/h", (5, 3600)),
        ("999999999/day", (999_999_999, 86400)),
    ],
)
def test_a_rate_is_a_number_per_time(rate: str, read_as: tuple[int, int], folder: Path) -> None:
    found = read(folder, **with_user(rate=rate)).users[0].rate
    assert found == Rate(count=read_as[0], seconds=read_as[1])
    assert str(found) == rate


def test_networks_are_ipv4_or_ipv6_or_one_address(folder: Path) -> None:
    networks = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"]
    found = read(folder, **with_user(networks=networks)).users[0].networks
    assert found == tuple(map(ip_network, networks))


RATE = "must be a number per s, min, h or day, as in 100/min"
NETWORK = "must be a network, as in 10.1.2.0/24 or 2001:db8::/32 (no bits behind the prefix)"
INTERNET = "is the whole internet: name the networks that are trusted"
HOST_PORT = "must be HOST:PORT with a port from 0 to 65535, as in smtp.example.com:587"


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"listen": [{"addr": "unix:"}]}, "listen[0].addr", "must be unix:PATH"),
        ({"listen": [{"addr": "systemdx"}]}, "listen[0].addr", HOST_PORT),
        ({"listen": [{"addr": "a:1", "tls": "starttls"}]}, "listen[0]", "tls and tls_cert go together"),
        (
            {"listen": [{"addr": "a:1", "tls_cert": "cert.pem"}]},
            "listen[0]",
            "tls and tls_cert go together",
        ),
        ({"listen": [{"addr": "a:1", "tls_key": "key.pem"}]}, "listen[0]", "tls_key without tls_cert"),
        ({"listen": [{"addr": "a:1", "require_tls": True}]}, "listen[0]", "require_tls needs tls"),
        (
            {"listen": [CERTIFIED | {"tls": "on"}]},
            "listen[0].tls",
            "must be 'none', 'starttls' or 'implicit'",
        ),
        (
            {"listen": [CERTIFIED | {"tls_cert": "x.pem"}]},
            "listen[0].tls_cert",
            "is no file: give the path",
        ),
        (
            {"listen": [CERTIFIED | {"tls_key": "x.pem"}]},
            "listen[0].tls_key",
            "is no file: give the path",
        ),
        ({"listen": [{"addr": "a:1", "proxy_protocol": ["x"]}]}, "listen[0].proxy_protocol[0]", NETWORK),
        (
            {"listen": [{"addr": "a:1", "proxy_protocol": ["0.0.0.0/0"]}]},
            "listen[0].proxy_protocol[0]",
            INTERNET,
        ),
        (with_user(networks=["::/0"]), "users[0].networks[0]", INTERNET),
        (with_user(networks=["10.0.0.1/8"]), "users[0].networks[0]", NETWORK),
        (with_user(networks=["${env:SECRET}"]), "users[0].networks[0]", NETWORK),
        (with_user(networks=[5]), "users[0].networks[0]", NETWORK),
        (with_user(networks="10.0.0.0/8"), "users[0].networks", "must be a list"),
        (with_user(senders=[""]), "users[0].senders[0]", "must not be empty"),
        (with_user(max_connections=0), "users[0].max_connections", "must be more than 0"),
        (with_user(rate="0/min"), "users[0].rate", RATE),
        (with_user(rate="1/week"), "users[0].rate", RATE),
        (with_user(rate=" 1/min"), "users[0].rate", RATE),
        (with_user(rate=100), "users[0].rate", RATE),
        (with_user(rate="${env:SECRET}"), "users[0].rate", RATE),
        ({"bare_newlines": "repair"}, "bare_newlines", "must be 'reject' or 'accept'"),
        ({"max_message_size": 5}, "max_message_size", "did you mean max_message_bytes?"),
        ({"max_memory_bytes": 52428799}, "max_memory_bytes", "must not be less than max_message_bytes"),
        ({"max_message_bytes": 2**31}, "max_memory_bytes", "must not be less than max_message_bytes"),
        ({"auth_failures": True}, "auth_failures", "must be a number"),
        ({"auth_window_s": 0}, "auth_window_s", "must be more than 0"),
        (
            {
                "users": [
                    USER | {"networks": ["10.0.0.0/8"]},
                    USER | {"email": "b", "networks": ["10.0.0.0/8"]},
                ]
            },
            "users[1].networks[0]",
            "belongs to users[0], too",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_with_its_key(
    settings: dict[str, Any], key: str, message: str, folder: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(folder, **settings)
    (problem,) = caught.value.problems
    assert problem.key == key
    assert message in problem.message
    assert "s3cret" not in str(caught.value)
