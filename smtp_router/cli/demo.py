"""`smtp-router demo`: a router with two downstreams of its own, to play with."""

import asyncio
import errno
import logging
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import click

from smtp_router.cli.common import fail
from smtp_router.cli.logs import fields_of
from smtp_router.cli.loop import run
from smtp_router.config.load import parse
from smtp_router.config.settings import DEFAULT_PORT, Settings
from smtp_router.config.settings import Listener as ListenerSettings
from smtp_router.config.types import HostPort
from smtp_router.core.errors import ConfigError
from smtp_router.core.message import Message
from smtp_router.core.reply import Reply
from smtp_router.credentials import Verifier
from smtp_router.machine import MonotonicClock
from smtp_router.service import Service
from smtp_router.smtp.guard import Guard
from smtp_router.smtp.listener import Listener

LOGIN, PASSWORD = "demo@example.com", "demo"
ALGORITHM = Path("round_robin.py")
DOWNSTREAMS = ("one", "two")
PORTS_TO_TRY = 20

EXAMPLE_SETTINGS = """
hostname: {name}.demo
users: [{{email: any, password: any, algorithm: none, downstreams: [{{addr: "localhost:1"}}]}}]
"""

ALGORITHM_TEXT = '''\
"""The demo's algorithm: each downstream in turn. Change it while the demo runs; it counts at once."""

import itertools

from smtp_router import hookimpl

turns = itertools.count()


@hookimpl
def select_downstream(message, downstreams):
    # Try this instead:   return downstreams[0]
    # or this:            if "urgent" in message.headers.get("Subject", ""): return downstreams[-1]
    return downstreams[next(turns) % len(downstreams)]
'''


@click.command()
def demo() -> None:
    """Run a router with two example downstreams, ready for mail, on 127.0.0.1:1025."""
    run(_demo())


class ExampleDownstream:
    """A server that takes every message and forgets it: our own listener with nothing behind it."""

    def __init__(self, name: str) -> None:
        """Nothing listens yet."""
        self.name = name
        text = EXAMPLE_SETTINGS.format(name=name)
        self.settings: Settings = parse(text.encode(), Path("demo.yaml")).settings
        self.guard = Guard(self.settings, MonotonicClock(), max_files=100)
        self.addr = HostPort(host="127.0.0.1", port=0)
        self._listener: Listener | None = None
        self._taken = 0

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        if self._listener is None:
            self._listener = Listener(self, ListenerSettings(addr=self.addr))
            address = await self._listener.start()
            assert isinstance(address, HostPort)
            self.addr = address

    async def stop(self) -> None:
        """Be gone, as after a power cut."""
        if self._listener is not None:
            self._listener.stop()
            self._listener.abort()
            await self._listener.drained()
            self._listener = None

    def user_at(self, address: str) -> None:
        """Nobody without a login."""
        del address

    def mail_refusal(self, user: str, mail_from: str) -> None:
        """Everybody may send everything."""
        del user, mail_from

    def max_sessions(self, user: str) -> None:
        """As many as they like."""
        del user

    def known(self, response: bytes) -> None:
        """Nobody: everybody is let in, by `authenticate`."""
        del response

    async def authenticate(self, login: str, password: str) -> bool:
        """Everybody."""
        del login, password
        return True

    async def scram_verifier(self, login: str) -> Verifier:
        """Nobody: the router logs in with PLAIN."""
        raise NotImplementedError

    mechanisms = ("PLAIN", "LOGIN")

    async def route(self, message: Message) -> Reply:
        """Take it."""
        del message
        self._taken += 1
        return Reply(code=250, enhanced="2.0.0", text=f"Taken by {self.name}, number {self._taken}")

    def gone(self, message: Message, unheard: Reply | None = None) -> None:
        """It is forgotten anyway."""

    def new_id(self) -> str:
        """Ids only have to be unique among what is kept, and nothing is."""
        return f"{self.name}-{self._taken}"

    def wall_clock(self) -> datetime:
        """The present, in UTC."""
        return datetime.now(UTC)


async def _demo() -> None:
    downstreams = [ExampleDownstream(name) for name in DOWNSTREAMS]
    for downstream in downstreams:
        await downstream.start()
    _show_what_happens()
    written = _write_algorithm()
    service = await _router(downstreams)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, service.stop)
    loop.add_signal_handler(signal.SIGINT, service.stop)
    loop.add_signal_handler(signal.SIGHUP, service.reload)
    click.echo(_introduction(str(service.addresses[0]), written=written))
    async with asyncio.TaskGroup() as tasks:
        _listen_to_keyboard(downstreams, tasks)
        await service.run()
    for downstream in downstreams:
        await downstream.stop()


async def _router(downstreams: list[ExampleDownstream]) -> Service:
    """A router on the first free port from the default one up."""
    for port in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TO_TRY):
        addr = HostPort(host="127.0.0.1", port=port)
        try:
            service = Service(parse(_config(addr, downstreams).encode(), Path("demo.yaml")))
            await service.start()
        except ConfigError as error:
            fail(error)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            click.echo(f"Port {port} is busy; trying {port + 1}.")
        else:
            return service
    click.echo(f"No free port from {DEFAULT_PORT} to {port}; stop one of the programs there.", err=True)
    sys.exit(2)


