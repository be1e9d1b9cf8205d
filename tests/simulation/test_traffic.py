"""Mail that is made up, and mail that comes again."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from smtp_router import Message
from smtp_router.config.scenario import Kind, Scenario
from smtp_router.config.types import Rate
from smtp_router.core.errors import ConfigError
from smtp_router.simulation.clock import START
from smtp_router.simulation.recorded import Recorded
from smtp_router.simulation.traffic import Arrival, MadeUp


def made_up(count: int = 1000, seed: int = 1, **keys: Any) -> list[Arrival]:  # noqa: ANN401 - of a scenario
    scenario = Scenario.model_validate(keys)
    rate = Rate(count=10, seconds=1)
    return list(MadeUp(scenario, "u", seed, count=count, rate=rate, start=START).arrivals())


def test_mail_is_the_same_for_the_same_seed_and_no_other() -> None:
    once, again, other = made_up(), made_up(), made_up(seed=2)
    assert [(at, message.content) for at, message in once] == [
        (at, message.content) for at, message in again
    ]
    assert once != other
    assert len({message.id for _, message in once}) == 1000


def test_mail_comes_at_its_rate_by_chance_or_like_clockwork() -> None:
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(made_up(20_000))]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.1, rel=0.05)
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(0.01, rel=0.1)
    assert [at for at, _ in made_up(3, arrivals="constant")] == pytest.approx([0.1, 0.2, 0.3])


def test_a_message_fits_its_envelope_and_says_how_big_it_is() -> None:
    for at, message in made_up(50, mail=[{"recipients": 3, "headers": {"X-Kind": "news"}}]):
        assert message.headers["From"] == f"<{message.mail_from}>"
        assert message.headers["X-Kind"] == "news"
        assert len(set(message.rcpt_tos)) == 3
        assert message.size == len(message.content)
        assert message.received_at == START + timedelta(seconds=at)


def test_domains_sizes_and_kinds_come_as_often_as_the_scenario_says() -> None:
    kinds = [
        {"share": 3, "recipient_domains": {"big.example": 4, "small.example": 1}},
        {"share": 1, "sender_domains": {"news.example": 1}, "bytes": {"p50": 100_000, "p95": 1_000_000}},
    ]
    messages = [message for _, message in made_up(20_000, mail=kinds)]
    news = [message for message in messages if message.mail_from.endswith("@news.example")]
    others = [message for message in messages if message.mail_from.endswith("@app.example")]
    assert len(news) + len(others) == 20_000
    assert len(news) / 20_000 == pytest.approx(0.25, abs=0.02)
    big = [message for message in others if message.rcpt_tos[0].endswith("@big.example")]
    assert len(big) / len(others) == pytest.approx(0.8, abs=0.05)
    sizes = sorted(message.size for message in news)
    assert sizes[len(sizes) // 2] == pytest.approx(100_000, rel=0.15)
    assert sizes[len(sizes) * 95 // 100] == pytest.approx(1_000_000, rel=0.25)


def line(came: float, seconds: float = 0.5, **fields: object) -> str:
    """A line of the log, of a message that came so many seconds after nine."""
    ended = datetime(2026, 5, 4, 9, tzinfo=UTC) + timedelta(seconds=came + seconds)
    entry = {
        "time": ended.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "event": "message",
        "id": f"id{came}",
        "user": "u",
        "mail_from": "a@a.example",
        "recipients": 2,
        "bytes": 5000,
        "seconds": seconds,
    }
    return json.dumps(entry | fields)


def recorded(folder: Path, *lines: str, most: int | None = None) -> list[Arrival]:
    file = folder / "log.jsonl"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return list(Recorded(file, "u", Kind(), 1, most=most, start=None).arrivals())


def test_a_recorded_message_comes_when_it_came(tmp_path: Path) -> None:
    lines = [line(0), line(10, 0.1), line(5, 30.0), line(7, user="v"), line(6, event="attempt"), ""]
    found = recorded(tmp_path, *lines)
    assert [at for at, _ in found] == pytest.approx([0, 5, 10], abs=0.002)
    message: Message = found[1].message
    assert message.received_at.isoformat(timespec="seconds") == "2026-05-04T09:00:05+00:00"
    assert (message.id, message.mail_from, len(message.rcpt_tos)) == ("id5", "a@a.example", 2)
    assert message.size == pytest.approx(5000, rel=0.1)


def test_of_recorded_mail_so_much_is_taken_as_is_wanted(tmp_path: Path) -> None:
    assert len(recorded(tmp_path, *map(line, range(10)), most=4)) == 4


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("not json", r"log.jsonl:2: is no line of a log in JSON"),
        ('{"event": "message", "user": "u"}', r"log.jsonl:2: .*'time'"),
        ("[]", r"log.jsonl:2: is no line"),
    ],
)
def test_a_line_that_is_none_is_an_error_with_its_number(bad: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem):
        recorded(tmp_path, line(0), bad)


def test_a_log_without_the_user_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no line about a message of u"):
        recorded(tmp_path, line(0, user="v"))
