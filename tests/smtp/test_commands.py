"""Command lines, one by one: what is taken, and with which reply the rest is refused."""

from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtp_router.smtp.commands import (
    PathArgument,
    Refused,
    declared_octets,
    parse_command,
    parse_mail,
    parse_rcpt,
    plain_mail,
    plain_rcpt,
)

MAX_BYTES = 1000


def mail(argument: bytes, *, esmtp: bool = True) -> PathArgument:
    return parse_mail(argument, esmtp=esmtp, tls=False, max_bytes=MAX_BYTES)


def rcpt(argument: bytes, *, esmtp: bool = True, utf8: bool = False) -> PathArgument:
    return parse_rcpt(argument, esmtp=esmtp, utf8=utf8)


def code(refused: pytest.ExceptionInfo[Refused]) -> str:
    reply = refused.value.reply
    return f"{reply.code} {reply.enhanced}"


# The line


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"NOOP", (b"NOOP", b"")),
        (b"noop", (b"NOOP", b"")),
        (b"NoOp  ", (b"NOOP", b"")),
        (b"EHLO host.example", (b"EHLO", b"host.example")),
        (b"MAIL FROM:<a@a.example> SIZE=1 ", (b"MAIL", b"FROM:<a@a.example> SIZE=1")),
        (b"HELP \xff", (b"HELP", b"\xff")),
        (b"X2", (b"X2", b"")),
        (b"NOOP" + 506 * b"x", (b"NOOP" + 506 * b"X", b"")),
        (b"MAIL " + 1185 * b"x", (b"MAIL", 1185 * b"x")),
        (b"AUTH " + 12_281 * b"x", (b"AUTH", 12_281 * b"x")),
    ],
)
def test_a_line_is_a_verb_and_an_argument(line: bytes, command: tuple[bytes, bytes]) -> None:
    assert parse_command(line) == command


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"", "500 5.5.2"),
        (b" ", "500 5.5.2"),
        (b" NOOP", "500 5.5.2"),
        (b"\xff", "500 5.5.2"),
        (b"NO-OP", "500 5.5.2"),
        (b"MAIL:", "500 5.5.2"),
        (b"NOOP\0", "500 5.5.2"),
        (b"NOOP\r", "500 5.5.2"),
        (b"NOOP\nQUIT", "500 5.5.2"),
        (b"NOOP\tx", "500 5.5.2"),
        (b"MAIL FROM:<a\x08@a.example>", "500 5.5.2"),
        (b"EHLO \x1b[31m", "500 5.5.2"),
        (b"NOOP \x7f", "500 5.5.2"),
        (b"NOOP " + 506 * b"x", "500 5.5.2"),
        (b"RCPT " + 1342 * b"x", "500 5.5.2"),
        (b"AUTH " + 12_282 * b"x", "500 5.5.2"),
    ],
)
def test_what_is_no_line_is_refused(line: bytes, reply: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_command(line)
    assert code(refused) == reply


# MAIL


@pytest.mark.parametrize(
    ("argument", "address", "parameters"),
    [
        (b"FROM:<>", "", {}),
        (b"FROM:<a@a.example>", "a@a.example", {}),
        (b"from:<a@a.example>", "a@a.example", {}),
        (b"FROM: <a@a.example>", "a@a.example", {}),
        (b'FROM:<"a b"@a.example>', '"a b"@a.example', {}),
        (b'FROM:<">"@a.example>', '">"@a.example', {}),
        (b'FROM:<"\\""@a.example>', '"\\""@a.example', {}),
        (b"FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]", {}),
        (b"FROM:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", {}),
        (b"FROM:<=?utf-8?q?a?=@a.example>", "=?utf-8?q?a?=@a.example", {}),
        (b"FROM:<> SIZE=0", "", {"SIZE": "0"}),
        (b"FROM:<a@a.example> SIZE=1000", "a@a.example", {"SIZE": "1000"}),
        (b"FROM:<a@a.example> size=1 body=8bitmime", "a@a.example", {"SIZE": "1", "BODY": "8bitmime"}),
        (b"FROM:<a@a.example> BODY=7BIT", "a@a.example", {"BODY": "7BIT"}),
        (b"FROM:<a@a.example>  SIZE=1  ", "a@a.example", {"SIZE": "1"}),
        ("FROM:<ü@ü.example> SMTPUTF8".encode(), "ü@ü.example", {"SMTPUTF8": None}),
        (b"FROM:<a@a.example> SMTPUTF8", "a@a.example", {"SMTPUTF8": None}),
    ],
)
def test_mail(argument: bytes, address: str, parameters: Mapping[str, str | None]) -> None:
    assert mail(argument) == PathArgument(address, parameters)


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        (b"", "501 5.5.4"),
        (b"TO:<a@a.example>", "501 5.5.4"),
        (b"FROM", "501 5.5.4"),
        (b"FROM <a@a.example>", "501 5.5.4"),
        (b"FROM:", "501 5.1.7"),
        (b"FROM:a@a.example", "501 5.1.7"),
        (b"FROM:<a@a.example", "501 5.1.7"),
        (b"FROM:a@a.example>", "501 5.1.7"),
        (b"FROM:<<a@a.example>>", "501 5.1.7"),
        (b"FROM:<a>", "501 5.1.7"),
        (b"FROM:<postmaster>", "501 5.1.7"),
        (b"FROM:<a@>", "501 5.1.7"),
        (b"FROM:<@a.example>", "501 5.1.7"),
        (b"FROM:<a b@a.example>", "501 5.1.7"),
        (b"FROM:<a@a.example >", "501 5.1.7"),
        (b"FROM:< a@a.example>", "501 5.1.7"),
        (b"FROM:<a@a example>", "501 5.1.7"),
        (b"FROM:<a@a..example>", "501 5.1.7"),
        (b"FROM:<.a@a.example>", "501 5.1.7"),
        (b"FROM:<a.@a.example>", "501 5.1.7"),
        (b"FROM:<a@-a.example>", "501 5.1.7"),
        (b"FROM:<a@a.example->", "501 5.1.7"),
        (b"FROM:<a@a@a.example>", "501 5.1.7"),
        (b"FROM:<a(comment)@a.example>", "501 5.1.7"),
        (b'FROM:<"a@a.example>', "501 5.1.7"),
        (b"FROM:<a@[192.0.2.256]>", "501 5.1.7"),
        (b"FROM:<a@[IPv6:x]>", "501 5.1.7"),
        (b"FROM:<a@[a.example]>", "501 5.1.7"),
        (b"FROM:<" + 250 * b"a" + b"@a.example>", "501 5.1.7"),
        (b"FROM:<a@" + 64 * b"a" + b".example>", "501 5.1.7"),
        (b"FROM:<\xff@a.example> SMTPUTF8", "501 5.1.7"),
        ("FROM:<\u2028@a.example> SMTPUTF8".encode(), "501 5.1.7"),
        (b"FROM:<@b.example:a@a.example>", "553 5.1.7"),
        (b"FROM:<@b.example,@c.example:a@a.example>", "553 5.1.7"),
        ("FROM:<ü@a.example>".encode(), "553 5.6.7"),
        ("FROM:<ü@a.example> SIZE=1".encode(), "553 5.6.7"),
        (b"FROM:<a@a.example>SIZE=1", "501 5.5.4"),
        (b"FROM:<a@a.example>x", "501 5.5.4"),
        (b"FROM:<a@a.example> SIZE", "501 5.5.4"),
        (b"FROM:<a@a.example> SIZE=", "501 5.5.4"),
        (b"FROM:<a@a.example> SIZE=x", "501 5.5.4"),
        (b"FROM:<a@a.example> SIZE=-1", "501 5.5.4"),
        (b"FROM:<a@a.example> SIZE=1=1", "501 5.5.4"),
        (b"FROM:<a@a.example> SIZE=" + 21 * b"1", "501 5.5.4"),
        (b"FROM:<a@a.example> SIZE=1 size=2", "501 5.5.4"),
        (b"FROM:<a@a.example> SIZE=\xd9\xa1", "501 5.5.4"),
        (b"FROM:<a@a.example> BODY=BINARYMIME", "501 5.5.4"),
        (b"FROM:<a@a.example> BODY", "501 5.5.4"),
        (b"FROM:<a@a.example> SMTPUTF8=1", "501 5.5.4"),
        (b"FROM:<a@a.example> -", "501 5.5.4"),
        (b"FROM:<a@a.example> RET=ALL", "501 5.5.4"),
        (b"FROM:<a@a.example> AUTH=", "501 5.5.4"),
        (b"FROM:<a@a.example> X", "555 5.5.4"),
        (b"FROM:<a@a.example> SIZE=1001", "552 5.3.4"),
        (b"FROM:<a@a.example> SIZE=" + 20 * b"9", "552 5.3.4"),
    ],
)
def test_mail_refused(argument: bytes, reply: str) -> None:
    with pytest.raises(Refused) as refused:
        mail(argument)
    assert code(refused) == reply


