"""Before a plugin is used, it looks at its downstreams; when it is not used any more, it is closed."""

from pathlib import Path
from weakref import ref

import pytest

from smtp_router import ConfigError
from smtp_router.config.load import load
from smtp_router.hooks.registry import Registry
from smtp_router.routing.epoch import Epoch, build
from smtp_router.routing.retired import Retired
from tests.routing.bench import FIRST, Bench, records
from tests.support import VirtualClock, config_text

CHECKING = """\
from smtp_router import hookimpl

@hookimpl
def select_downstream(downstreams):
    return downstreams[0]

@hookimpl
{d} check_downstreams(downstreams):
    {body}
"""
CLOSING = """\
from pathlib import Path
from smtp_router import hookimpl

class Closing:
    def __init__(self, out, word="closed"):
        self.out, self.word = Path(out), word

    @hookimpl
    def select_downstream(self, downstreams):
        return downstreams[0]

    @hookimpl
    {d} close(self):
        {body}
        with self.out.open("a") as out:
            out.write(self.word + " ")
"""
ALGORITHM = """\
from smtp_router import hookimpl

class First:
    @hookimpl
    def select_downstream(self, downstreams):
        return downstreams[0]
"""
OUTER = """\
from smtp_router import Algorithms, hookimpl

class Outer:
    def __init__(self, inner, algorithms: Algorithms):
        self.inner = algorithms.make(inner, at="inner")

    @hookimpl
    def select_downstream(self, message, downstreams, attempts):
        return self.inner.select_downstream(message, downstreams, attempts)
"""


SETTINGS = {"deadline_s": 100, "hook_timeout_s": 0.05}


def problems(folder: Path, algorithm: object, **files: str) -> list[str]:
    """What is wrong with a configuration, less where that is."""
    for name, source in files.items():
        (folder / f"{name}.py").write_text(source)
    (folder / "config.yaml").write_text(config_text(algorithm=algorithm))
    try:
        build(load(folder / "config.yaml"), Registry())
    except ConfigError as error:
        return [f"{problem.key}: {problem.message}" for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("d", "body", "message"),
    [
        ("def", "raise ValueError(f'{downstreams[1].name} is bad')", "./a.py: b is bad"),
        ("def", "raise TypeError('no text')", "./a.py: no text"),
        ("def", "1 / 0", "./a.py: check_downstreams failed: ZeroDivisionError: division by zero"),
        ("async def", "pass", "./a.py: check_downstreams is async, and has to be a plain def"),
    ],
)
def test_who_refuses_a_downstream_refuses_the_configuration(
    tmp_path: Path, d: str, body: str, message: str
) -> None:
    source = CHECKING.format(d=d, body=body)
    assert problems(tmp_path, "./a.py", a=source) == [f"users[0].algorithm: {message}"]
    inside = {"use": "./outer.py", "options": {"inner": "./a.py"}}
    assert problems(tmp_path, inside, outer=OUTER) == [f"users[0].algorithm: {message}"]


def test_who_has_nothing_against_them_refuses_nothing(tmp_path: Path) -> None:
    body = "assert [(one.name, one.health.delivered) for one in downstreams] == [('a', 0), ('b', 0)]"
    assert problems(tmp_path, "./a.py", a=CHECKING.format(d="def", body=body)) == []


async def test_a_reload_that_a_plugin_refuses_leaves_all_as_it_is(tmp_path: Path) -> None:
    source = CHECKING.format(d="def", body="assert len(downstreams) < 3, downstreams")
    bench = Bench(tmp_path, {"algorithm.py": source})
    bench.write("config.yaml", config_text(downstreams={"a": "a:1", "b": "b:1", "c": "c:1"}))
    await bench.epochs.poll()
    assert bench.epochs.current.number == 1


