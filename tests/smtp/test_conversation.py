"""A session without a socket: what is said, what is heard, in every order."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtp_router import Message
from smtp_router.config.load import parse
from smtp_router.config.settings import Settings
from smtp_router.smtp.conversation import MAX_FAILED_LOGINS, MAX_UNKNOWN_COMMANDS, Conversation
from smtp_router.smtp.offer import Offer
from smtp_router.smtp.steps import Answer, Farewell, LogIn, Receive, StartTls, Step
from smtp_router.smtp.wire import Mark
from tests.running import one_user
from tests.site import OpenSite

MAX_BYTES, MAX_RECIPIENTS = 1000, 3
SETTINGS: Settings = parse(
    json.dumps(
        one_user({"addr": "b.example:25"}, max_message_bytes=MAX_BYTES, max_recipients=MAX_RECIPIENTS)
    ).encode(),
    Path("config.yaml"),
).settings


def conversation(*, may_log_in: bool = True, max_bytes: int = MAX_BYTES) -> Conversation:
    site = OpenSite(replace(SETTINGS, max_message_bytes=max_bytes))
    return Conversation(Offer(site), ("127.0.0.1" if may_log_in else "192.0.2.1", 1234))


def said(step: Step) -> str:
    """A reply's code and enhanced code; for a multi-line one, those of the last line."""
    assert isinstance(step, Answer)
    *_, last = step.octets.decode("ascii").removesuffix("\r\n").split("\r\n")
    code, _, rest = last.partition(" ")
    enhanced = re.match(r"\d\.\d{1,3}\.\d{1,3}", rest)
    return f"{code} {enhanced[0]}" if enhanced else code


def say(talk: Conversation, *lines: bytes) -> Step:
    *before, last = lines
    for line in before:
        talk.on(line)
    return talk.on(last)


def send(talk: Conversation, wire: bytes) -> Step:
    """Say DATA, and send this; the answer to it."""
    step = say(talk, b"DATA")
    assert said(step) == "354"
    assert talk.awaits_content
    body = talk.begin_content()
    body.add(wire)
    body.end()
    return talk.on(Mark.CONTENT)


# Sequences: the table at the top of conversation.py, verb by verb

LOG_IN = b"\0"  # stands for a login, which is more than one line

STATES: dict[str, list[bytes]] = {
    "fresh": [],
    "HELO": [b"HELO client.example"],
    "EHLO": [b"EHLO client.example"],
    "login": [b"EHLO client.example", LOG_IN],
    "MAIL": [b"EHLO client.example", LOG_IN, b"MAIL FROM:<a@a.example>"],
    "RCPT": [
        b"EHLO client.example",
        LOG_IN,
        b"MAIL FROM:<a@a.example>",
        b"RCPT TO:<b@b.example>",
    ],
}

TABLE = """
    state                      fresh HELO EHLO login MAIL RCPT
    EHLO client.example         250   250  250  250  250  250
    HELO client.example         250   250  250  250  250  250
    AUTH PLAIN                  503   503  yes  503  503  503
    AUTH LOGIN                  503   503  yes  503  503  503
    MAIL FROM:<a@a.example>     503   530  530  250  503  503
    RCPT TO:<b@b.example>       503   503  503  503  250  250
    DATA                        503   503  503  503  503  354
    RSET                        250   250  250  250  250  250
    NOOP                        250   250  250  250  250  250
    VRFY b                      252   252  252  252  252  252
    EXPN b                      502   502  502  502  502  502
    HELP                        214   214  214  214  214  214
    QUIT                        221   221  221  221  221  221
    STARTTLS                    502   502  502  502  502  502
    XYZZY                       500   500  500  500  500  500
"""


def cells() -> Iterator[tuple[bytes, str, str]]:
    head, *rows = TABLE.strip().splitlines()
    for row in rows:
        line, *codes = re.split(r" {2,}", row.strip())
        for state, code in zip(head.split()[1:], codes, strict=True):
            yield line.encode(), state, code


def reach(state: str, *, max_bytes: int = MAX_BYTES) -> Conversation:
    talk = conversation(max_bytes=max_bytes)
    for step in STATES[state]:
        if step == LOG_IN:
            assert isinstance(say(talk, b"AUTH PLAIN"), LogIn)
            assert said(talk.logged_in("app@app.example")) == "235 2.7.0"
        else:
            assert said(say(talk, step)).startswith("250")
    return talk


@pytest.mark.parametrize(("line", "state", "code"), list(cells()))
def test_a_verb_in_a_state(line: bytes, state: str, code: str) -> None:
    talk = reach(state)
    step = say(talk, line)
    if code == "yes":
        assert step == LogIn(line.split()[1].decode(), None)
    else:
        assert said(step).split()[0] == code
        assert isinstance(step, Answer)
        assert isinstance(step, Farewell) == (code == "221")
        assert talk.awaits_content == (code == "354")


