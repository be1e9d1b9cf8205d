"""What a scenario may say, and what is said about one that may not."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from smtp_router import Reply
from smtp_router.config.durations import seconds
from smtp_router.config.scenario import Scenario, load, plugin_use
from smtp_router.config.types import Rate
from smtp_router.core.errors import ConfigError

NAMES = ("main", "spare")

GOOD = """\
start: 2026-03-29T01:00:00+02:00
rate: 50/s
mail:
  - share: 3
    recipient_domains: {gmail.com: 5, example.org: 1}
    bytes: {p50: 8000, p95: 60000}
    headers: {List-Unsubscribe: <https://example.com/>}
downstreams:
  main:
    latency: {p50: 80ms, p95: 300ms}
    connect: 50ms
    failure: {deferred: 0.01, rejected: {share: 0.002, reply: 550 5.1.1 unknown, stage: rcpt}}
    outages:
      - {from: 1h30m, to: 2h, how: 451}
      - {from: 10m, to: 20m}
    limits: {per_second: 10, reply: 421 4.7.0 slow down}
    cost_per_1000: 0.1
"""


def loaded(text: str, folder: Path) -> Scenario:
    file = folder / "scenario.yaml"
    file.write_text(text, "utf-8")
    return load(file, NAMES)


def test_a_scenario_says_what_it_says(tmp_path: Path) -> None:
    scenario = loaded(GOOD, tmp_path)
    assert scenario.start == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert scenario.rate == Rate(count=50, seconds=1)
    main = scenario.behaviour("main")
    assert (main.latency.p50, main.latency.p95) == (0.08, 0.3)
    assert main.latency.at(1.6448536) == pytest.approx(0.3)
    assert main.connect.at(3.0) == 0.05
    assert main.outages[0].how == Reply(code=451)
    assert [(outage.begin, outage.end) for outage in main.outages] == [(5400, 7200), (600, 1200)]
    assert main.failure.rejected.reply == Reply(code=550, enhanced="5.1.1", text="unknown")


def test_nothing_at_all_is_a_scenario_in_which_all_is_well(tmp_path: Path) -> None:
    scenario = loaded("", tmp_path)
    assert scenario == Scenario()
    assert scenario.behaviour("main").outages == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [("80ms", 0.08), ("2s", 2), ("10m", 600), ("10min", 600), ("1h30m", 5400), ("1.5h", 5400), (3, 3)],
)
def test_a_span_of_time_is_read_as_people_write_it(given: object, expected: float) -> None:
    assert seconds(given) == pytest.approx(expected)


@pytest.mark.parametrize(
    "given", ["", "80", "ms", "10 m", "-1s", "1y", "400d", True, None, float("nan")]
)
def test_what_is_no_span_of_time_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="must be a span of time"):
        seconds(given)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("downstream: {}", "scenario.yaml:1: downstream: is not a key here: did you mean downstreams?"),
        ("downstreams: {mian: {}}", "downstreams.mian: is no downstream .* did you mean main?"),
        ("downstreams: {main: {latncy: 1s}}", "downstreams.main.latncy: .* did you mean latency?"),
        (
            "downstreams:\n  main:\n    outages:\n    - {form: 1s, to: 2s}",
            "scenario.yaml:4: .*form: is not a key here: did you mean from?",
        ),
        ("downstreams: {main: {latency: {p50: 2s, p95: 1s}}}", "p95 must not be less than p50"),
        ("downstreams: {main: {outages: [{from: 2s, to: 1s}]}}", "to must be later than from"),
        (
            "downstreams: {main: {outages: [{from: 1s, to: 5s}, {from: 4s, to: 6s}]}}",
            "two of them overlap",
        ),
        ("downstreams: {main: {outages: [{from: 0, to: 1, how: broken}]}}", "must be refused, timeout"),
        ("downstreams: {main: {outages: [{from: 0, to: 1, how: 250}]}}", "must be refused, timeout"),
        ("downstreams: {main: {outages: [{from: 0, to: 1, stage: mail}]}}", "refused has none"),
        ("downstreams: {main: {outages: [{from: 0, to: 1, slower: 2}]}}", "only with how: slow"),
        ("downstreams: {main: {failure: {deferred: {share: 1, reply: 550}}}}", "must be a 4yz"),
        ("downstreams: {main: {failure: {deferred: {share: 1, stage: auth}}}}", "mail or later"),
        ("downstreams: {main: {failure: {deferred: 0.6, rejected: 0.6}}}", "more than 1 together"),
        ("downstreams: {main: {limits: {reply: never}}}", "must be a reply from 400 to 599"),
        ("mail: []", "mail: must not be empty"),
        ("mail: [{sender_domains: {'not a domain': 1}}]", "is no domain"),
        ("mail: [{headers: {'No Name': x}}]", "headers"),
        ("rate: fast", "rate: must be a number per s, min, h or day"),
        ("start: 2026-01-01T00:00:00", "start"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem):
        loaded(text, tmp_path)


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.yaml", NAMES)


def test_an_algorithm_is_given_as_in_the_configuration() -> None:
    assert plugin_use("weighted", "x").use == "weighted"
    use = plugin_use("{use: ./a.py, options: {by: sender}}", "x")
    assert (use.use, dict(use.options)) == ("./a.py", {"by": "sender"})
    with pytest.raises(ConfigError, match="x:1: usee: is not a key here"):
        plugin_use("{usee: a}", "x")
