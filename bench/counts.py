"""What a message takes, counted: within two per cent the same on a busy machine and on an idle one.

Bytecodes and calls are counted by Python itself, the processor's instructions by Valgrind's callgrind
where there is one. Both take the whole router as `bench.cost` does, with the same load; a warm-up comes
before, and what kept connections cost to open is not in the figures of `keep`.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import load, peers
from bench.contestants import Router
from bench.cost import parse_case
from bench.load import Load
from bench.record import Counted

CASES = ("1k-c20-keep", "1k-c20-new", "100k-c20-keep", "5m-c20-keep")
OCTETS = 20_000_000
MOST = 200
"""A case has so many messages, or so many octets, if that is less."""
LONGEST_S = 120.0
CALLGRIND = ("valgrind", "--tool=callgrind", "--instr-atstart=no")
CONTROL = "callgrind_control"

Events = Mapping[str, float]
"""How often something has happened, by callgrind's names: `Ir` are instructions."""


def count(cases: Sequence[str]) -> dict[str, Counted]:
    """Count what a message of each case takes.

    Raises:
        RuntimeError: a message failed, or the load did.
    """
    loads = {case: parse_case(case) for case in cases}
    with tempfile.TemporaryDirectory(prefix="bench-counts-") as name, ExitStack() as stack:
        folder = Path(name)
        program, sink = load.build("load", folder), load.build("sink", folder)
        sinks = [stack.enter_context(peers.sink(sink)) for _ in range(2)]
        downstreams = [{"addr": f"127.0.0.1:{each.port}"} for each in sinks]
        with Router(folder, "--count", downstreams=downstreams) as router:
            steps = {case: _steps(program, router, each) for case, each in loads.items()}
        try:
            with watching(folder, program, downstreams) as watched:
                machine = {case: round(watched(each)["Ir"]) for case, each in loads.items()}
        except UncountableError as error:
            print(f"without instructions: {error}", file=sys.stderr)
            machine = {}
    return {
        case: Counted(bytecodes=bytecodes, calls=calls, instructions=machine.get(case))
        for case, (bytecodes, calls) in steps.items()
    }


class UncountableError(Exception):
    """The processor's instructions cannot be counted here; the text says why."""


def _messages(each: Load) -> int:
    return max(min(MOST, OCTETS // each.size), 1)


def _send(program: Path, each: Load, port: int) -> int:
    told = load.send(program, each, port, LONGEST_S, _messages(each))
    if told.failed:
        raise RuntimeError(f"a message failed: {told.first_error}")
    return told.ok


def _steps(program: Path, router: Router, each: Load) -> tuple[float, float]:
    """Bytecodes and calls."""
    _send(program, each, router.port)
    before = router.figures()
    sent = _send(program, each, router.port)
    after = router.figures()
    return (
        round((after.bytecodes - before.bytecodes) / sent, 1),
        round((after.calls - before.calls) / sent, 1),
    )


@contextmanager
def watching(
    folder: Path, program: Path, downstreams: Sequence[Mapping[str, object]], *options: str
) -> Iterator[Callable[[Load], Events]]:
    """Run a router under callgrind; what is given sends, and tells what a message takes.

    Args:
        folder: for its files.
        program: the load.
        downstreams: of the router.
        options: more of them for callgrind.

    Raises:
        UncountableError: there is no callgrind, or it has failed.
    """
    for needed in (CALLGRIND[0], CONTROL):
        if shutil.which(needed) is None:
            raise UncountableError(
                f"{needed} is not installed (on Debian and Ubuntu: apt install valgrind)"
            )
    out = folder / "callgrind"
    files = (f"--callgrind-out-file={out}", f"--log-file={folder / 'valgrind.log'}")
    with Router(folder, downstreams=downstreams, under=(*CALLGRIND, *files, *options)) as router:

        def control(*what: str) -> None:
            command = [CONTROL, *what, str(router.pid)]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode != 0:
                raise UncountableError(f"{CONTROL} failed: {ended.stderr.strip()}")

        def watched(each: Load) -> Events:
            _send(program, each, router.port)
            control("--instr=on")
            control("--zero")
            sent = _send(program, each, router.port)
            control("--dump")
            control("--instr=off")
            return {name: total / sent for name, total in _totals(folder).items()}

        yield watched


def _totals(folder: Path) -> Events:
    """What callgrind has written, which is then gone."""
    totals: Counter[str] = Counter()
    for file in folder.glob("callgrind.*"):
        text = file.read_text()
        names = re.search(r"^events: (.+)$", text, re.MULTILINE)
        found = re.search(r"^(?:totals|summary): (.+)$", text, re.MULTILINE)
        if names and found:
            totals.update(dict(zip(names[1].split(), map(int, found[1].split()), strict=False)))
        file.unlink()
    if not totals["Ir"]:
        raise UncountableError("callgrind has counted nothing")
    return totals
