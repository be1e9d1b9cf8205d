"""A downstream SMTP server that records exactly what arrives and misbehaves as scripted.

Rules:
1. It shares no code with the router, aiosmtpd, aiosmtplib or smtplib: raw sockets and threads only.
2. Only CRLF ends a line, only CRLF.CRLF ends content; nothing is repaired before it is recorded.
3. A message is recorded before its answer goes out: who has read the 250 finds the delivery.
4. Nothing outlives `stop()`: each connection is a daemon thread, and each wait has an end.

What can stand in a script is in `tests/script.py`:

    with Witness({"final": [b"451 4.3.0 later", NORMAL], "rcpt:bad@a.example": DROP}) as w:
        ...
        (delivery,) = w.wait_deliveries(1)
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self, assert_never

from tests.delivery import Delivery
from tests.sasl import SERVERS, Server
from tests.script import (
    DRIP,
    DRIP_MAX_BYTES,
    DRIP_S,
    NORMAL,
    STAGES,
    Act,
    Action,
    Plan,
    Step,
    as_line,
    spell_out,
)

TIMEOUT_S: Final = 30.0
PART_S: Final = 1.0
OFFER: Final = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 104857600", "ENHANCEDSTATUSCODES")

_PATH = re.compile(
    rb'(?:MAIL FROM|RCPT TO):<(?P<address>(?:"(?:[^"\\]|\\.)*"|[^">])*)>(?: (?P<parameters>.*))?',
    re.IGNORECASE | re.DOTALL,
)
_EXTENSION_OF = dict.fromkeys((b"RET", b"ENVID", b"NOTIFY", b"ORCPT"), b"DSN")
_EXTENSION_OF[b"BODY"] = b"8BITMIME"


class Witness:
    """The server: what it is told to do, and what it has seen."""

    host: Final = "127.0.0.1"

    def __init__(
        self,
        script: Mapping[str, Plan] | None = None,
        *,
        offer: tuple[str, ...] = OFFER,
        auth: tuple[str, str] | None = None,
        auth_mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN"),
        sasl: Mapping[str, Server] = SERVERS,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        lmtp: bool = False,
        path: Path | None = None,
        name: str = "a",
    ) -> None:
        """Take the settings; `start()`, or entering the context, opens the port, or the Unix socket."""
        assert tls or not implicit_tls, "implicit_tls needs tls"
        self.lmtp, self.path = lmtp, path
        self.offer, self.tls, self.implicit_tls, self.name = offer, tls, implicit_tls, name
        self.auth = (auth[0].encode(), auth[1].encode()) if auth else None
        self.auth_mechanisms, self.sasl = auth_mechanisms, sasl
        self.port = 0
        self.deliveries: list[Delivery] = []  # answered 2yz
        self.refused: list[Delivery] = []  # answered 4yz or 5yz
        self.unanswered: list[Delivery] = []  # received whole, but told neither
        self.commands: list[bytes] = []
        self.connections = self.quits = 0
        self.resumed: list[bool] = []  # for each TLS handshake, whether it resumed a session
        self.sources: list[str] = []  # for each connection, the address it came from
        self.peers: list[str] = []  # for each, the name in the peer's certificate, if there is one
        self.hanging: set[_Connection] = set()
        self.changed = threading.Condition()
        self.stopping = threading.Event()
        self._script: dict[str, list[Action]] = {}
        self._open: set[_Connection] = set()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        for stage, plan in (script or {}).items():
            self.on(stage, plan)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        ledgers = {"delivered": self.deliveries, "refused": self.refused}
        ledgers["unanswered"] = self.unanswered
        kept = ", ".join(f"{len(ledger)} {name}" for name, ledger in ledgers.items())
        use = f"{self.open_now} of {self.connections} connections open"
        return f"<Witness {self.name} {self.addr}: {kept}; {use}; {self.commands[-5:]}>"

    @property
    def addr(self) -> str:
        """Where it listens, as the router's configuration writes it."""
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"

    @property
    def open_now(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def start(self) -> None:
        """Listen: on any free port the first time, on the same one after a `stop()`."""
        assert self._listener is None, "already listening"
        self.stopping.clear()
        if self.path:
            listener = socket.socket(socket.AF_UNIX)
            self.path.unlink(missing_ok=True)
            listener.bind(str(self.path))
            listener.listen(128)
        else:
            listener = socket.create_server((self.host, self.port), backlog=128)
            self.port = listener.getsockname()[1]
        self._listener = listener
        self._acceptor = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        self._acceptor.name = f"witness-{self.name}"
        self._acceptor.start()

    def stop(self) -> None:
        """Stop listening and close all connections."""
        if self._listener is None or self._acceptor is None:
            return
        self.stopping.set()
        with contextlib.suppress(OSError):  # wakes accept(), on any system
            self._knock()
        self._acceptor.join(5)
        self._listener.close()
        self._listener = None
        with self.change():
            connections = tuple(self._open)
            for connection in connections:
                connection.shut_down()
            self.hanging.clear()
        for connection in connections:
            connection.join(5)

    def _knock(self) -> None:
        if self.path:
            with socket.socket(socket.AF_UNIX) as visitor:
                visitor.connect(str(self.path))
        else:
            socket.create_connection((self.host, self.port), timeout=1).close()

    def release(self) -> None:
        """Close the connections that hang now."""
        with self.change():
            for connection in self.hanging:
                connection.shut_down()
            self.hanging.clear()

    def on(self, stage: str, plan: Plan) -> None:
        """Script a stage from now on; a list is used up one by one, and its last action stays."""
        assert stage in STAGES or stage.startswith(("rcpt:", "final:")), f"no stage {stage!r}"
        with self.changed:
            self._script[stage] = list(plan) if isinstance(plan, list | tuple) else [plan]

    def wait_for(self, predicate: Callable[[], object], seconds: float = 10) -> None:
        """Wait until `predicate()` holds; it is asked again whenever something here changes."""
        with self.changed:
            assert self.changed.wait_for(predicate, seconds), f"not within {seconds} s: {self!r}"

    def wait_deliveries(self, n: int, seconds: float = 10) -> list[Delivery]:
        """Wait until at least `n` messages were delivered; return all."""
        self.wait_for(lambda: len(self.deliveries) >= n, seconds)
        return list(self.deliveries)

    def next_step(self, stage: str, about: bytes, address: bytes | None = None) -> Step:
        """Take the next action from the script."""
        special = "" if address is None else f"{stage}:{address.decode(errors='surrogateescape')}"
        with self.changed:
            actions = self._script.get(special) or self._script.get(stage) or [NORMAL]
            action = actions.pop(0) if len(actions) > 1 else actions[0]
        return action(about) if callable(action) else action

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """Hold the lock for a change, then wake those who wait for one."""
        with self.changed:
            yield
            self.changed.notify_all()

    def keep(self, delivery: Delivery, verdict: bytes) -> None:
        """Record a message under the answer that it is about to get."""
        ledgers = {2: self.deliveries, 4: self.refused, 5: self.refused}
        with self.change():
            ledgers.get(_kind(verdict), self.unanswered).append(delivery)

    def forget(self, connection: _Connection) -> None:
        """Forget a connection that has ended."""
        with self.change():
            self._open.discard(connection)
            self.hanging.discard(connection)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            sock, _ = listener.accept()
            with self.change():
                if self.stopping.is_set():
                    sock.close()
                    return
                self.connections += 1
                self.sources.append(_source(sock))
                connection = _Connection(self, sock, self.connections)
                self._open.add(connection)
                connection.start()


def _source(sock: socket.socket) -> str:
    return "" if sock.family == socket.AF_UNIX else str(sock.getpeername()[0])


class _OverError(Exception):
    """The connection has come to its end, by the peer or by the script."""


class _RefusedError(Exception):
    """The command is out of place or malformed; carries the reply."""


class _Connection(threading.Thread):
    """One connection: reads commands, answers as scripted."""

    _ehlo: bytes
    _extensions: set[bytes]
    _login: bytes | None
    _mail_line: bytes
    _mail_from: bytes
    _rcpts: list[tuple[bytes, bytes]]

    def __init__(self, witness: Witness, sock: socket.socket, number: int) -> None:
        super().__init__(daemon=True, name=f"witness-{witness.name}-{number}")
        self._witness, self._sock, self._number = witness, sock, number
        self._buffer = bytearray()
        self._encrypted = False
        self._in_content = False
        self._forget_session()
        sock.settimeout(TIMEOUT_S)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self) -> None:
        try:
            self._converse()
        except (OSError, _OverError):
            pass  # peers that vanish are what the tests are about
        finally:
            self._sock.close()
            self._witness.forget(self)

    def shut_down(self) -> None:
        """Wake the thread from any read or write; called by other threads, with `changed` held."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def _converse(self) -> None:
        if self._answer("accept", b""):
            self._part()
        if self._witness.implicit_tls:
            self._encrypt()
        banner = self._answer("banner", b"220 %b ESMTP witness" % self._witness.name.encode())
        turned_away = _kind(banner) in (4, 5)
        handlers = {
            **self._greetings(),
            b"STARTTLS": self._on_starttls,
            b"AUTH": self._on_auth,
            b"MAIL": self._on_mail,
            b"RCPT": self._on_rcpt,
            b"DATA": self._on_data,
            b"RSET": self._on_rset,
            b"NOOP": self._on_noop,
            b"QUIT": self._on_quit,
        }
        while True:
            line = self._read_line()
            verb = line.partition(b" ")[0].upper()
            try:
                _require(not turned_away or verb == b"QUIT", b"503 5.5.1 no service here")
                _require(verb in handlers, b"500 5.5.1 unknown command")
                handlers[verb](line)
            except _RefusedError as refused:
                self._send(refused.args[0])

    # The commands.

    def _greetings(self) -> dict[bytes, Callable[[bytes], None]]:
        if self._witness.lmtp:
            return {b"LHLO": self._on_ehlo}  # RFC 2033 4.1
        return {b"HELO": self._on_helo, b"EHLO": self._on_ehlo}

    def _on_helo(self, line: bytes) -> None:
        self._greet(line, self._answer("helo", b"250 " + self._witness.name.encode(), line))

    def _on_ehlo(self, line: bytes) -> None:
        witness = self._witness
        starttls = ["STARTTLS"] if witness.tls and not self._encrypted else []
        auth = [" ".join(("AUTH", *witness.auth_mechanisms))] if witness.auth else []
        *lines, last = [witness.name, *witness.offer, *starttls, *auth]
        normal = "".join(f"250-{text}\r\n" for text in lines) + f"250 {last}"
        self._greet(line, self._answer("ehlo", normal.encode(), line))

    def _greet(self, line: bytes, reply: bytes) -> None:
        if _yes(reply):
            self._forget_transaction()
            self._ehlo = line.partition(b" ")[2]
            offered = (text[4:].partition(b" ")[0] for text in reply.split(b"\r\n")[1:])
            self._extensions = {keyword.upper() for keyword in offered}

    def _on_starttls(self, line: bytes) -> None:
        _require(self._witness.tls and not self._encrypted, b"503 5.5.1 no STARTTLS here")
        if _yes(self._answer("starttls", b"220 2.0.0 go ahead", line)):
            self._buffer.clear()  # drop what came in clear, forget what was said (RFC 3207, 4.2)
            self._encrypt()
            self._forget_session()

    def _on_auth(self, line: bytes) -> None:
        mechanism, _, initial = line[len("AUTH ") :].partition(b" ")
        _require(self._witness.auth, b"502 5.5.1 no AUTH here")
        _require(self._ehlo and self._login is None and not self._mail_line, b"503 5.5.1 not now")
        try:
            user, right = self._proven(mechanism.upper(), initial)
        except ValueError as e:
            raise _RefusedError(b"501 5.5.2 cancelled or not understood") from e
        normal = b"235 2.7.0 welcome" if right else b"535 5.7.8 wrong user or password"
        if _yes(self._answer("auth", normal, line)):
            self._login = user

    def _proven(self, mechanism: bytes, initial: bytes) -> tuple[bytes, bool]:
        assert self._witness.auth
        server = self._witness.sasl.get(mechanism.decode(errors="replace"))
        if server is None:
            user, password = self._credentials(mechanism, initial)
            return user, (user, password) == self._witness.auth
        _require(mechanism.decode() in self._witness.auth_mechanisms, b"504 5.5.4 not offered")
        user, password = self._witness.auth
        return server(self._response, initial, user, password)

    def _credentials(self, mechanism: bytes, initial: bytes) -> tuple[bytes, bytes]:
        offered = mechanism.decode(errors="replace") in self._witness.auth_mechanisms
        if offered and mechanism == b"PLAIN":
            identity, user, password = self._response(b"", initial).split(b"\0")
            _require(identity in (b"", user), b"535 5.7.8 that is somebody else")
            return user, password
        _require(offered and mechanism == b"LOGIN", b"504 5.5.4 unknown mechanism")
        return self._response(b"Username:", initial), self._response(b"Password:", b"")

    def _response(self, challenge: bytes, initial: bytes) -> bytes:
        if not initial:
            self._send(b"334 " + base64.b64encode(challenge))
            initial = self._read_line()  # "*", to cancel, is no base64
        return b"" if initial == b"=" else base64.b64decode(initial, validate=True)

    def _on_mail(self, line: bytes) -> None:
        _require(self._ehlo and not self._mail_line, b"503 5.5.1 not now")
        _require(not self._witness.auth or self._login is not None, b"530 5.7.0 login required")
        address = self._address(line)
        if _yes(self._answer("mail", b"250 2.1.0 ok", line)):
            self._mail_line, self._mail_from = line, address

    def _on_rcpt(self, line: bytes) -> None:
        _require(self._mail_line, b"503 5.5.1 not now")
        address = self._address(line)
        if _yes(self._answer("rcpt", b"250 2.1.5 ok", line, address)):
            self._rcpts.append((line, address))

    def _address(self, line: bytes) -> bytes:
        path = _PATH.fullmatch(line)
        if path is None:
            raise _RefusedError(b"501 5.5.4 no path")
        for parameter in (path["parameters"] or b"").split():
            keyword = parameter.partition(b"=")[0].upper()
            offered = _EXTENSION_OF.get(keyword, keyword) in self._extensions
            _require(offered, b"555 5.5.4 not offered: " + keyword)
        return path["address"]

    def _on_data(self, line: bytes) -> None:
        _require(self._rcpts, b"503 5.5.1 not now")
        if not self._answer("data", b"354 go ahead", line).startswith(b"354"):
            return
        if not self._buffer:
            self._fill()
        self._in_content = True
        early = self._answer("content", b"", bytes(self._buffer))
        self._in_content = False
        self._buffer[:0] = b"\r\n"  # a dot right behind the DATA line ends an empty body
        wire = (self._read_to(b"\r\n.\r\n") + b"\r\n")[2:]
        delivery = Delivery(
            mail_line=self._mail_line,
            rcpt_lines=tuple(rcpt_line for rcpt_line, _ in self._rcpts),
            mail_from=self._mail_from,
            rcpt_tos=tuple(address for _, address in self._rcpts),
            content=(b"\r\n" + wire).replace(b"\r\n.", b"\r\n")[2:],
            wire=wire,
            ehlo=self._ehlo,
            login=self._login,
            tls=self._encrypted,
            connection=self._number,
        )
        self._forget_transaction()
        if _kind(early):  # it stands in for the final one
            self._witness.keep(delivery, early)
        elif self._witness.lmtp:  # RFC 2033 4.2
            for rcpt, address in zip(delivery.rcpt_lines, delivery.rcpt_tos, strict=True):
                self._end(replace(delivery, rcpt_lines=(rcpt,), rcpt_tos=(address,)), address)
        else:
            self._end(delivery)

    def _end(self, delivery: Delivery, recipient: bytes | None = None) -> None:
        step = self._witness.next_step("final", delivery.content, recipient)
        said, then = spell_out(step, b"250 2.0.0 kept by " + self._witness.name.encode())
        self._witness.keep(delivery, said)
        self._say(said, then)

    def _on_rset(self, line: bytes) -> None:
        if _yes(self._answer("rset", b"250 2.0.0 ok", line)):
            self._forget_transaction()

    def _on_noop(self, _: bytes) -> None:
        self._send(b"250 2.0.0 ok")

    def _on_quit(self, line: bytes) -> None:
        self._answer("quit", b"221 2.0.0 bye", line)
        self._part()

    # The answers.

    def _answer(
        self, stage: str, normal: bytes, about: bytes = b"", address: bytes | None = None
    ) -> bytes:
        """Do what the script says; return what was said, if anything."""
        said, then = spell_out(self._witness.next_step(stage, about, address), normal)
        self._say(said, then)
        return said

    def _say(self, said: bytes, then: Act) -> None:
        if then is DRIP:
            self._drip(said)
        elif said:
            self._sock.sendall(said)
        match then:
            case Act.NORMAL | Act.DRIP:
                return
            case Act.DROP if said:
                self._part()
            case Act.DROP:
                raise _OverError
            case Act.RESET:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise _OverError
            case Act.HANG:
                self._hang()
            case _:
                assert_never(then)

    def _drip(self, reply: bytes) -> None:
        for byte in reply[:DRIP_MAX_BYTES]:
            self._sock.sendall(bytes((byte,)))
            if self._witness.stopping.wait(DRIP_S):
                raise _OverError
        self._sock.sendall(reply[DRIP_MAX_BYTES:])

    def _hang(self) -> None:
        with self._witness.change():
            if self._witness.stopping.is_set():
                raise _OverError
            self._witness.hanging.add(self)
        if self._in_content:  # reads nothing more, so that the peer's writes block as well
            with self._witness.changed:
                self._witness.changed.wait_for(lambda: self not in self._witness.hanging, TIMEOUT_S)
        else:  # reads on, so that it sees the peer leave
            self._drain()
        raise _OverError

    def _part(self) -> None:
        """Close in order: what was said still arrives, even if the peer is busy sending."""
        socket.socket.shutdown(self._sock, socket.SHUT_WR)
        self._sock.settimeout(PART_S)
        self._drain()
        raise _OverError

    def _drain(self) -> None:
        while self._sock.recv(65536):
            pass

    # The wire.

    def _send(self, reply: bytes) -> None:
        self._sock.sendall(as_line(reply))

    def _read_line(self) -> bytes:
        line = self._read_to(b"\r\n")
        with self._witness.change():
            self._witness.commands.append(line)
            self._witness.quits += line.upper() == b"QUIT"
        return line

    def _read_to(self, mark: bytes) -> bytes:
        start = 0
        while (end := self._buffer.find(mark, start)) < 0:
            start = max(0, len(self._buffer) - len(mark) + 1)
            self._fill()
        found = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return found

    def _fill(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise _OverError
        self._buffer += data

    def _encrypt(self) -> None:
        assert self._witness.tls
        wrap = self._witness.tls.wrap_socket
        with self._witness.changed:  # or stop() would shut down the socket that was
            self._sock = tls = wrap(self._sock, server_side=True, do_handshake_on_connect=False)
            if self._witness.stopping.is_set():
                raise _OverError
        tls.do_handshake()
        with self._witness.change():
            self._witness.resumed.append(bool(tls.session_reused))
            self._witness.peers.append(_name_in(tls.getpeercert()))
        self._encrypted = True

    def _forget_session(self) -> None:
        self._ehlo, self._login = b"", None
        self._extensions = set()
        self._forget_transaction()

    def _forget_transaction(self) -> None:
        self._mail_line = self._mail_from = b""
        self._rcpts = []


def _name_in(certificate: Mapping[str, Any] | None) -> str:
    names = (certificate or {}).get("subjectAltName", ())
    return names[0][1] if names else ""


def _require(condition: object, reply: bytes) -> None:
    if not condition:
        raise _RefusedError(reply)


def _kind(reply: bytes) -> int:
    """2, 4, 5 … for 2yz, 4yz, 5yz …; 0 for what is no reply."""
    return int(reply[:1]) if re.match(rb"[2-5]\d\d(?:[ -]|\r\n|$)", reply) else 0


def _yes(reply: bytes) -> bool:
    return _kind(reply) == 2
