"""`smtp-router demo`: what its user is invited to do, done."""

import re
import shutil
import signal
import smtplib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.running import Program

MAIL = "From: me@example.com\r\nTo: you@example.com\r\nSubject: {subject}\r\n\r\n<p>Grüße</p>\r\n"


class Demo(Program):
    """A running demo."""

    def __init__(self, folder: Path) -> None:
        super().__init__("demo", cwd=folder)

    def __enter__(self) -> Self:
        try:
            self.port = int(
                self.wait_line(r"listening on 127\.0\.0\.1:(\d+): user demo@example\.com")[1]
            )
            self.wait_line("Ctrl-C ends the demo")
        except BaseException:
            self.__exit__()
            raise
        return self

    def send(self, subject: str = "Hello") -> str:
        """Send a mail; the line that the demo prints about it."""
        before = len(self.lines)
        with smtplib.SMTP("127.0.0.1", self.port, timeout=10) as client:
            client.login("demo@example.com", "demo")
            text = MAIL.format(subject=subject).encode()
            assert client.sendmail("me@example.com", ["you@example.com"], text) == {}
        return self.wait_line(r"^\d\d:\d\d:\d\d  (\w+) got it in [\d.]+ ms", after=before)[1]

    def enter(self, line: str) -> None:
        """Type a line, and wait until it is done."""
        before = len(self.lines)
        self.type(f"{line}\n")
        self.wait_line(f"^{line}: done", after=before)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with Demo(tmp_path) as demo:
        yield demo
    assert "Traceback" not in demo.output


def test_mail_goes_to_both_downstreams_in_turn(demo: Demo) -> None:
    assert [demo.send() for _ in range(4)] == ["one", "two", "one", "two"]


def test_an_edit_of_the_algorithm_changes_the_route_of_the_very_next_mail(
    demo: Demo, tmp_path: Path
) -> None:
    assert demo.send() == "one"
    algorithm = tmp_path / "round_robin.py"
    text = algorithm.read_text()
    turn = "downstreams[next(turns) % len(downstreams)]"
    assert turn in text
    algorithm.write_text(text.replace(turn, "downstreams[0]"))
    assert [demo.send() for _ in range(3)] == ["one", "one", "one"]
    algorithm.write_text(text.replace(turn, "downstreams[-1]"))
    assert [demo.send() for _ in range(3)] == ["two", "two", "two"]
    algorithm.write_text(text.replace(turn, "downstreams["))
    assert demo.send() == "two"
    demo.wait_line(r"not reloaded.*round_robin\.py:\d+")
    hint = re.search(r"# or this: +(if .*)", text)
    assert hint
    algorithm.write_text(text.replace("    return", f"    {hint[1]}\n    return downstreams[0]\n    #"))
    assert [demo.send(), demo.send("urgent: x"), demo.send()] == ["one", "two", "one"]


def test_a_downstream_that_is_stopped_loses_no_mail(demo: Demo) -> None:
    demo.enter("stop one")
    assert [demo.send() for _ in range(8)] == 8 * ["two"]
    assert re.search(r"one did not take it: deferred at connect", demo.output)
    demo.wait_line(r"one rests for \d\.\d s")
    demo.enter("start one")
    end = time.monotonic() + 10
    while demo.send() != "one":
        assert time.monotonic() < end
    demo.wait_line("one is back")


def test_with_both_stopped_mail_is_deferred(demo: Demo) -> None:
    demo.type("stop one\nstop two\n")  # two lines at once are two lines
    demo.wait_line("^stop two: done")
    with pytest.raises(smtplib.SMTPDataError) as refused:
        demo.send()
    assert refused.value.smtp_code == 451
    demo.wait_line("deferred after")
    demo.enter("start two")
    assert demo.send() == "two"


def test_what_cannot_be_understood_is_answered(demo: Demo) -> None:
    demo.type("\nhelp\n")
    demo.wait_line("Type one of: stop one, stop two, start one, start two")
    demo.type("  stop   one \n")
    demo.wait_line("^stop one: done")


@pytest.mark.parametrize("program", ["curl", "swaks"])
def test_the_lines_to_copy_and_paste_work(demo: Demo, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    before = len(demo.lines)
    commands = [
        block for block in demo.output.split("\n\n") if re.search(rf"(?m)^ +(\S+ )*{program} ", block)
    ]
    assert len(commands) == 1
    done = subprocess.run(  # noqa: S602 - as a user would, in a shell
        commands[0], shell=True, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    demo.wait_line(r"got it in .*<me@example\.com>, 1 recipient", after=before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order(demo: Demo, number: signal.Signals) -> None:
    demo.signal(number)
    assert demo.ended() == 0


def test_without_a_keyboard_it_goes_on(demo: Demo) -> None:
    assert demo.process.stdin
    demo.process.stdin.close()
    assert demo.send() == "one"


@pytest.mark.parametrize("keyboard", ["</dev/null", "<&-"])
def test_it_starts_without_a_keyboard(keyboard: str, tmp_path: Path) -> None:
    with Program("demo", cwd=tmp_path, redirect=keyboard) as program:
        program.wait_line("Ctrl-C ends the demo")
    assert "Traceback" not in program.output


def test_a_busy_port_is_said_and_the_next_one_is_taken(demo: Demo, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    with Demo(folder) as second:
        assert second.port > demo.port
        assert f"Port {demo.port} is busy" in second.output
        assert second.send() == "one"


def test_an_algorithm_that_is_there_already_is_used(tmp_path: Path) -> None:
    text = (
        "from smtp_router import hookimpl\n\n"
        "@hookimpl\ndef select_downstream(downstreams):\n    return downstreams[1]\n"
    )
    (tmp_path / "round_robin.py").write_text(text)
    with Demo(tmp_path) as demo:
        assert "was here already and is used" in demo.output
        assert [demo.send(), demo.send()] == ["two", "two"]
    assert (tmp_path / "round_robin.py").read_text() == text


def test_an_algorithm_that_is_broken_from_the_start_is_said(tmp_path: Path) -> None:
    (tmp_path / "round_robin.py").write_text("\ndef :\n")
    with Program("demo", cwd=tmp_path) as program:
        assert program.ended() == 2
    assert "round_robin.py:2" in program.output
    assert "Traceback" not in program.output


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "round_robin.py").symlink_to(tmp_path / "missing" / "round_robin.py")
    with Program("demo", cwd=tmp_path) as program:
        assert program.ended() == 2
    assert "round_robin.py" in program.output
    assert "Traceback" not in program.output