class Life:
    """A router with a plugin that writes a word when it is closed."""

    def __init__(self, folder: Path, d: str = "def", body: str = "pass") -> None:
        self.out = folder / "out"
        self.out.write_text("")
        self.bench = Bench(
            folder,
            {"closing.py": CLOSING.format(d=d, body=body), "outer.py": OUTER},
            plugins=[],
            algorithm=self.algorithm("first"),
            settings=SETTINGS,
        )

    def algorithm(self, word: str) -> object:
        return {"use": "./closing.py", "options": {"out": str(self.out), "word": word}}

    def configure(self, algorithm: object) -> None:
        self.bench.write("config.yaml", config_text(algorithm=algorithm, settings=SETTINGS))

    @property
    def closed(self) -> list[str]:
        return self.out.read_text().split()


@pytest.mark.parametrize("d", ["def", "async def"])
async def test_what_a_reload_drops_is_closed_when_its_last_messages_are_done(
    tmp_path: Path, d: str
) -> None:
    life = Life(tmp_path, d)
    life.configure(life.algorithm("second"))
    await life.bench.epochs.poll()
    life.bench.clock.advance(100)
    await life.bench.epochs.poll()
    assert life.closed == []
    life.bench.clock.advance(0.06)
    await life.bench.epochs.poll()
    await life.bench.epochs.poll()
    assert life.closed == ["first"]
    await life.bench.epochs.close()
    assert life.closed == ["first", "second"]


async def test_what_a_reload_keeps_is_closed_at_the_end_only(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.bench.write("other.py", FIRST)
    await life.bench.epochs.reload()
    assert life.bench.epochs.current.number == 2
    life.bench.clock.advance(1000)
    await life.bench.epochs.poll()
    assert life.closed == []
    await life.bench.epochs.close()
    assert life.closed == ["first"]


async def test_one_inside_another_is_closed_as_well(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.configure({"use": "./outer.py", "options": {"inner": life.algorithm("inner")}})
    await life.bench.epochs.poll()
    await life.bench.epochs.close()
    assert sorted(life.closed) == ["first", "inner"]


@pytest.mark.parametrize(
    ("d", "body", "error"),
    [
        ("def", "1 / 0", "close raised ZeroDivisionError"),
        ("async def", "import asyncio; await asyncio.Event().wait()", "close took too long"),
    ],
)
async def test_one_that_cannot_be_closed_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, d: str, body: str, error: str
) -> None:
    life = Life(tmp_path, d, body)
    await life.bench.epochs.close()
    assert life.closed == []
    (record,) = records(caplog, "plugin failed")
    assert record["plugin"] == "./closing.py"
    assert error in caplog.text


async def test_a_broken_file_inside_is_looked_at_again_when_it_is_mended(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.configure({"use": "./outer.py", "options": {"inner": "./broken.py"}})
    await life.bench.epochs.poll()
    assert life.bench.epochs.current.number == 1
    life.bench.write("broken.py", FIRST)
    await life.bench.epochs.poll()
    assert life.bench.epochs.current.number == 2


async def test_an_edit_of_a_file_inside_counts_from_the_next_message_on(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path,
        {"inner.py": FIRST, "algorithm.py": OUTER},
        plugins=[],
        algorithm={"use": "./algorithm.py", "options": {"inner": "./inner.py"}},
    )
    await bench.route()
    bench.write("inner.py", FIRST.replace("[0]", "[-1]"))
    await bench.route()
    assert bench.sender.names == ["a", "b"]


async def test_an_epoch_is_let_go_of_when_nobody_goes_by_it_any_more(tmp_path: Path) -> None:
    """Route by route and in a thread, whoever was the last: freeing all at once holds everybody."""
    (tmp_path / "config.yaml").write_text(config_text(algorithm="./closing.py"))
    (tmp_path / "closing.py").write_text(ALGORITHM)
    epoch: Epoch | None = build(load(tmp_path / "config.yaml"), Registry(VirtualClock()))
    assert epoch is not None
    (route,) = epoch.routes.values()
    gone = ref(route.plugins[0].calls[0].function.__self__)  # type: ignore[attr-defined]
    del route
    retired = Retired(VirtualClock())
    retired.add(epoch)
    await retired.close_due()
    assert gone() is not None
    epoch = None
    assert gone() is not None
    await retired.close_due()
    assert gone() is None
