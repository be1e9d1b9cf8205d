"""What is fuzzed: each target takes any octets, and raises if something is not as it has to be.

`TARGETS` are run by atheris (`fuzz.py` beside this) where there is one, and everywhere by hypothesis and
with what is kept in `corpus`.
"""

import base64
import re
from collections.abc import Callable, Coroutine, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any

from smtp_router import Deferred, Delivered, InDoubt, Rejected, Reply, Stage
from smtp_router.core.address import MAX_PATH_OCTETS, AddressError, check_path, split_path
from smtp_router.core.headers import Headers, count_fields, format_field, header_end
from smtp_router.credentials import SCRAM, Verifier
from smtp_router.smtp.commands import (
    PathArgument,
    Refused,
    parse_bdat,
    parse_command,
    parse_mail,
    parse_rcpt,
)
from smtp_router.smtp.login import FAILURE, UNDECODABLE, log_in
from smtp_router.smtp.reply_reader import MAX_LINE_OCTETS, MAX_LINES, NO_REPLY, ReplyReader
from smtp_router.smtp.verdict import LOGIN_CODES, name_recipient, verdict
from tests.fuzz.checks import check, essence
from tests.fuzz.grammar import EHLO, ENVELOPE, LOGIN, cut, singly
from tests.fuzz.rig import PASSWORD, USER, VERIFIER, make_settings, rig

_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")
_WIRE_REPLY = re.compile(
    rb"(?:(?P<first>[2-5]\d\d)-[^\r\n]*\r\n(?:(?P=first)-[^\r\n]*\r\n)*(?=(?P=first)[ \r]))?"
    rb"(?P<code>[2-5]\d\d)(?: [^\r\n]*)?\r\n"
)
_REPLY_LINE = re.compile(r"[2-5]\d\d(?: [245]\.\d{1,3}\.\d{1,3})?(?: [\x20-\x7e]+)?", re.ASCII)

SITES = (
    make_settings(max_message_bytes=60, max_recipients=3, max_transactions=4, auth_failures=1),
    make_settings(bare_newlines="accept", auth_failures=3),
)
STARTS = (b"", EHLO, EHLO + LOGIN, EHLO + LOGIN + ENVELOPE)