@pytest.mark.parametrize("line", [b"RSET", b"EHLO other.example", b"HELO other.example"])
def test_what_ends_a_transaction_keeps_the_login(line: bytes) -> None:
    talk = reach("RCPT")
    before = talk.in_transaction
    say(talk, line)
    assert (before, talk.in_transaction) == (True, False)
    assert said(say(talk, b"DATA")) == "503 5.5.1"
    assert said(say(talk, b"MAIL FROM:<a@a.example>")) == "250 2.1.0"


@pytest.mark.parametrize(
    "line",
    [
        b"NOOP",
        b"VRFY b",
        b"HELP",
        b"XXXX",
        b"MAIL FROM:<c@c.example>",
        b"RCPT TO:<bad",
        b"DATA x",
        b"\xff",
    ],
)
def test_what_is_refused_or_asked_in_between_changes_nothing(line: bytes) -> None:
    talk = reach("RCPT")
    say(talk, line)
    step = send(talk, b"hello\r\n")
    assert isinstance(step, Message)
    assert (step.mail_from, step.rcpt_tos) == ("a@a.example", ("b@b.example",))


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"EHLO", "501 5.5.4"),
        (b"HELO", "501 5.5.4"),
        (b"EHLO two words", "501 5.5.4"),
        (b"EHLO -x", "501 5.5.4"),
        (b"EHLO " + 256 * b"a", "501 5.5.4"),
        (b"EHLO (x)", "501 5.5.4"),
        ("EHLO ü.example".encode(), "501 5.5.4"),
        (b"EHLO [127.0.0.1]", "250"),
        (b"EHLO [IPv6:::1]", "250"),
        (b"EHLO under_score", "250"),
        (b"ehlo x", "250"),
    ],
)
def test_a_name_is_needed(line: bytes, reply: str) -> None:
    step = say(conversation(), line)
    assert isinstance(step, Answer)
    assert said(step).startswith(reply[:3])
    if reply != "250":
        assert said(step) == reply


def test_a_bad_ehlo_does_not_end_the_transaction() -> None:
    talk = reach("RCPT")
    assert said(say(talk, b"EHLO")) == "501 5.5.4"
    assert said(say(talk, b"DATA")) == "354"


def test_ehlo_offers_what_is_done() -> None:
    step = say(conversation(), b"EHLO client.example")
    assert isinstance(step, Answer)
    assert step.octets.decode().splitlines() == [
        "250-router.example",
        "250-PIPELINING",
        f"250-SIZE {MAX_BYTES}",
        "250-8BITMIME",
        "250-SMTPUTF8",
        "250-ENHANCEDSTATUSCODES",
        "250-CHUNKING",
        "250-DSN",
        "250-AUTH PLAIN LOGIN",
        f"250 LIMITS MAILMAX=1000 RCPTMAX={MAX_RECIPIENTS}",
    ]


def test_helo_offers_nothing() -> None:
    assert say(conversation(), b"HELO x") == Answer(b"250 router.example\r\n")


# Logging in


@pytest.mark.parametrize(
    ("line", "step"),
    [
        (b"AUTH PLAIN", LogIn("PLAIN", None)),
        (b"auth plain", LogIn("PLAIN", None)),
        (b"AUTH PLAIN AGEAYg==", LogIn("PLAIN", b"AGEAYg==")),
        (b"AUTH PLAIN =", LogIn("PLAIN", b"=")),
        (b"AUTH LOGIN", LogIn("LOGIN", None)),
        (b"AUTH LOGIN YQ==", LogIn("LOGIN", b"YQ==")),
    ],
)
def test_auth(line: bytes, step: LogIn) -> None:
    assert say(reach("EHLO"), line) == step


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"AUTH", "504 5.5.4"),
        (b"AUTH CRAM-MD5", "504 5.5.4"),
        (b"AUTH XOAUTH2 x", "504 5.5.4"),
        (b"AUTH \xff", "504 5.5.4"),
        (b"AUTH PLAIN a b", "501 5.5.4"),
    ],
)
def test_auth_refused(line: bytes, reply: str) -> None:
    assert said(say(reach("EHLO"), line)) == reply


def test_without_tls_a_login_from_elsewhere_is_neither_offered_nor_taken() -> None:
    talk = conversation(may_log_in=False)
    greeting = say(talk, b"EHLO client.example")
    assert isinstance(greeting, Answer)
    assert b"AUTH" not in greeting.octets
    assert said(say(talk, b"AUTH PLAIN AGEAYg==")) == "538 5.7.11"
    assert said(say(talk, b"MAIL FROM:<a@a.example>")) == "530 5.7.0"