@pytest.mark.parametrize("parameter", [b"SIZE=1", b"BODY=7BIT", b"SMTPUTF8"])
def test_behind_helo_there_are_no_parameters(parameter: bytes) -> None:
    with pytest.raises(Refused) as refused:
        mail(b"FROM:<a@a.example> " + parameter, esmtp=False)
    assert code(refused) == "555 5.5.4"


# RCPT


@pytest.mark.parametrize(
    ("argument", "address"),
    [
        (b"TO:<b@b.example>", "b@b.example"),
        (b"to: <b@b.example>", "b@b.example"),
        (b"TO:<postmaster>", "postmaster"),
        (b"TO:<PostMaster>", "PostMaster"),
        (b'TO:<"b, c"@b.example>', '"b, c"@b.example'),
        (b"TO:<b@localhost>", "b@localhost"),
    ],
)
def test_rcpt(argument: bytes, address: str) -> None:
    assert rcpt(argument) == PathArgument(address, {})


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        (b"", "501 5.5.4"),
        (b"FROM:<b@b.example>", "501 5.5.4"),
        (b"TO:<>", "501 5.1.3"),
        (b"TO:<b>", "501 5.1.3"),
        (b"TO:b@b.example", "501 5.1.3"),
        (b"TO:<b@b.example", "501 5.1.3"),
        (b"TO:<b@b.example><c@c.example>", "501 5.5.4"),
        (b"TO:<b@b.example>,<c@c.example>", "501 5.5.4"),
        (b"TO:<=?utf-8?q?a=0d=0ag:x=40x.example?= b@b.example>", "501 5.1.3"),
        (b"TO:<@c.example:b@b.example>", "553 5.1.3"),
        ("TO:<ü@b.example>".encode(), "553 5.6.7"),
        (b"TO:<b@b.example> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        (b"TO:<b@b.example> ORCPT=b@b.example", "501 5.5.4"),
        (b"TO:<b@b.example> SMTPUTF8", "555 5.5.4"),
    ],
)
def test_rcpt_refused(argument: bytes, reply: str) -> None:
    with pytest.raises(Refused) as refused:
        rcpt(argument)
    assert code(refused) == reply


