"""The trace field, form by form (RFC 5321 4.4)."""

import re
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.core.message import TLS, Session
from smtp_router.smtp.received import Stamp
from tests.support import make_message

V4 = Session(peer="192.0.2.1", peer_port=4, ehlo="client.example")
V6 = Session(peer="2001:db8::1", peer_port=6, ehlo="[IPv6:2001:db8::1]")
ENCRYPTED = TLS(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (
            {"session": V4},
            (
                "Received: from client.example ([192.0.2.1])\r\n"
                "\tby router.example (smtp-router) with ESMTPA id message-1\r\n"
                "\tfor <rcpt@b.example>;\r\n"
                "\tTue, 03 Feb 2026 04:05:06 +0000\r\n"
            ),
        ),
        (
            {
                "session": V6,
                "rcpt_tos": ("a@b.example", "b@b.example"),
                "received_at": datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=-8))),
            },
            (
                "Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n"
                "\tby router.example (smtp-router) with ESMTPA id message-1;\r\n"
                "\tTue, 03 Feb 2026 04:05:06 -0800\r\n"
            ),
        ),
        (
            {"session": Session(peer="192.0.2.1", ehlo="client.example", tls=ENCRYPTED)},
            (
                "Received: from client.example ([192.0.2.1])\r\n"
                "\tby router.example (smtp-router) with ESMTPSA id message-1\r\n"
                "\t(TLSv1.3, TLS_AES_256_GCM_SHA384)\r\n"
                "\tfor <rcpt@b.example>;\r\n"
                "\tTue, 03 Feb 2026 04:05:06 +0000\r\n"
            ),
        ),
        (
            {"session": V4, "rcpt_tos": ('"a b"@b.example',)},
            (
                "Received: from client.example ([192.0.2.1])\r\n"
                "\tby router.example (smtp-router) with ESMTPA id message-1\r\n"
                '\tfor <"a b"@b.example>;\r\n'
                "\tTue, 03 Feb 2026 04:05:06 +0000\r\n"
            ),
        ),
    ],
)
def test_a_field(changes: dict[str, Any], field: str) -> None:
    assert Stamp("router.example").field(make_message(**changes)) == field.encode()


@pytest.mark.parametrize(
    ("esmtp", "tls", "utf8", "authenticated", "protocol"),
    [
        (True, None, False, True, "ESMTPA"),
        (True, ENCRYPTED, False, True, "ESMTPSA"),
        (True, None, True, True, "UTF8SMTPA"),
        (True, ENCRYPTED, True, True, "UTF8SMTPSA"),
        (True, None, False, False, "ESMTP"),
        (True, ENCRYPTED, False, False, "ESMTPS"),
        (False, None, False, True, "SMTP"),
    ],
)
def test_the_protocol_has_its_registered_name(
    *, esmtp: bool, tls: TLS | None, utf8: bool, authenticated: bool, protocol: str
) -> None:
    """RFC 3848, RFC 6531 4.3."""
    message = make_message(
        session=Session(peer="192.0.2.1", ehlo="x", esmtp=esmtp, tls=tls, authenticated=authenticated),
        mail_parameters={"SMTPUTF8": None} if utf8 else {},
    )
    assert f" with {protocol} id ".encode() in Stamp("router.example").field(message)


ZONES = st.sampled_from([UTC, UTC, timezone(timedelta(0)), timezone(timedelta(hours=2))])
TIMES = st.builds(
    datetime, *map(st.just, (2026, 2, 3, 4, 5)), st.integers(5, 7), st.integers(0, 999_999)
)


@given(st.lists(st.tuples(TIMES, ZONES), max_size=9))
def test_a_stamp_says_the_time_of_each_message(times: list[tuple[datetime, timezone]]) -> None:
    stamp = Stamp("router.example")
    for when, zone in times:
        message = make_message(received_at=when.replace(tzinfo=UTC).astimezone(zone))
        assert stamp.field(message) == Stamp("router.example").field(message)


def test_a_stamp_says_of_each_client_what_is_true_of_it() -> None:
    stamp, both = Stamp("router.example"), (False, True)
    for ehlo, peer, tls, esmtp, login, utf8 in product(("a", "b"), ("", "1::"), both, both, both, both):
        message = make_message(
            session=Session(
                ehlo=ehlo, peer=peer, tls=ENCRYPTED if tls else None, esmtp=esmtp, authenticated=login
            ),
            mail_parameters={"SMTPUTF8": None} if utf8 else {},
        )
        for _ in range(2):
            assert stamp.field(message) == Stamp("router.example").field(message)


def test_what_is_kept_of_clients_goes_with_the_second() -> None:
    stamp = Stamp("router.example")
    for second in range(9):
        when = datetime(2026, 2, 3, 4, 5, second, tzinfo=UTC)
        stamp.field(make_message(received_at=when, session=Session(ehlo=str(second))))
    assert len(stamp._begun) == 1  # noqa: SLF001 - it cannot be seen from outside


def test_every_line_of_it_is_short_and_folded() -> None:
    message = make_message(session=V6, rcpt_tos=(200 * "a" + "@b.example",))
    first, *others = Stamp("router.example").field(message).split(b"\r\n")
    assert first.startswith(b"Received: ")
    assert others.pop() == b""
    assert all(re.match(rb"\t\S", line) for line in others)
    assert all(len(line) <= 998 for line in others)


def test_it_can_be_read_by_a_parser_of_mail() -> None:
    message = make_message(session=V4, received_at=datetime.now(UTC))
    field = Stamp("router.example").field(message)
    parsed = message_from_bytes(field + b"Subject: hello\r\n\r\nbody\r\n")
    assert [name for name, _ in parsed.items()] == ["Received", "Subject"]