def test_too_many_failed_logins_end_the_session() -> None:
    talk = reach("EHLO")
    steps = []
    for _ in range(MAX_FAILED_LOGINS):
        assert isinstance(say(talk, b"AUTH PLAIN"), LogIn)
        steps.append(talk.logged_in(None))
    assert [said(step) for step in steps] == [*4 * ["535 5.7.8"], "421 4.7.0"]
    assert [isinstance(step, Farewell) for step in steps] == [*4 * [False], True]


# Parameters, of a line that is read at once, too


@pytest.mark.parametrize("address", [b"a@a.example", b"a.@a.example", b'"a"@a.example'])
@pytest.mark.parametrize(
    ("state", "code"), [("login", "552 5.3.4"), ("EHLO", "530 5.7.0"), ("MAIL", "503 5.5.1")]
)
def test_a_size_above_the_limit_is_refused_where_mail_could_begin(
    address: bytes, state: str, code: str
) -> None:
    talk = reach(state)
    bad = address == b"a.@a.example" and state == "login"
    line = b"MAIL FROM:<%b> SIZE=%d" % (address, MAX_BYTES + 1)
    assert said(say(talk, line)) == ("501 5.1.7" if bad else code)
    assert talk.in_transaction == (state == "MAIL")


def test_parameters_reach_the_message() -> None:
    talk = reach("login")
    talk.on(b"MAIL FROM:<a@a.example> size=%d body=8bitmime" % MAX_BYTES)
    talk.on(b"RCPT TO:<b@b.example>")
    step = send(talk, b"x\r\n")
    assert isinstance(step, Message)
    assert step.mail_parameters == {"SIZE": str(MAX_BYTES), "BODY": "8bitmime"}


def test_behind_helo_a_plain_line_has_no_parameters() -> None:
    talk = conversation()
    talk.on(b"EHLO client.example")
    talk.on(b"AUTH PLAIN")
    talk.logged_in("app@app.example")
    assert said(say(talk, b"HELO client.example", b"MAIL FROM:<a@a.example> SIZE=1")) == "555 5.5.4"
    assert said(say(talk, b"MAIL FROM:<a@a.example>")) == "250 2.1.0"


# Bounds


def test_too_many_unknown_commands_end_the_session() -> None:
    talk = reach("EHLO")
    steps = [say(talk, b"XXXX") for _ in range(MAX_UNKNOWN_COMMANDS)]
    assert {said(step) for step in steps[:-1]} == {"500 5.5.1"}
    assert said(steps[-1]) == "421 4.7.0"
    assert isinstance(steps[-1], Answer)
    assert isinstance(steps[-1], Farewell)


def test_a_recipient_too_many_is_refused_and_the_others_stay() -> None:
    """RFC 5321 4.5.3.1.10."""
    talk = reach("RCPT")
    replies = [said(say(talk, b"RCPT TO:<c@b.example>")) for _ in range(3)]
    assert replies == ["250 2.1.5", "250 2.1.5", "452 4.5.3"]
    step = send(talk, b"")
    assert isinstance(step, Message)
    assert step.rcpt_tos == ("b@b.example", "c@b.example", "c@b.example")


def test_a_line_that_is_too_long_is_refused() -> None:
    assert said(reach("RCPT").on(Mark.LINE_TOO_LONG)) == "500 5.5.2"


@pytest.mark.parametrize(
    ("wire", "taken"),
    [
        (998 * b"x" + b"\r\n", True),
        (999 * b"x" + b"\r\n", False),
        (b".." + 997 * b"x" + b"\r\n", True),  # the doubled dot does not count (RFC 1870 3)
        (b".." + 998 * b"x" + b"\r\n", False),
    ],
)
def test_content_above_the_limit_is_refused(wire: bytes, *, taken: bool) -> None:
    step = send(reach("RCPT"), wire)
    assert isinstance(step, Message) if taken else said(step) == "552 5.3.4"


def test_content_too_big_ends_its_transaction_only() -> None:
    talk = reach("RCPT")
    send(talk, 2 * MAX_BYTES * b"x")
    assert not talk.in_transaction
    assert said(say(talk, b"MAIL FROM:<a@a.example>")) == "250 2.1.0"


def test_a_size_that_is_declared_too_big_is_refused_at_once() -> None:
    assert said(say(reach("login"), b"MAIL FROM:<a@a.example> SIZE=1001")) == "552 5.3.4"


# Submitting


