"""docs/outcomes.md says what the code does."""

import pytest

from smtp_router import Stage
from smtp_router.smtp.blocks import BLOCK_OCTETS
from tests.docs import tables
from tests.docs.markdown import tables_in
from tests.docs.pages import sections, text_of


@pytest.mark.parametrize("name", tables.from_code())
def test_the_tables_of_outcomes_are_what_the_code_does(name: str) -> None:
    assert tables_in(text_of(tables.PAGE)).get(name) == tables.from_code()[name], (
        "run: .venv/bin/python -m tests.docs.tables"
    )


def test_every_stage_is_on_the_page_of_outcomes_in_order() -> None:
    stages = " · ".join(f"`{stage}`" for stage in Stage)
    assert stages in sections(tables.PAGE)["Stages"].text


def test_the_size_of_a_block_is_on_the_page_of_outcomes() -> None:
    assert f"blocks of {BLOCK_OCTETS // 1024} KiB" in text_of(tables.PAGE)
