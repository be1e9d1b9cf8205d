"""docs/health.md says what the code does."""

import pytest

from smtp_router.core.breaker import FULL
from tests.docs import health_tables
from tests.docs.markdown import tables_in
from tests.docs.pages import text_of


@pytest.mark.parametrize("name", health_tables.MAKERS)
def test_the_tables_of_health_are_what_the_code_does(name: str) -> None:
    assert tables_in(text_of(health_tables.PAGE)).get(name) == health_tables.MAKERS[name](), (
        "run: .venv/bin/python -m tests.docs.tables"
    )


def test_the_end_of_the_trials_is_on_the_page_of_health() -> None:
    assert f"from {FULL} on" in text_of(health_tables.PAGE)
