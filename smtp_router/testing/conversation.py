"""One session of a scripted downstream: takes commands, answers as the script says.

Rules:
1. It shares no code with the router's own SMTP, which it is there to test.
2. Only CRLF ends a line, only CRLF.CRLF ends content; nothing is repaired before it is recorded.
3. A message is recorded before it is answered: who has read the 250 finds it.
"""

import asyncio
import base64
import binascii
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from smtp_router.testing.records import Taken, is_positive
from smtp_router.testing.steps import Answer, Close, Drip, Hang, Normal, Reset, Say, Step
from smtp_router.testing.wire import GoneError, Wire

_PATH = re.compile(r'(?:MAIL FROM|RCPT TO):<((?:"(?:[^"\\]|\\.)*"|[^">])*)>(?: .*)?', re.IGNORECASE)


class Server(Protocol):
    """What a conversation needs of the server it belongs to."""

    name: str
    extensions: tuple[str, ...]
    login: tuple[str, str] | None

    def next_step(self, connection: int, stage: str, detail: str = "") -> Step:
        """Take the next step of the script."""

    def hears(self, line: str) -> None:
        """Record a command."""

    def keeps(self, taken: Taken) -> None:
        """Record a message."""

    def hangs(self, wire: Wire) -> Awaitable[None]:
        """Wait until the peer is gone, or nobody wants it to hang any more."""

    @property
    def starttls_is_offered(self) -> bool:
        """Whether it does TLS, on demand."""

    async def shake_hands(self, connection: int, wire: Wire) -> None:
        """Encrypt the connection, or whatever the script says."""


@dataclass
class _Transaction:
    mail_line: str
    mail_from: str
    rcpts: list[tuple[str, str]] = field(default_factory=list)


class _RefusedError(Exception):
    """A command is out of place or malformed; carries the reply."""


