"""The plugin webhook in a router: mail does not wait for it, and what it tells is signed and whole."""

import base64
import hmac
import json
import smtplib
import time
from pathlib import Path
from typing import Any

from smtp_router.testing import Answer, ScriptedDownstream
from tests.receiver import Receiver, Taken, hang, status
from tests.running import PASSWORD, USER, Config, Router, config, user

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


def configuration(*downstreams: ScriptedDownstream, url: str, **options: object) -> Config:
    entries = [{"addr": one.addr, "name": name} for one, name in zip(downstreams, "ab", strict=False)]
    given = {"url": url, "secret": "${file:./secret}", "batch_s": 0.05, **options}
    plugins = [{"use": "webhook", "options": given}]
    return config(user(*entries, plugins=plugins), hook_timeout_s=0.5, deadline_s=1)


def send(router: Router, messages: int = 1) -> None:
    with smtplib.SMTP("127.0.0.1", router.port) as client:
        client.login(USER, PASSWORD)
        for number in range(messages):
            client.sendmail("a@a.example", ["b@b.example"], f"Subject: {number}\r\n\r\nx\r\n")


def events(requests: list[Taken]) -> list[dict[str, Any]]:
    return [event for request in requests for event in json.loads(request.body)["data"]]


def signature(request: Taken) -> str:
    fields = request.fields
    signed = f"{fields['webhook-id']}.{fields['webhook-timestamp']}.".encode() + request.body
    return f"v1,{base64.b64encode(hmac.digest(KEY, signed, 'sha256')).decode()}"


def test_each_attempt_is_told_signed_and_the_secret_is_in_no_log(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    with (
        Receiver(status(500)) as receiver,
        ScriptedDownstream({"mail": [Answer(451, "4.3.2 closed")]}) as first,
        ScriptedDownstream() as second,
    ):
        with Router(configuration(first, second, url=receiver.url), tmp_path) as router:
            send(router)
            requests = receiver.wait(2)
            assert requests[1].fields["webhook-signature"] == signature(requests[1])
        logged = repr(router.log.entries)
        assert receiver.requests == requests
    told = [(event["outcome"], event["downstream"], event["stage"]) for event in events(requests[1:])]
    assert told == [("deferred", "a", "mail"), ("delivered", "b", "final")]
    assert not any(hidden in logged for hidden in (SECRET, "sesame"))


def test_a_webhook_that_hangs_does_not_delay_mail(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    with Receiver(*[hang] * 9) as receiver, ScriptedDownstream() as downstream:
        options = configuration(downstream, url=receiver.url, timeout_s=60, batch=1)
        with Router(options, tmp_path) as router:
            send(router)
            receiver.wait()
            started = time.monotonic()
            send(router, 50)
            assert time.monotonic() - started < 5
            assert len(downstream.delivered) == 51
            started = time.monotonic()
        assert time.monotonic() - started < 5  # the end is bounded, too
    assert len(receiver.requests) == 1


def test_a_router_that_stops_tells_what_waits(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    with Receiver() as receiver, ScriptedDownstream() as downstream:
        with Router(configuration(downstream, url=receiver.url, batch_s=3600), tmp_path) as router:
            send(router, 3)
            assert not receiver.requests
        assert len(events(receiver.requests)) == 3


def test_a_reload_with_another_url_tells_the_old_one_what_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    with Receiver() as old, Receiver() as new, ScriptedDownstream() as downstream:
        with Router(configuration(downstream, url=old.url, batch_s=3600), tmp_path) as router:
            send(router)
            router.configure(configuration(downstream, url=new.url, batch_s=3600))
            router.reload()
            assert len(events(old.wait())) == 1
            send(router, 2)
        assert len(events(new.requests)) == 2
        assert len(old.requests) == 1
