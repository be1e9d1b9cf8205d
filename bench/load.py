"""Load: busy SMTP clients, which are a program in C so that they cost less than what they measure."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.clients import PLAIN
from bench.contestants import ROOT, Contestant

HERE = Path(__file__).resolve().parent
LONGEST_S = 60.0
"""How long the program may take beyond the time in which messages begin."""

TLS_HINT = "to compile with TLS takes OpenSSL's headers (on Debian and Ubuntu: apt install libssl-dev)"
WITH_TLS = ("-DWITH_TLS", "-lssl", "-lcrypto")

_LINE = b"It is plain text, in lines of no more than the usual seventy-six characters.\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What clients do.

    Args:
        size: of the content in bytes.
        clients: how many there are, each with one message at a time.
        mode: `new`, `keep` or `pipe`, as `load.c` says.
        tls: whether over STARTTLS.
        recipients: of each message; not for `pipe`.
    """

    size: int
    clients: int
    mode: str
    tls: bool = False
    recipients: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the clients have seen.

    Args:
        ok: messages that were answered 250.
        failed: messages and connections that went wrong in any way.
        seconds: from the first connection to the last 250.
        p50_ms: half of the messages took no longer.
        p99_ms: 99 % took no longer.
        first_error: in words, if any failed.
        resumed: messages over connections that resumed a TLS session.
        cipher: version of TLS and cipher of the last connection.
    """

    ok: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float
    first_error: str
    resumed: int = 0
    cipher: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run.

    Args:
        cpu_ms: CPU time of the contestant per message, in milliseconds.
        per_s: messages per second.
        told: what the clients have seen.
    """

    cpu_ms: float
    per_s: float
    told: Told


class NoTLSError(RuntimeError):
    """The programs cannot be compiled with TLS; the text says what to install."""


def build(name: str, folder: Path, *, tls: bool = False) -> Path:
    """Compile one of the programs beside this file.

    Args:
        name: of the program.
        folder: where it is put.
        tls: whether it is to know TLS.

    Raises:
        RuntimeError: there is no compiler.
        NoTLSError: OpenSSL's headers or libraries are missing.
    """
    cc = shutil.which("cc")
    if cc is None:
        raise RuntimeError("there is no C compiler (cc), and the load is a program in C")
    program = folder / name
    command = [cc, "-O2", "-o", str(program), str(HERE / f"{name}.c")]
    if not tls:
        subprocess.run(command, check=True)
        return program
    done = subprocess.run([*command, *WITH_TLS], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoTLSError(f"{TLS_HINT}:\n{done.stderr}")
    return program


def content(size: int) -> bytes:
    """A message of this size, with a final dot behind it."""
    head = b"From: <a@client.example>\r\nTo: <b@elsewhere.example>\r\nSubject: A bench\r\n\r\n"
    lines = _LINE * ((size - len(head)) // len(_LINE) + 1)
    return head + lines[: max(size - len(head) - 2, 0)] + b"\r\n.\r\n"


def run(program: Path, load: Load, contestant: Contestant, seconds: float) -> Measured:
    """Have clients send for a while, and see what it costs.

    Raises:
        RuntimeError: the program failed.
    """
    before = contestant.cpu_s()
    told = send(program, load, contestant.port, seconds)
    used = contestant.cpu_s() - before
    ok = max(told.ok, 1)
    return Measured(cpu_ms=used * 1000 / ok, per_s=told.ok / max(told.seconds, 1e-9), told=told)


def send(program: Path, load: Load, port: int, seconds: float, messages: int = 0) -> Told:
    """Have clients send for a while, or so many messages if that is less and not 0.

    Raises:
        RuntimeError: the program failed.
    """
    mode = f"{load.mode}-tls" if load.tls else load.mode
    what = (port, load.clients, mode, seconds, PLAIN, messages, load.recipients)
    ended = subprocess.run(
        [str(program), *map(str, what)],
        cwd=ROOT,
        input=content(load.size),
        capture_output=True,
        check=False,
        timeout=seconds + LONGEST_S,
    )
    if ended.returncode != 0:
        raise RuntimeError(f"the load failed: {ended.stderr.decode(errors='replace')}")
    return Told(**json.loads(ended.stdout))