def test_content_is_submitted_with_the_envelope_as_it_was_given() -> None:
    talk = reach("login")
    say(
        talk,
        b"MAIL FROM:<> BODY=8BITMIME SMTPUTF8",
        "RCPT TO:<ü@b.example>".encode(),
        b"RCPT TO:<postmaster>",
    )
    step = send(talk, b"..a\r\n.b\r\n")
    assert isinstance(step, Message)
    assert step == Message(
        id="message-1",
        user="app@app.example",
        session=talk.session,
        received_at=OpenSite(SETTINGS).wall_clock(),
        mail_from="",
        rcpt_tos=("ü@b.example", "postmaster"),
        mail_parameters={"BODY": "8BITMIME", "SMTPUTF8": None},
        rcpt_parameters=({}, {}),
        content=b".a\r\nb\r\n",
    )
    assert not talk.in_transaction


@pytest.mark.parametrize("field", [b"Received: x\r\n", b"RECEIVED : x\r\n", b"received:\r\n y\r\n"])
@pytest.mark.parametrize(("count", "goes"), [(99, True), (100, False), (1000, False)])
def test_a_hundred_received_fields_are_a_loop(field: bytes, count: int, *, goes: bool) -> None:
    talk = reach("RCPT", max_bytes=100_000)
    step = send(talk, count * field + b"\r\nReceived: in the body\r\n")
    assert isinstance(step, Message) if goes else said(step) == "554 5.4.6"
    assert not talk.in_transaction


def test_content_is_not_in_a_repr() -> None:
    step = send(reach("RCPT"), b"secret\r\n")
    assert isinstance(step, Message)
    assert "secret" not in repr(step)
    assert "secret" not in repr(say(reach("EHLO"), b"AUTH PLAIN secret"))


# Whatever comes

VALID = st.sampled_from(
    [
        *(b"EHLO x", b"HELO x", b"AUTH PLAIN", b"AUTH LOGIN YQ==", b"MAIL FROM:<a@a.example>"),
        *(b"RCPT TO:<b@b.example>", b"DATA", b"BDAT 9", b"BDAT 9 LAST"),
        *(b"RSET", b"NOOP", b"VRFY x", b"EXPN x", b"HELP", b"QUIT"),
    ]
)
MUTATED = st.builds(
    lambda line, at, octets: line[: at % (len(line) + 1)] + octets + line[at % (len(line) + 1) :],
    VALID,
    st.integers(0, 30),
    st.binary(max_size=3),
)
LINES = st.one_of(VALID, MUTATED, st.binary(max_size=30), st.just(Mark.LINE_TOO_LONG))
CONTENT = st.one_of(st.binary(max_size=30), st.just(2 * MAX_BYTES * b"x"))
LINE = re.compile(rb"(?P<code>[2-5]\d\d)(?P<more>[ -])(?P<text>[\x20-\x7e]*)")


def check_well_formed(octets: bytes, *, greeting: bool) -> None:
    """RFC 5321 4.2; RFC 2034 4: an enhanced code of the same class on all but EHLO, HELO and 3yz."""
    assert octets.endswith(b"\r\n")
    *lines, last = octets.removesuffix(b"\r\n").split(b"\r\n")
    assert not lines or greeting
    for line in (*lines, last):
        match = LINE.fullmatch(line)
        assert match, line
        assert len(line) <= 510
        assert match["more"] == (b" " if line is last else b"-")
        if not greeting and not line.startswith(b"3"):
            assert re.match(rb"%b\.\d{1,3}\.\d{1,3} \S" % line[:1], match["text"]), line


@given(st.lists(st.tuples(LINES, CONTENT), max_size=40))
@settings(max_examples=200)
def test_no_client_gets_anything_but_well_formed_replies(said: list[tuple[bytes | Mark, bytes]]) -> None:
    talk = conversation()
    for number, (event, content) in enumerate(said):
        step = talk.on(event)
        if isinstance(step, LogIn):
            step = talk.logged_in("app@app.example" if number % 2 else None)
        if isinstance(step, Receive):
            if step.body:
                step.body.add(content[: step.octets].ljust(step.octets))
            step = talk.on(Mark.CHUNK)
        if talk.awaits_content:
            assert isinstance(step, Answer)
            check_well_formed(step.octets, greeting=False)
            body = talk.begin_content()
            body.add(content)
            body.end()
            step = talk.on(Mark.CONTENT)
        if isinstance(step, Message):
            assert all(step.rcpt_tos)
            continue
        if isinstance(step, StartTls):
            continue
        assert isinstance(step, Answer)
        greeting = isinstance(event, bytes) and event[:4].upper() in {b"EHLO", b"HELO"}
        check_well_formed(step.octets, greeting=greeting and step.octets.startswith(b"250"))
        if isinstance(step, Farewell):
            lost = step.octets.startswith(b"501 5.5.4 Syntax: BDAT")  # what follows could be anything
            assert lost or step.octets[:3] in {b"221", b"421"}