def test_a_recipient_may_be_utf8_if_mail_said_so() -> None:
    assert rcpt("TO:<ü@b.example>".encode(), utf8=True).address == "ü@b.example"


# Whatever comes


@given(st.binary(max_size=60))
def test_an_address_that_is_taken_has_the_octets_that_were_given(octets: bytes) -> None:
    try:
        parsed = mail(b"FROM:<" + octets + b"> SMTPUTF8")
    except Refused:
        return
    assert parsed.address.encode() == octets
    assert parsed.address.isprintable()


@given(st.binary(max_size=60))
def test_no_refusal_echoes_what_cannot_be_printed(octets: bytes) -> None:
    try:
        _, argument = parse_command(b"MAIL " + octets)
        mail(argument)
    except Refused as refused:
        text = str(refused.reply)
        assert text.isascii()
        assert text.isprintable()


LINES = st.lists(st.sampled_from([b"NOOP", b"m", b"9", b" ", b"\t", b"\0", b"\x7f", b"\xff", b"-"]))


@given(LINES.map(b"".join))
def test_a_line_is_read_as_step_by_step(line: bytes) -> None:
    word, _, argument = line.rstrip(b" ").partition(b" ")
    refused = any(octet < 32 or octet == 127 for octet in line) or not word.isalnum()
    try:
        found = parse_command(line)
    except Refused:
        assert refused
    else:
        assert not refused
        assert found == (word.upper(), argument)


PIECES = [*b'a,b.c,-,.,@,%,",[192.0.2.1],\xc3\xbc,_, ,>,<'.split(b","), b"x" * 31, b"y" * 64]
PATHS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map(b"".join)