class Conversation:
    """A session over one connection."""

    def __init__(self, server: Server, wire: Wire, connection: int, *, encrypted: bool) -> None:
        self._server, self._wire, self._connection = server, wire, connection
        self._encrypted = encrypted
        self._ehlo, self._user = "", ""
        self._transaction: _Transaction | None = None
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "HELO": self._on_helo,
            "EHLO": self._on_ehlo,
            "STARTTLS": self._on_starttls,
            "AUTH": self._on_auth,
            "MAIL": self._on_mail,
            "RCPT": self._on_rcpt,
            "DATA": self._on_data,
            "RSET": self._on_rset,
            "NOOP": self._on_noop,
            "QUIT": self._on_quit,
        }

    async def run(self) -> None:
        """Talk until one of the two ends it.

        Raises:
            GoneError: the connection has ended; the only way out.
        """
        banner = await self._answer("banner", Answer(220, f"{self._server.name} ESMTP"))
        turned_away = banner[:1] in {b"4", b"5"}
        while True:
            line = (await self._wire.read_to(b"\r\n")).decode("utf-8", "surrogateescape")
            self._server.hears(line)
            verb = line.partition(" ")[0].upper()
            try:
                _require(not turned_away or verb == "QUIT", 503, "5.5.1 no service here")
                _require(verb in self._commands, 500, "5.5.1 unknown command")
                await self._commands[verb](line)
            except _RefusedError as refused:
                self._wire.write(refused.args[0].wire)

    async def _on_helo(self, line: str) -> None:
        if is_positive(await self._answer("helo", Answer(250, self._server.name))):
            self._ehlo, self._transaction = line.partition(" ")[2], None

    async def _on_ehlo(self, line: str) -> None:
        offered = [self._server.name, *self._server.extensions]
        if self._server.starttls_is_offered and not self._encrypted:
            offered.append("STARTTLS")
        if self._server.login:
            offered.append("AUTH PLAIN LOGIN")
        if is_positive(await self._answer("ehlo", Answer(250, "\n".join(offered)))):
            self._ehlo, self._transaction = line.partition(" ")[2], None

    async def _on_starttls(self, _: str) -> None:
        offered = self._server.starttls_is_offered and not self._encrypted
        _require(offered, 503, "5.5.1 no STARTTLS here")
        self._wire.transport.pause_reading()  # what comes next is for TLS
        reply = await self._answer("starttls", Answer(220, "2.0.0 go ahead"))
        self._wire.transport.resume_reading()
        if is_positive(reply):
            await self._server.shake_hands(self._connection, self._wire)
            self._encrypted, self._ehlo, self._user, self._transaction = True, "", "", None

    async def _on_auth(self, line: str) -> None:
        mechanism, _, initial = line[len("AUTH ") :].partition(" ")
        _require(self._server.login, 502, "5.5.1 no AUTH here")
        _require(self._ehlo and not self._user and not self._transaction, 503, "5.5.1 not now")
        try:
            match mechanism.upper():
                case "PLAIN":
                    identity, user, password = (await self._response("", initial)).split("\0")
                    _require(identity in {"", user}, 535, "5.7.8 that is somebody else")
                case "LOGIN":
                    user = await self._response("Username:", initial)
                    password = await self._response("Password:", "")
                case _:
                    raise _RefusedError(Answer(504, "5.5.4 unknown mechanism"))
        except (ValueError, binascii.Error):
            raise _RefusedError(Answer(501, "5.5.2 cancelled, or not understood")) from None
        right = (user, password) == self._server.login
        normal = Answer(235, "2.7.0 welcome") if right else Answer(535, "5.7.8 wrong user or password")
        if is_positive(await self._answer("auth", normal)):
            self._user = user

    async def _response(self, challenge: str, initial: str) -> str:
        if not initial:
            self._wire.write(Answer(334, base64.b64encode(challenge.encode()).decode()).wire)
            initial = (await self._wire.read_to(b"\r\n")).decode()  # "*", to cancel, is no base64
        return "" if initial == "=" else base64.b64decode(initial, validate=True).decode()

    async def _on_mail(self, line: str) -> None:
        _require(self._ehlo and not self._transaction, 503, "5.5.1 not now")
        _require(not self._server.login or self._user, 530, "5.7.0 login required")
        address = _address(line)
        if is_positive(await self._answer("mail", Answer(250, "2.1.0 ok"))):
            self._transaction = _Transaction(line, address)

    async def _on_rcpt(self, line: str) -> None:
        if self._transaction is None:
            raise _RefusedError(Answer(503, "5.5.1 not now"))
        address = _address(line)
        if is_positive(await self._answer("rcpt", Answer(250, "2.1.5 ok"), address)):
            self._transaction.rcpts.append((line, address))

    async def _on_data(self, _: str) -> None:
        transaction = self._transaction
        if transaction is None or not transaction.rcpts:
            raise _RefusedError(Answer(503, "5.5.1 not now"))
        if not (await self._answer("data", Answer(354, "go ahead"))).startswith(b"354"):
            return
        if not self._wire.octets:
            await self._wire.more()
        early = await self._do(self._server.next_step(self._connection, "content"), b"", reads=False)
        self._wire.octets[:0] = b"\r\n"  # a dot right behind the DATA line ends an empty body
        stuffed = await self._wire.read_to(b"\r\n.\r\n") + b"\r\n"
        content = stuffed.replace(b"\r\n.", b"\r\n")[2:]
        self._transaction = None
        if early:  # it stands in for the final one
            self._keep(transaction, content, early)
            return
        step = self._server.next_step(self._connection, "final")
        normal = Answer(250, "2.0.0 taken").wire
        self._keep(transaction, content, _said(step, normal))
        await self._do(step, normal)

    def _keep(self, transaction: _Transaction, content: bytes, reply: bytes) -> None:
        self._server.keeps(
            Taken(
                mail_from=transaction.mail_from,
                rcpt_tos=tuple(address for _, address in transaction.rcpts),
                mail_line=transaction.mail_line,
                rcpt_lines=tuple(line for line, _ in transaction.rcpts),
                content=content,
                reply=reply,
                ehlo=self._ehlo,
                login=self._user or None,
                tls=self._encrypted,
                connection=self._connection,
                at=time.monotonic(),
            )
        )

    async def _on_rset(self, _: str) -> None:
        if is_positive(await self._answer("rset", Answer(250, "2.0.0 ok"))):
            self._transaction = None

    async def _on_noop(self, _: str) -> None:
        self._wire.write(Answer(250, "2.0.0 ok").wire)

    async def _on_quit(self, _: str) -> None:
        await self._answer("quit", Answer(221, "2.0.0 bye"))
        await self._wire.part()
        raise GoneError

    async def _answer(self, stage: str, normal: Answer, detail: str = "") -> bytes:
        return await self._do(self._server.next_step(self._connection, stage, detail), normal.wire)

    async def _do(self, step: Step, normal: bytes, *, reads: bool = True) -> bytes:
        """Do a step; what was said, if the session goes on."""
        said = _said(step, normal)
        for piece in _pieces(step, said):
            self._wire.write(piece)
            if isinstance(step, Drip):
                await asyncio.sleep(step.every_s)
        match step:
            case Answer(code=421) | Close(after=Normal() | Answer() | Say()):
                await self._wire.part()
            case Close():
                self._wire.transport.close()
            case Reset():
                self._wire.reset()
            case Hang():
                if not reads:
                    self._wire.transport.pause_reading()  # so that the peer's writes block as well
                await self._server.hangs(self._wire)
            case _:
                return said
        raise GoneError


def _said(step: Step, normal: bytes) -> bytes:
    """What is said in the course of a step."""
    match step:
        case Normal():
            return normal
        case Answer():
            return step.wire
        case Say():
            return step.octets
        case Drip(what=what) | Close(after=what) | Reset(after=what) | Hang(after=what):
            return b"" if what is None else _said(what, normal)
        case _:
            return b""


def _pieces(step: Step, said: bytes) -> tuple[bytes, ...]:
    """What to write at once."""
    if isinstance(step, Drip):
        return tuple(bytes((octet,)) for octet in said)
    return (said,) if said else ()


def _require(condition: object, code: int, text: str) -> None:
    if not condition:
        raise _RefusedError(Answer(code, text))


def _address(line: str) -> str:
    path = _PATH.fullmatch(line)
    if path is None:
        raise _RefusedError(Answer(501, "5.5.4 no path"))
    return path[1]
