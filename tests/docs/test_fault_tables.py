"""docs/faults.md says what the tests try."""

import pytest

from tests.docs import fault_tables
from tests.docs.markdown import tables_in
from tests.docs.pages import text_of


@pytest.mark.parametrize("name", fault_tables.MAKERS)
def test_the_tables_of_faults_are_those_that_are_tried(name: str) -> None:
    assert tables_in(text_of(fault_tables.PAGE)).get(name) == fault_tables.MAKERS[name](), (
        "run: .venv/bin/python -m tests.docs.tables"
    )
