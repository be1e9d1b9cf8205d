"""Where a downstream is, what it speaks there, and where from."""

import json
from ipaddress import ip_address
from pathlib import Path

import pytest

from smtp_router.config.load import parse
from smtp_router.config.settings import Downstream
from smtp_router.config.types import UnixPath
from smtp_router.core.errors import ConfigError


def downstream(**entry: object) -> Downstream:
    """A downstream with this in its entry.

    Raises:
        ConfigError: it cannot be.
    """
    user = {"email": "a@b", "password": "p", "algorithm": "x", "downstreams": [entry]}
    text = json.dumps({"users": [user]}).encode()
    return parse(text, Path("/etc/router/config.yaml")).settings.users[0].downstreams[0]


@pytest.mark.parametrize(
    ("addr", "path"),
    [("unix:/run/lmtp", "/run/lmtp"), ("unix:run/lmtp", "/etc/router/run/lmtp")],
)
def test_a_unix_socket_is_found_from_the_configurations_folder(addr: str, path: str) -> None:
    found = downstream(addr=addr, protocol="lmtp")
    assert (found.addr, found.protocol) == (UnixPath(path=path), "lmtp")
    assert found.name == f"unix:{path}"
    assert not found.implicit_tls


@pytest.mark.parametrize("address", ["192.0.2.25", "2001:db8::25", "127.0.0.1"])
def test_an_address_to_connect_from_is_one_of_ip(address: str) -> None:
    assert downstream(addr="a.example:25", source_address=address).source_address == ip_address(address)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"addr": "unix:"}, "addr: must be unix:PATH"),
        ({"addr": "unix:/s", "tls": "starttls"}, "tls is starttls, and a Unix socket needs none"),
        ({"addr": "unix:/s", "tls": "implicit"}, "tls is implicit, and a Unix socket needs none"),
        ({"addr": "unix:/s", "source_address": "192.0.2.1"}, "source_address is for TCP: take it out"),
        ({"addr": "a.example:25", "protocol": "lmtp"}, "protocol: port 25 is for smtp, never for lmtp"),
        ({"addr": "a.example:24", "protocol": "qmqp"}, "protocol: must be 'smtp' or 'lmtp'"),
        ({"addr": "a.example:25", "source_address": "eth0"}, "must be an IP address of this machine"),
        ({"addr": "a.example:25", "source_address": "0.0.0.0"}, "must be an IP address of this machine"),
        ({"addr": "a.example:25", "source_address": "224.0.0.1"}, "must be an IP address of this"),
        ({"addr": "a.example:25", "source_address": 5}, "must be an IP address of this machine"),
        ({"addr": "systemd:x"}, "addr: must be HOST:PORT"),
    ],
)
def test_what_cannot_be_is_refused(entry: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        downstream(**entry)
    assert expected in str(raised.value)