COMMANDS = st.sampled_from([b"MAIL FROM:", b"Mail from: ", b"RCPT TO:", b"rcpt to:\t", b"MAIL TO:"])
GIVEN = [
    b" SIZE=1",
    b" size=0",
    b" Size=" + 20 * b"9",
    b" SIZE=" + 21 * b"9",
    b" SIZE=",
    b" SIZE=x",
    b" SIZE",
]
GIVEN += [
    b" BODY=7BIT",
    b" body=8bitMIME",
    b" BODY=BINARYMIME",
    b" BODY=",
    b" SMTPUTF8",
    b" ",
    b"  BODY=7BIT",
]
PARAMETERS = st.lists(st.sampled_from(GIVEN), max_size=3).map(b"".join)


@given(COMMANDS, PATHS, PARAMETERS)
@example(b"MAIL FROM:", b"a@b", b" SIZE=" + 20 * b"9")
@example(b"MAIL FROM:", b"a@b", b" SIZE=" + 21 * b"9")
@example(b"MAIL FROM:", b"a@b", b" BODY=BINARYMIME")
@example(b"MAIL FROM:", b"a@b", b" SIZE=1 SIZE=1")
@example(b"MAIL FROM:", b"a.b@c-d.example", b"")
@example(b"RCPT TO:", b"a%c@" + b"y" * 63, b"")
@example(b"RCPT TO:", b"a@" + b"y" * 64, b"")
@example(b"MAIL FROM:", b"a@" + b"y" * 64, b"")
@example(b"RCPT TO:", b"a@b..c", b"")
@example(b"RCPT TO:", b"a@b.-c", b"")
@example(b"RCPT TO:", b"a@b-", b"")
@example(b"RCPT TO:", b"a..b@c", b"")
@example(b"RCPT TO:", b"a.@c", b"")
@example(b"RCPT TO:", b"a" * 253 + b"@b", b"")
def test_a_plain_line_is_read_as_in_steps(command: bytes, path: bytes, parameters: bytes) -> None:
    line = command + b"<" + path + b">" + parameters
    found, to = plain_mail(line + b"\r\n"), plain_rcpt(line + b"\r\n")
    assert found is None or to is None
    if found is not None:
        verb, argument = parse_command(line)
        assert verb == b"MAIL"
        assert found == parse_mail(argument, esmtp=True, tls=False, max_bytes=10**20)
        if declared_octets(found[1]) > MAX_BYTES:
            with pytest.raises(Refused, match="552"):
                mail(argument)
        else:
            assert mail(argument) == found
    if to is not None:
        verb, argument = parse_command(line)
        assert verb == b"RCPT"
        for esmtp in (True, False):
            assert (to, {}) == rcpt(argument, esmtp=esmtp)


@pytest.mark.parametrize(
    "end", [b"", b"\r", b"\n", b"\n\r", b"\r\n\r\n", b"\r\nNOOP\r\n", b" \r\n", b"\0\r\n"]
)
def test_a_plain_line_is_a_whole_one_and_no_more(end: bytes) -> None:
    assert plain_mail(b"MAIL FROM:<a@b>" + end) is None
    assert plain_rcpt(b"RCPT TO:<a@b>" + end) is None


@pytest.mark.parametrize("address", [b"a@b", b"first.last+tag@mail-1.b.example", b"o'hara%x@b.example"])
def test_nearly_every_address_is_plain(address: bytes) -> None:
    for end in (b"\r\n", b" SIZE=9\r\n"):
        found = plain_mail(b"MAIL FROM:<%b>" % address + end)
        assert found
        assert found[0] == address.decode()
    assert plain_rcpt(b"rcpt to:<%b>\r\n" % address) == address.decode()


@pytest.mark.parametrize(
    ("given", "parameters"),
    [
        (b"", {}),
        (b" SIZE=123", {"SIZE": "123"}),
        (b" size=123", {"SIZE": "123"}),
        (b" BODY=8BITMIME", {"BODY": "8BITMIME"}),
        (b" body=7bit", {"BODY": "7bit"}),
        (b" SIZE=123 BODY=8BITMIME", {"SIZE": "123", "BODY": "8BITMIME"}),
    ],
)
def test_what_clients_say_about_the_content_is_plain(given: bytes, parameters: dict[str, str]) -> None:
    assert plain_mail(b"mail FROM:<a@b.example>%b\r\n" % given) == ("a@b.example", parameters)
    assert (plain_rcpt(b"RCPT TO:<a@b.example>%b\r\n" % given) is None) == bool(given)
