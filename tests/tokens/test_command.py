"""Tokens from commands, which may fail, hang, talk too much, or start others."""

import asyncio
import os
import signal
import sys
import tracemalloc
from pathlib import Path

import pytest

from smtp_router.tokens.command import Command
from smtp_router.tokens.token import MAX_OCTETS, TokenError


def python(script: str, *arguments: str) -> Command:
    return Command([sys.executable, "-c", script, *arguments], lifetime_s=60)


@pytest.mark.parametrize("end", ["", "\\n", "\\r\\n", " \\nmore\\n"])
async def test_the_first_line_of_output_is_the_token(end: str) -> None:
    token = await python(f"print('t0ken{end}', end='')").fetch()
    assert (token.text, token.lifetime_s) == ("t0ken", 60)


async def test_no_shell_reads_the_arguments() -> None:
    assert (await python("import sys; print(sys.argv[1])", "$(id);`id`*").fetch()).text == "$(id);`id`*"


async def test_it_has_nothing_to_read() -> None:
    assert (await python("import sys; print(repr(sys.stdin.read()))").fetch()).text == "''"


async def test_what_it_says_on_stderr_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TokenError) as failed:
        await python("import sys; print('s3cret', file=sys.stderr); sys.exit(3)").fetch()
    assert str(failed.value) == "token_command ended with 3"
    assert "s3cret" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "script",
    [
        "pass",
        "print()",
        "print('two words')",
        f"print({MAX_OCTETS + 1} * 'x')",
        "print('t'); exit(1)",
        "import os, signal; print('t', flush=True); os.kill(os.getpid(), signal.SIGKILL)",
    ],
)
async def test_what_is_no_token_is_none(script: str) -> None:
    with pytest.raises(TokenError):
        await python(script).fetch()


async def test_much_output_costs_no_more_than_a_token() -> None:
    tracemalloc.start()
    try:
        assert (await python("print('t\\n' + 5_000_000 * 'x')").fetch()).text == "t"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


async def test_a_program_that_is_not_there_is_no_token() -> None:
    with pytest.raises(TokenError, match="cannot be run"):
        await Command(["/nowhere/to/be/found"], lifetime_s=1).fetch()


@pytest.mark.parametrize("how", ["takes too long", "is not wanted any more"])
async def test_it_is_killed_with_all_it_has_started_when_it(how: str, tmp_path: Path) -> None:
    """Both hold the pipe open for as long as they live."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = (
        "import subprocess, sys, time; pipe = open(sys.argv[1], 'w')\n"
        "subprocess.Popen(['sleep', '60'], pass_fds=[pipe.fileno()])\n"
        "print('x', file=pipe, flush=True); time.sleep(60)"
    )
    fetching = asyncio.ensure_future(python(script, str(pipe)).fetch())
    with await asyncio.to_thread(pipe.open, "rb", 0) as reading:
        assert await asyncio.to_thread(reading.read, 2) == b"x\n"
        if how == "takes too long":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(fetching, 0.01)
        else:
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching
        assert await asyncio.to_thread(reading.read) == b""


async def test_a_child_that_has_got_away_with_its_output_holds_nobody_up(tmp_path: Path) -> None:
    """It has a session of its own, where nobody kills it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "print(child.pid, file=open(sys.argv[1], 'w'), flush=True); time.sleep(60)"
    )
    fetching = asyncio.ensure_future(python(script, str(pipe)).fetch())
    child = int(await asyncio.to_thread(pipe.read_text))
    try:
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
    finally:
        os.kill(child, signal.SIGKILL)


def test_its_name_shows_no_argument() -> None:
    assert str(Command(["/usr/bin/get-token", "--secret=x"], lifetime_s=1)) == "get-token"