def _config(addr: HostPort, downstreams: list[ExampleDownstream]) -> str:
    """The demo's configuration, which is an example as well."""
    lines = [
        "hostname: router.demo",
        f"listen: [{{addr: '{addr}'}}]",
        "drain_s: 5",
        "control: null",  # no command would find it: there is no such file
        "health: {rest_s: 1, max_rest_s: 1}",  # nobody waits minutes at a demo
        "users:",
        f"  - email: {LOGIN}",
        f"    password: {PASSWORD}",
        f"    algorithm: ./{ALGORITHM}",
        "    downstreams:",
    ]
    for downstream in downstreams:
        lines += [f"      - addr: '{downstream.addr}'", f"        name: {downstream.name}"]
        lines += ["        user: router", "        pass: any"]
    return "\n".join(lines)


def _write_algorithm() -> bool:
    """Put the algorithm's file there, unless there is one; whether it was written."""
    if ALGORITHM.exists():
        return False
    try:
        ALGORITHM.write_text(ALGORITHM_TEXT, encoding="utf-8")
    except OSError as error:
        click.echo(f"cannot write ./{ALGORITHM}: {error.strerror}; try another folder", err=True)
        sys.exit(2)
    return True


def _introduction(addr: str, *, written: bool) -> str:
    mail = r"'From: me@example.com\nTo: you@example.com\nSubject: Hello\n\nHello!\n'"
    which = "has just been written" if written else "was here already and is used"
    return f"""
smtp-router is listening on {addr}: user {LOGIN}, password {PASSWORD}.
Behind it are two example downstreams, one and two, which take every mail and forget it.

Send a mail:

  swaks --server {addr} --auth PLAIN --auth-user {LOGIN} --auth-password {PASSWORD} \\
        --from me@example.com --to you@example.com

  printf {mail} | \\
  curl -sS --crlf smtp://{addr} -u {LOGIN}:{PASSWORD} \\
       --mail-from me@example.com --mail-rcpt you@example.com -T -

Change where mail goes: edit ./{ALGORITHM} ({which}); the next mail goes by it.
See a failure: type "stop one" and Enter; later "start one". Ctrl-C ends the demo.
"""


def _listen_to_keyboard(downstreams: list[ExampleDownstream], tasks: asyncio.TaskGroup) -> None:
    """`stop NAME` and `start NAME`, where there is a keyboard."""
    actions = {f"stop {downstream.name}": downstream.stop for downstream in downstreams}
    actions |= {f"start {downstream.name}": downstream.start for downstream in downstreams}
    loop = asyncio.get_running_loop()
    typed = bytearray()

    async def obey(words: str) -> None:
        await actions[words]()
        click.echo(f"{words}: done")

    def on_input(keyboard: int) -> None:
        octets = os.read(keyboard, 4096)
        if not octets:
            loop.remove_reader(keyboard)
        typed.extend(octets)
        *lines, rest = typed.split(b"\n")
        typed[:] = rest
        for line in lines:
            words = " ".join(line.decode(errors="replace").split())
            if words in actions:
                tasks.create_task(obey(words))
            elif words:
                click.echo(f"Type one of: {', '.join(actions)}")

    try:
        keyboard = sys.stdin.fileno()
        loop.add_reader(keyboard, on_input, keyboard)
    except (AttributeError, OSError, ValueError, NotImplementedError):
        return  # stdin is a file, or closed


def _show_what_happens() -> None:
    """A line for every message, every failed attempt, and whatever else is worth a line."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_DemoFormatter())
    handler.addFilter(lambda record: bool(_describe(record)))
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.INFO)
    logging.getLogger("mail").setLevel(logging.WARNING)


class _DemoFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{datetime.now():%H:%M:%S}  {_describe(record)}"  # noqa: DTZ005 - for the eye


_IN_OTHER_WORDS = MappingProxyType(
    {
        "plugin loaded": "using {plugin}",
        "downstream rests": "{downstream} rests for {seconds} s: others get its mail at once",
        "downstream is back": "{downstream} is back",
    }
)


def _describe(record: logging.LogRecord) -> str:
    fields = fields_of(record)
    event = record.getMessage()
    if event == "message":
        ms = float(str(fields["seconds"])) * 1000
        what = (
            f"{fields['bytes']} bytes from <{fields['mail_from']}>, {fields['recipients']} recipient(s)"
        )
        if fields["outcome"] == "delivered":
            return f"{fields['downstream']} got it in {ms:.1f} ms: {what}"
        return f"{fields['outcome']} after {ms:.1f} ms: {what}: {fields['reply']}"
    if event == "attempt" and fields["outcome"] != "delivered":
        why = fields["reply"] or fields["reason"]
        return f"{fields['downstream']} did not take it: {fields['outcome']} at {fields['stage']}: {why}"
    if event in _IN_OTHER_WORDS:
        return _IN_OTHER_WORDS[event].format_map(fields)
    if record.levelno >= logging.WARNING:
        more = " ".join(f"{key}={value}" for key, value in fields.items())
        return f"{event} {more}"
    return ""