def session(data: bytes) -> None:
    """A session; the first octets say which, and how it is cut."""
    how, octets = data[:8].ljust(8, b"\0"), data[8:]
    octets = STARTS[how[0] % 4] + octets
    site = SITES[how[1] % 2]
    pieces = cut(octets, (at * len(octets) // 256 for at in how[3:])) if how[2] else singly(octets)
    with rig() as lab:
        whole = lab.meet(site)
        whole.say([octets])
        trace = whole.end()
        check(octets, trace, site)
        parts = lab.meet(site, takes_s=float(how[2] % 2), high_water=(None, 0, 400)[how[1] % 3])
        parts.say(pieces, pause_s=(None, 0.0, 0.4)[how[2] % 3])
        assert essence(parts.end()) == essence(trace)


def commands(data: bytes) -> None:
    """A command line: refused, or read so that nothing of it is lost or made up."""
    try:
        verb, argument = parse_command(data)
    except Refused as refused:
        _expect(refused, 500)
        return
    assert not _CONTROLS.search(data)
    assert data.upper().startswith(verb)
    for readers in (_MAIL, _RCPT):
        for read in readers:
            try:
                found = read(argument)
            except Refused as refused:
                _expect(refused, 501, 530, 552, 553, 555)
            else:
                _check_path_argument(argument, found, read)
    try:
        chunk = parse_bdat(argument)
    except Refused as refused:
        _expect(refused, 501)
    else:
        assert argument.upper().split() == [argument.split()[0], *([b"LAST"] if chunk.last else [])]
        assert int(argument.split()[0]) == chunk.octets


def parameters(data: bytes) -> None:
    """The parameters of MAIL and RCPT, without the need to find an address first."""
    commands(b"MAIL FROM:<a@a.example> " + data)
    commands(b"RCPT TO:<b@b.example> " + data)


def addresses(data: bytes) -> None:
    """A path: refused, or kept to the octet."""
    try:
        path, rest = split_path(data)
        assert path + rest == data
        address = check_path(path)
    except AddressError as error:
        _expect_no_echo(error, data)
        return
    assert b"<%b>" % address.encode() == path
    assert len(path) <= MAX_PATH_OCTETS
    assert not _CONTROLS.search(path)
    assert address.isprintable()
    local, at, domain = address.rpartition("@")
    assert at or address.lower() in ("", "postmaster")
    assert " " not in domain
    if not local.startswith('"'):
        assert not set(local) & set(' "(),:;<>@[\\]')


def logins(data: bytes) -> None:
    """An exchange of AUTH: nobody gets in but with the password, and nothing is raised."""
    mechanism = ("PLAIN", "LOGIN", SCRAM)[data[0] % 3] if data else "PLAIN"
    lines = data[1:].split(b"\n")  # the responses
    if data and data[0] & 8:
        lines = [base64.b64encode(line) for line in lines]
    responses = iter(lines)
    initial = next(responses) or None if data and data[0] & 16 else None
    right = False

    async def challenge(_: bytes) -> bytes | None:
        try:
            return base64.b64decode(next(responses), validate=True)
        except (StopIteration, ValueError):
            return None

    async def check_password(login: str, password: str) -> bool:
        nonlocal right
        right = (login, password) == (USER, PASSWORD)
        return right

    async def find_verifier(_: str) -> Verifier:
        return VERIFIER

    result = _now(
        log_in(mechanism, initial, challenge, check=check_password, find_verifier=find_verifier)
    )
    if isinstance(result, str):
        assert (result, right) == (USER, True)
        assert mechanism != "PLAIN" or base64.b64decode(lines[0]).split(b"\0")[0] in (b"", USER.encode())
    else:
        assert not right
        assert result in (None, FAILURE, UNDECODABLE)


def replies(data: bytes) -> None:
    """What a downstream answers: always an outcome, and never more in it than can be passed on."""
    code = int.from_bytes(data[:2], "big") % 1000 if len(data) > 1 else -1
    text = data[2:].decode("utf-8", "surrogateescape")
    for stage in Stage:
        outcome = verdict(stage, code, text)
        if outcome is None:
            assert code // 100 == 2
            continue
        for reply in (outcome.reply, name_recipient(outcome, "b@b.example").reply):
            if reply is not None:
                assert reply.code == code
                assert len(str(reply)) <= 510
                assert _REPLY_LINE.fullmatch(str(reply))
        match outcome:
            case Delivered():
                assert (stage, code // 100) == (Stage.FINAL, 2)
            case Rejected():
                assert stage in (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.FINAL)
                assert code // 100 == 5
                assert code not in LOGIN_CODES
            case InDoubt():
                assert stage is Stage.FINAL
                assert code // 100 not in (2, 4, 5)
            case Deferred():
                assert code // 100 != 2


def wire_replies(data: bytes) -> None:
    """A downstream's octets: cut into the same replies whatever the segments, with nothing made up."""
    step = data[0] if data else 0
    octets = data[1:]
    whole = ReplyReader().feed(octets)
    for pieces in (singly(octets), cut(octets, range(step, len(octets), step or 1))):
        reader = ReplyReader()
        assert [reply for piece in pieces for reply in reader.feed(piece)] == whole
    at = 0
    for code, text in whole:
        match = _WIRE_REPLY.match(octets, at)
        if code == NO_REPLY:
            assert (code, text) == whole[-1]
            lines = match[0].split(b"\r\n") if match else []
            assert not match or len(lines) > MAX_LINES or max(map(len, lines)) + 2 > MAX_LINE_OCTETS
            break
        assert match
        assert code == int(match["code"])
        assert text == b"\n".join(line[4:] for line in match[0].split(b"\r\n")[:-1])
        at = match.end()


def headers(data: bytes) -> None:
    """A header, read and written: nothing is raised, and a field stays one field."""
    found = Headers(data)
    empty_line = re.search(rb"\n\r?\n", b"\n" + data)
    assert header_end(data) == (empty_line.start() if empty_line else len(data))
    assert count_fields(data[: header_end(data)], b"Received") >= 0
    assert len(list(found)) == len(found)
    for name, _ in found:
        assert name in found
        assert found[name] == found.get_all(name)[0]
    value = data.decode("utf-8", "replace")
    try:
        line = format_field("X-Field", value)
    except ValueError:
        return
    assert line.isascii()
    assert re.sub(rb"\r\n[ \t]", b" ", line).count(b"\n") == 1
    assert len(Headers(line + b"\r\n")) == 1


TARGETS: Mapping[str, Callable[[bytes], None]] = MappingProxyType(
    {
        target.__name__: target
        for target in (session, commands, parameters, addresses, logins, replies, wire_replies, headers)
    }
)


def _mail(*, esmtp: bool, tls: bool) -> Callable[[bytes], PathArgument]:
    return lambda argument: parse_mail(argument, esmtp=esmtp, tls=tls, max_bytes=1000)


def _rcpt(*, esmtp: bool, utf8: bool) -> Callable[[bytes], PathArgument]:
    return lambda argument: parse_rcpt(argument, esmtp=esmtp, utf8=utf8)


_BOTH = (True, False)
_MAIL = tuple(_mail(esmtp=esmtp, tls=tls) for esmtp, tls in product(_BOTH, _BOTH))
_RCPT = tuple(_rcpt(esmtp=esmtp, utf8=utf8) for esmtp, utf8 in product(_BOTH, _BOTH))


def _expect(refused: Refused, *codes: int) -> None:
    assert refused.reply.code in codes


def _expect_no_echo(error: AddressError, data: bytes) -> None:
    assert str(error).isascii()
    assert len(data) < 5 or data not in str(error).encode()


def _check_path_argument(
    argument: bytes, found: PathArgument, read: Callable[[bytes], PathArgument]
) -> None:
    """See that it says what the octets say: written out, it is the same words, and is read the same."""
    keyword, _, rest = argument.partition(b":")
    path = b"<%b>" % found.address.encode()
    assert rest.lstrip(b" ").startswith(path)
    words = [
        name.encode() + (b"" if value is None else b"=" + value.encode())
        for name, value in found.parameters.items()
    ]
    given = rest.lstrip(b" ")[len(path) :].split()
    assert [_in_upper_case(word) for word in given] == words
    assert read(b" ".join([keyword + b":" + path, *words])) == found


def _in_upper_case(word: bytes) -> bytes:
    """A parameter with its keyword in upper case."""
    name, mark, value = word.partition(b"=")
    return name.upper() + mark + value


def _now(coroutine: Coroutine[Any, Any, str | Reply | None]) -> str | Reply | None:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: str | Reply | None = stop.value
        return result
    raise AssertionError("it waits")
