"""Walks docs/plugins/tutorial.md from its first command to its last, as a reader does.

The reader has a Python, an empty folder, and what pip can get: the wheels that were built, and what
requirements/*.txt pin; there is no package index. Files are written where the page says, commands run in
one shell after another, those that end in `&` in the background. Ports are free ones instead.
"""

import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.docs.pages import DOCS, blocks, text_of
from tests.running import Process
from tools.checking import ROOT, CheckError, expect_all, run

PAGE = DOCS / "plugins" / "tutorial.md"
PORTS = ("2025", "2525", "2526")
PINNED = ("run.txt", "testing.txt", "build.txt")
TOOLS = ("build", "pyproject-hooks")
"""What the reader installs that our users and authors do not need; pinned in dev.txt."""

STATE = '\n{ pwd; env -0; } > "$WALK_STATE"\n'
READY_S = 20.0


def walk(dist: Path, scratch: Path) -> None:
    """Walk the page.

    Args:
        dist: has the router's wheel.
        scratch: a folder to work in.

    Raises:
        CheckError, AssertionError: the page says something else than what happens.
    """
    wheels = scratch / "wheelhouse"
    download(wheels)
    with Walk(scratch / "author", [dist, wheels]) as reader:
        reader.follow()
        reader.expect_mail()


def download(wheels: Path) -> None:
    """Get what is pinned, as wheels."""
    pip = (sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "wheel")
    options = ("--no-deps", "--require-hashes", "--wheel-dir", wheels)
    for name in PINNED:
        run(*pip, *options, "-r", ROOT / "requirements" / name)
    text = (ROOT / "requirements" / "dev.txt").read_text("utf-8")
    pinned = [re.search(rf"^{name}==.*(?:\n +--hash.*)+", text, re.MULTILINE) for name in TOOLS]
    wheels.mkdir(exist_ok=True)
    tools = wheels / "tools.txt"
    tools.write_text("\n".join(match[0] for match in pinned if match), "utf-8")
    run(*pip, *options, "-r", tools)


class Walk:
    """Somebody who reads the page, and does what it says."""

    def __init__(self, folder: Path, wheels: list[Path]) -> None:
        """Open an empty folder."""
        folder.mkdir()
        self.folder = folder
        self.state = folder.with_suffix(".state")
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.environ: Mapping[str, str] = {
            **{
                key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))
            },
            "PATH": f"{Path(sys.base_prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": " ".join(map(str, wheels)),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONUNBUFFERED": "1",
            "WALK_STATE": str(self.state),
        }
        self.said: list[str] = []
        self.running: list[Process] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def follow(self) -> None:
        """Do all that the page says, from top to bottom.

        Raises:
            CheckError: something does not work, or does not say what the page says.
        """
        for block in blocks(PAGE):
            if block.is_a("sh"):
                for command in commands(self._with_ports(block.text)):
                    self._do(command)
            elif block.words[1:2] in {("file",), ("scenario",)}:
                (self.folder / block.words[2]).write_text(self._with_ports(block.text), "utf-8")
        shown = re.findall(r"^    (.+)$", re.sub(r"(?ms)^```.*?^```", "", text_of(PAGE)), re.MULTILINE)
        expect_all(set(self.said), *shown)

    def expect_mail(self) -> None:
        """See that each mail has come to where the page says."""
        small, big, router = self.running
        small.wait_line("Subject: a small one")
        big.wait_line("Subject: a big one")
        for name in ("small", "big"):
            router.wait_line(f"downstream={name} .*outcome=delivered")

    def _do(self, command: str) -> None:
        if command.endswith("&"):
            self._start(command.removesuffix("&").strip())
            return
        said = run("/bin/sh", "-e", "-c", command + STATE, cwd=self.folder, env=self.environ)
        self.said += said.splitlines()
        folder, _, environ = self.state.read_text("utf-8").partition("\n")
        self.folder = Path(folder)
        self.environ = dict(line.split("=", 1) for line in environ.split("\0") if "=" in line)

    def _start(self, command: str) -> None:
        process = Process("/bin/sh", "-c", f"exec {command}", cwd=self.folder, env=self.environ)
        self.running.append(self._stack.enter_context(process))
        if " serve" in command:
            process.wait_line("listening on")
        else:
            wait_for_server(int(command.rpartition(":")[2]))

    def _with_ports(self, text: str) -> str:
        return re.sub("|".join(PORTS), lambda match: self.ports[match[0]], text)


def commands(text: str) -> Iterator[str]:
    """Commands that run one after another are one script; one in the background stands alone."""
    script = ""
    for line in text.splitlines():
        if line.endswith("&"):
            yield line
        else:
            script += line + "\n"
    if script:
        yield script


def free_ports(count: int) -> list[str]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(each.getsockname()[1]) for each in sockets]


def wait_for_server(port: int) -> None:
    """Wait until somebody listens there.

    Raises:
        CheckError: nobody does.
    """
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise CheckError(f"nobody listens on port {port}")
