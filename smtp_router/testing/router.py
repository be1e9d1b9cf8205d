"""A real router for one test: on a free port, between scripted downstreams and a client."""

import json
import smtplib
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

from smtp_router.core.reply import Reply
from smtp_router.hooks.registry import Registry, is_path
from smtp_router.testing.downstream import ScriptedDownstream
from smtp_router.testing.log import WAIT_S, RouterLog
from smtp_router.testing.plugins import NO_OPTIONS
from smtp_router.testing.serving import ServiceThread
from smtp_router.testing.steps import Script
from smtp_router.testing.targets import name_of
from smtp_router.testing.values import CONTENT, USER

PASSWORD: Final = "open sesame"  # noqa: S105 - of an account that exists for the length of a test
Behaviour: TypeAlias = ScriptedDownstream | Script | Sequence[Script]


class RunningRouter:
    """A router with one user, who sends through it. It runs within a `with` block, in its own thread.

    Args:
        algorithm: a class or a module; the name of an installed plugin; the path of a file.
        options: of the algorithm, as the configuration has them.
        plugins: further ones, each like the algorithm, or `{"use": …, "options": {…}}`.
        downstreams: by name, each a script for a `ScriptedDownstream`, or one that is made already; by
            default `a` and `b`, where all goes well.
        downstream_options: of downstreams, by name.
        settings: top-level keys of the configuration, as in `{"deadline_s": 5}`.

    Raises:
        ConfigError: (on entering) the configuration or a plugin cannot be used.
        PluginError: an algorithm or plugin that is no plugin.
    """

    def __init__(
        self,
        algorithm: object = "failover",
        options: Mapping[str, object] | None = None,
        *,
        plugins: Sequence[object] = (),
        downstreams: Mapping[str, Behaviour] | None = None,
        downstream_options: Mapping[str, Mapping[str, object]] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        behaviours = {"a": {}, "b": {}} if downstreams is None else downstreams
        self.downstreams: dict[str, ScriptedDownstream] = {
            name: one if isinstance(one, ScriptedDownstream) else ScriptedDownstream(one)
            for name, one in behaviours.items()
        }
        """The downstreams, by name."""
        self.log: RouterLog = RouterLog()
        """What the router logs, from its start on."""
        self._registry = Registry()
        self._given: dict[str, object] = {}
        self._algorithm, self._options, self._plugins = algorithm, options, plugins
        self._downstream_options, self._settings = downstream_options, settings
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="smtp-router-"))
            for downstream in self.downstreams.values():
                if not downstream.port:  # else somebody else runs it
                    stack.enter_context(downstream)
            self._file = Path(folder, "config.yaml")
            self._configure()
            service = ServiceThread(self._file, registry=self._registry, log=self.log)
            self._service = stack.enter_context(service)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for downstream in self.downstreams.values():
            downstream.release()  # what hangs would keep it from stopping
        self._stack.close()

    @property
    def port(self) -> int:
        """Where it listens, at 127.0.0.1."""
        return self._service.port

    def client(self) -> smtplib.SMTP:
        """A client that has logged in; to be used in a `with` block."""
        client = smtplib.SMTP("127.0.0.1", self.port, "client.example", timeout=3 * WAIT_S)
        try:
            client.login(USER, PASSWORD)
        except BaseException:
            client.close()
            raise
        return client

    def send(
        self,
        content: bytes = CONTENT,
        *,
        mail_from: str = "sender@a.example",
        to: str | Sequence[str] = "rcpt@b.example",
    ) -> Reply:
        """Send a message over a connection of its own; waits for the answer.

        From a coroutine use `await asyncio.to_thread(router.send, …)`.

        Args:
            content: header and body, with CRLF at the end of each line.
            mail_from: the sender; `""` is the null one.
            to: the recipients.

        Returns:
            What the router said at the end of it, or where it said no.
        """
        recipients = [to] if isinstance(to, str) else list(to)
        is_ascii = all(address.isascii() for address in (mail_from, *recipients))
        with self.client() as client:
            said = client.mail(mail_from, () if is_ascii else ("SMTPUTF8",))
            for recipient in recipients:
                if _is_positive(said):
                    said = client.rcpt(recipient)
            if _is_positive(said):
                try:
                    said = client.data(content)
                except smtplib.SMTPDataError as error:
                    said = error.smtp_code, _octets(error.smtp_error)
        return Reply.parse(said[0], said[1].decode("utf-8", "replace"))

    def reload(
        self,
        *,
        algorithm: object | None = None,
        options: Mapping[str, object] | None = None,
        downstream_options: Mapping[str, Mapping[str, object]] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> list[str]:
        """Change the configuration, and have it read again; what is not named stays.

        An algorithm that is named is a new version of it, even if it is the same one.

        Returns:
            Why the old configuration stays; nothing, if the new one is at work.
        """
        self._algorithm = algorithm or self._algorithm
        self._options = self._options if options is None else options
        self._downstream_options = downstream_options or self._downstream_options
        self._settings = settings or self._settings
        before = len(self.log.entries)
        self._configure(is_new=algorithm is not None)
        self._service.reload()
        said = self.log.entries[before:]
        return [str(entry["problem"]) for entry in said if entry["event"].startswith("not reloaded")]

    def _configure(self, *, is_new: bool = True) -> None:
        options = self._downstream_options or {}
        algorithm = {"use": self._name(self._algorithm, is_new=is_new)}
        user = {
            "email": USER,
            "password": PASSWORD,
            "algorithm": algorithm | ({"options": dict(self._options)} if self._options else {}),
            "plugins": [self._use(one) for one in self._plugins],
            "downstreams": [
                self._entry(name, one, options.get(name, NO_OPTIONS))
                for name, one in self.downstreams.items()
            ],
        }
        text = json.dumps(
            {
                "listen": [{"addr": "127.0.0.1:0"}],
                "hostname": "router.example",
                "drain_s": 5,
                **(self._settings or {}),
                "users": [user],
            }
        )
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text, "utf-8")
        fresh.replace(self._file)

    def _entry(
        self, name: str, downstream: ScriptedDownstream, options: Mapping[str, object]
    ) -> dict[str, object]:
        entry: dict[str, object] = {"name": name, "addr": downstream.addr, "options": dict(options)}
        if downstream.login:
            entry |= {"user": downstream.login[0], "pass": downstream.login[1]}
        return entry

    def _use(self, plugin: object) -> dict[str, object]:
        if isinstance(plugin, Mapping):
            return {**plugin, "use": self._name(plugin["use"])}
        return {"use": self._name(plugin)}

    def _name(self, target: object, *, is_new: bool = False) -> str:
        """What a configuration says for a plugin; code that is at hand is given its own name."""
        if isinstance(target, Path):
            return str(target.absolute())
        if isinstance(target, str):
            return str(Path(target).absolute()) if is_path(target) else target
        name = name_of(target)
        if self._given.get(name) is not target or is_new:
            if name in self._given and not is_new:
                raise ValueError(f"two plugins have the same name {name}")
            self._registry.give(name, target, Path.cwd())
            self._given[name] = target
        return name


def _is_positive(said: tuple[int, bytes]) -> bool:
    return 200 <= said[0] < 300  # noqa: PLR2004 - 2yz


def _octets(said: bytes | str) -> bytes:
    return said if isinstance(said, bytes) else said.encode()
