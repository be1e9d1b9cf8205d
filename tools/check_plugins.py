"""Checks that plugins come and go as pip installs them: ours, and those that `new-plugin` makes."""

import json
import re
import signal
import smtplib
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from smtp_router.hooks.plugin import HOOKS
from smtp_router.testing import ScriptedDownstream
from tests.running import Process
from tools.checking import (
    AT_ONCE,
    CheckError,
    Report,
    expect_all,
    expect_equal,
    expect_failure,
    run,
)

NEW: Mapping[str, Sequence[str]] = {
    **{f"only_{hook}": [hook] for hook in HOOKS},
    "of_all": list(HOOKS),
}
"""Plugins to be made, by name: for each hook one, and one with all of them."""

MAIL = "Subject: hello\r\n\r\nhello\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An environment with the router in it, wheels, and a folder to work in.

    Args:
        environment: the environment's folder.
        dist: has the wheels.
        home: where commands run.
    """

    environment: Path
    dist: Path
    home: Path

    @property
    def command(self) -> Path:
        """`smtp-router`."""
        return self.environment / "bin" / "smtp-router"

    def pip(self, *arguments: str | Path) -> None:
        """Run pip, away from any package index."""
        python = self.environment / "bin" / "python"
        run(python, "-m", "pip", "-qq", "--disable-pip-version-check", *arguments, cwd=self.home)

    def install(self, wheels: Sequence[Path]) -> None:
        """Install wheels."""
        self.pip("install", "--no-index", *wheels)

    def configure(self, *downstreams: str, algorithm: str, plugins: Sequence[str] = ()) -> Path:
        """A configuration of one user."""
        user = {
            "email": "user@example.com",
            "password": "password",
            "algorithm": algorithm,
            "plugins": plugins,
            "downstreams": [{"addr": addr} for addr in downstreams or ["127.0.0.1:2525"]],
        }
        file = self.home / "plugins.yaml"
        file.write_text(json.dumps({"listen": [{"addr": "127.0.0.1:0"}], "users": [user]}), "utf-8")
        return file

    @contextmanager
    def serve(self, config: Path) -> Iterator["Router"]:
        """A router that runs."""
        with Process(str(self.command), "serve", "-c", str(config), cwd=self.home) as process:
            port = process.wait_line(r"listening on 127\.0\.0\.1:(\d+)")[1]
            yield Router(process, int(port))


@dataclass(frozen=True, slots=True)
class Router:
    """`smtp-router serve`, and the port that it listens on."""

    process: Process
    port: int

    def reload(self, expected: str) -> None:
        """Have it read everything again, and wait until it says what is expected."""
        said = len(self.process.lines)
        self.process.signal(signal.SIGHUP)
        self.process.wait_line(expected, after=said)

    def send(self) -> None:
        """Send a mail through it."""
        with smtplib.SMTP("127.0.0.1", self.port) as client:
            client.login("user@example.com", "password")
            client.sendmail("a@a.example", ["b@b.example"], MAIL)


def check_plugins(report: Report, place: Place) -> None:
    """Check all of it; the environment is left as it was."""
    check_ours(report, place)
    wheels: list[Path] = []
    with (
        report.check("smtp-router new-plugin makes a plugin for every hook, and its wheel builds"),
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        wheels += pool.map(lambda name: make(place, name), NEW)
    with (
        report.check("their own tests pass with the installed wheels"),
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        place.install(wheels)
        list(pool.map(lambda name: test(place, name), NEW))
    with report.check("smtp-router plugins lists them with what they are"):
        check_list(place)
    with report.check("a configuration may name them all"):
        said = run(place.command, "check", "-c", name_all(place), cwd=place.home)
        expect_all(set(said.split()), *NEW)
    check_upgrade(report, place)
    with report.check("when they are uninstalled, smtp-router check says how to get each"):
        place.pip("uninstall", "-y", *map(distribution, NEW))
        said = expect_failure(2, place.command, "check", "-c", name_all(place), cwd=place.home)
        expect_all({*re.findall(r"try: pip install ([\w-]+)", said)}, *map(distribution, NEW))


def name_all(place: Place) -> Path:
    """A configuration with all of them."""
    others = [name for name in NEW if name != "of_all"]
    return place.configure(algorithm="of_all", plugins=others)


def check_ours(report: Report, place: Place) -> None:
    """A plugin of ours is uninstalled and installed, before a router that runs."""
    with ScriptedDownstream() as downstream:
        with report.check("without its wheel, weighted is missed, and check says how to get it"):
            place.pip("uninstall", "-y", "smtp-router-weighted")
            config = place.configure(downstream.addr, algorithm="weighted")
            said = expect_failure(2, place.command, "check", "-c", config, cwd=place.home)
            expect_all(set(said.split(";")), " try: pip install smtp-router-weighted")
        with report.check("a running router takes up what is installed meanwhile, at a reload"):
            with place.serve(place.configure(downstream.addr, algorithm="round_robin")) as router:
                place.configure(downstream.addr, algorithm="weighted")
                router.reload("not reloaded.* try: pip install smtp-router-weighted")
                router.send()
                place.install(list(place.dist.glob("smtp_router_weighted-*.whl")))
                router.reload(r"\breloaded\b.* epoch=2")
                router.send()
            expect_equal(len(downstream.delivered), 2)
        with report.check("pip install of the wheel is all it takes: check takes weighted"):
            run(place.command, "check", "-c", config, cwd=place.home)


def check_upgrade(report: Report, place: Place) -> None:
    """A new version of a plugin that is in use."""
    with report.check("a new version counts from the next start, and a reload says so"):
        with ScriptedDownstream() as downstream:
            config = place.configure(downstream.addr, algorithm="of_all")
            with place.serve(config) as router:
                router.send()
                place.install([make_new_version(place, "of_all")])
                router.reload("installed plugin has changed, which takes a restart.* 0.2.0")
                router.send()
            expect_equal(len(downstream.delivered), 2)
        said = run(place.command, "check", "-c", config, cwd=place.home)
        expect_all(
            set(said.splitlines()),
            f"  algorithm   of_all  (smtp-router-of-all 0.2.0: {', '.join(HOOKS)})",
        )


def check_list(place: Place) -> None:
    """What `smtp-router plugins` says of them."""
    listed = {
        plugin["name"]: plugin
        for plugin in json.loads(run(place.command, "plugins", "--json", cwd=place.home))
    }
    for name, hooks in NEW.items():
        expect_equal(listed[name]["hooks"], hooks)
        expect_equal(listed[name]["distribution"], distribution(name))
        if not listed[name]["summary"]:
            raise CheckError(f"{name} has no summary")


def distribution(name: str) -> str:
    """What pip calls it."""
    return f"smtp-router-{name.replace('_', '-')}"


def make(place: Place, name: str) -> Path:
    """Make a plugin, and its wheel."""
    hooks = [word for hook in NEW[name] for word in ("--hook", hook)]
    run(place.command, "new-plugin", name, *hooks, cwd=place.home)
    return build(place, name, "0.1.0")


def make_new_version(place: Place, name: str) -> Path:
    """The wheel of its next version."""
    file = place.home / distribution(name) / "pyproject.toml"
    text = file.read_text("utf-8")
    file.write_text(text.replace('version = "0.1.0"', 'version = "0.2.0"'), "utf-8")
    return build(place, name, "0.2.0")


def build(place: Place, name: str, version: str) -> Path:
    """A wheel of what is in a plugin's folder."""
    out = place.home / "wheels"
    folder = place.home / distribution(name)
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", out, folder)
    return out / f"smtp_router_{name}-{version}-py3-none-any.whl"


def test(place: Place, name: str) -> None:
    """Run its tests; what they import is what is installed."""
    folder = place.home / distribution(name)
    said = run(place.environment / "bin" / "pytest", "-q", "-W", "error", cwd=folder)
    if not re.search(r"^\d\d passed", said, re.MULTILINE):
        raise CheckError(said)
