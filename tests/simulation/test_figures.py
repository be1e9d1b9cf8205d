"""Counting in little memory."""

import random

import pytest

from smtp_router.simulation.figures import MOST, Figures
from smtp_router.simulation.histogram import Histogram
from smtp_router.simulation.luck import Lottery


def test_a_quantile_is_right_to_two_percent() -> None:
    rng = random.Random(1)  # noqa: S311 - values to count
    values = sorted(rng.lognormvariate(-2, 1.5) for _ in range(50_000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    for part in (0.01, 0.5, 0.95, 0.99):
        assert histogram.quantile(part) == pytest.approx(values[int(part * 50_000) - 1], rel=0.02)
    assert histogram.mean == pytest.approx(sum(values) / 50_000)
    assert values[-1] * 0.98 < histogram.quantile(1) <= histogram.most == values[-1]
    assert Histogram().quantile(0.5) == 0


def test_a_run_of_any_length_is_counted_in_so_many_cells() -> None:
    now = 0.0
    figures = Figures(lambda: now)
    fields = {"downstream": "a", "outcome": "delivered", "seconds": 0.1, "recipients": 1}
    for _ in range(10_000):
        now += 7.0
        figures.write(20, "attempt", fields)
    cells = figures.cells
    assert MOST // 2 < len(cells.all) <= MOST
    assert sum(cell.attempts["a", "delivered"] for cell in cells.all) == 10_000
    counts = [cell.attempts["a", "delivered"] for cell in cells.all[:-1]]
    assert max(counts) - min(counts) <= 1
    assert cells.width_s * (len(cells.all) - 1) <= now < cells.width_s * len(cells.all)


def test_luck_is_evenly_spread_and_each_ones_own() -> None:
    one, other, again = Lottery(1, "a"), Lottery(1, "b"), Lottery(1, "a")
    drawn = [one.draw(str(number)) for number in range(20_000)]
    assert drawn[:100] == [again.draw(str(number)) for number in range(100)]
    assert not {luck.chance for luck in drawn} & {other.draw(str(n)).chance for n in range(20_000)}
    assert sum(luck.chance < 0.01 for luck in drawn) == pytest.approx(200, abs=60)
    for normal in ([luck.transaction for luck in drawn], [luck.opening for luck in drawn]):
        assert sum(normal) / 20_000 == pytest.approx(0, abs=0.03)
        assert sum(value**2 for value in normal) / 20_000 == pytest.approx(1, abs=0.04)
