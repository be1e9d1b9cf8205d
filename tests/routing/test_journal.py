"""What is logged of a message and its attempts, and what is not."""

import logging
from pathlib import Path

import pytest

from tests.routing.bench import Bench, records
from tests.routing.plugins import STAMP, raising
from tests.support import (
    CONTENT,
    PASSWORD,
    USER,
    Step,
    deferred,
    delivered,
    in_doubt,
    rejected,
    unreachable,
)


async def test_one_line_is_logged_for_each_attempt_and_one_for_the_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stamp = STAMP.replace('with_header("X-Downstream", downstream.name)', "replace(mail_from='')")
    bench = Bench(
        tmp_path,
        {"stamp.py": stamp},
        script={"a": deferred("450 4.2.1 busy"), "b": delivered("250 2.0.0 ok")},
        takes_s=1.25,
    )
    await bench.route(rcpt_tos=("x@b.example", "y@b.example"))
    common = {"id": "message-1", "user": USER, "recipients": 2, "bytes": len(CONTENT)}
    assert records(caplog, "attempt") == [
        {
            **common,
            "mail_from": "",
            "downstream": "a",
            "stage": "rcpt",
            "outcome": "deferred",
            "code": 450,
            "seconds": 1.25,
            "reply": "450 4.2.1 busy",
            "reason": None,
        },
        {
            **common,
            "mail_from": "",
            "downstream": "b",
            "stage": "final",
            "outcome": "delivered",
            "code": 250,
            "seconds": 1.25,
            "reply": "250 2.0.0 ok",
            "reason": None,
        },
    ]
    assert records(caplog, "message") == [
        {
            **common,
            "mail_from": "sender@a.example",
            "downstream": "b",
            "stage": "final",
            "outcome": "delivered",
            "code": 250,
            "seconds": 2.5,
            "attempts": 2,
            "reply": "250 2.0.0 Delivered as message-1",
            "canary": None,
        }
    ]
    levels = [record.levelname for record in caplog.records if record.getMessage() == "attempt"]
    assert levels == ["WARNING", "INFO"]


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ({}, "delivered"),
        ({"a": in_doubt()}, "in_doubt"),
        ({"a": rejected()}, "rejected"),
        ({"a": unreachable(), "b": unreachable()}, "deferred"),
        ({"a": RuntimeError()}, "deferred"),
    ],
    ids=["delivered", "in doubt", "rejected", "deferred", "fault"],
)
async def test_the_last_line_says_what_became_of_the_message(
    tmp_path: Path, script: dict[str, Step], outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await Bench(tmp_path, script=script).route()
    assert [one["outcome"] for one in records(caplog, "message")] == [outcome]


async def test_neither_content_nor_secrets_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    login = {"addr": "a.example:25", "user": "apikey", "pass": "s3cret"}
    bench = Bench(
        tmp_path,
        {"bad.py": raising("after_send", "ValueError")},
        script={"a": deferred()},
        downstreams={"a": login, "b": login},
    )
    await bench.route(content=b"Subject: private\r\n\r\nprivate\r\n")
    shown = caplog.text + repr([vars(record) for record in caplog.records])
    for secret in ("private", "s3cret", PASSWORD):
        assert secret not in shown
