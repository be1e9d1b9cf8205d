"""What may be configured, what is said of what may not, and what is said to nobody."""

import base64
import logging
import os
import re
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from tests.receiver import Receiver, reset, status
from tests.telling import SECRET, Make, block, ids, losses, making, tell

make = pytest.fixture(making)


def test_the_readmes_configuration_is_right(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(block("yaml"), "utf-8")
    environment = {**os.environ, "APP_PASSWORD": "open", "WEBHOOK_SECRET": SECRET}
    command = [sys.executable, "-m", "smtp_router", "check", "-c", str(tmp_path / "config.yaml")]
    checked = subprocess.run(command, env=environment, capture_output=True, check=False, text=True)  # noqa: S603
    assert checked.returncode == 0, checked.stderr
    assert SECRET not in checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "a.example"}, "url: is no URL"),
        ({"url": "https:///x"}, "url: is no URL"),
        ({"url": 1}, "url: is no URL"),
        ({"url": "https://a b/"}, "url: is no URL"),
        ({"url": "ftp://a.example/"}, "url: is no URL"),
        ({"url": "http://a.example/"}, "url: http shows the mail's envelopes"),
        ({"url": "http://127.0.0.1.example/"}, "url: http shows the mail's envelopes"),
        ({"url": "https://u:sesame@a.example/"}, "url: a login in it"),
        ({"allow_http": "yes"}, "allow_http: true or false, not 'yes'"),
        ({"secret": "sesame"}, "secret: whsec_ and Base64 of 24 to 64 octets"),
        ({"secret": "whsec_sesame"}, "secret: whsec_ and Base64"),
        ({"secret": f"whsec_{base64.b64encode(bytes(23)).decode()}"}, "secret: whsec_"),
        ({"secret": f"whsec_{base64.b64encode(bytes(65)).decode()}"}, "secret: whsec_"),
        ({"secret": []}, "secret: none is given"),
        ({"secret": [SECRET, 1]}, "secret.1: whsec_"),
        ({"events": "delivered"}, "events: a list of any of delivered, deferred, rejected, in_doubt"),
        ({"events": []}, "events: a list of any of"),
        ({"events": ["bounced"]}, "events: a list of any of"),
        ({"events": [["delivered"]]}, "events: a list of any of"),
        ({"batch": 0}, "batch: a whole number from 1 to 10000, not 0"),
        ({"batch": True}, "batch: a whole number"),
        ({"batch_s": -1}, "batch_s: a number from 0 to 3600, not -1"),
        ({"timeout_s": float("nan")}, "timeout_s: a number from 0.1 to 600, not nan"),
        ({"timeout_s": "1"}, "timeout_s: a number from 0.1 to 600, not '1'"),
        ({"retries": 1.5}, "retries: a whole number from 0 to 1000, not 1.5"),
        ({"backoff_s": 0}, "backoff_s: a number from 0.1 to 3600, not 0"),
        ({"max_backoff_s": 0.5}, "max_backoff_s: a number from 1 to 86400, not 0.5"),
        ({"max_queue_bytes": 5}, "max_queue_bytes: a whole number from 65536 to"),
        ({"ca_file": "ca.pem"}, "ca_file: an absolute path, not 'ca.pem'"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file: No such file or directory"),
        ({"ca_file": __file__}, "ca_file: has no certificate"),
    ],
)
async def test_wrong_options_are_refused_by_name_and_without_a_secret(
    options: dict[str, object], says: str, make: Make
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}") as refused:
        make(**{"url": "https://a.example/", **options})
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "127.9.9.9", "[::1]:80", "localhost"])
async def test_http_is_for_this_machine_or_for_who_allows_it(host: str, make: Make) -> None:
    make(f"http://{host}/")
    make("http://a.example/", allow_http=True)


async def test_https_trusts_the_authorities_of_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Make
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Receiver(tls=context) as receiver:
        await tell(make(receiver.url, ca_file=str(tmp_path / "ca.pem")), 1)
        assert [ids(request) for request in receiver.requests] == [[1]]
        await tell(make(receiver.url, retries=0), 2)
        assert len(receiver.requests) == 1
    assert losses(caplog) == [(1, "ConnectError")]


async def test_neither_secret_nor_path_is_in_a_repr_or_in_the_log(
    caplog: pytest.LogCaptureFixture, make: Make
) -> None:
    caplog.set_level(logging.DEBUG)
    with Receiver(status(500), reset, status(400)) as receiver:
        plugin = make(receiver.url)
        await tell(plugin, 1)
        await plugin.close()
    seen = repr(plugin) + "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "webhook failed" in seen
    assert f"http://127.0.0.1:{receiver.port}" in seen
    for hidden in ("sesame", "/hook", SECRET, SECRET[6:], "v1,"):
        assert hidden not in seen
