"""docs/providers.md says what the providers' files do."""

import pytest

from smtp_router.config.presets import Presets
from tests.docs import provider_tables
from tests.docs.markdown import tables_in
from tests.docs.pages import text_of


@pytest.mark.parametrize("name", provider_tables.MAKERS)
def test_the_tables_of_providers_are_what_the_files_say(name: str) -> None:
    made = provider_tables.MAKERS[name]()
    assert tables_in(text_of(provider_tables.PAGE)).get(name) == made, (
        "run: .venv/bin/python -m tests.docs.tables"
    )


@pytest.mark.parametrize("name", Presets().names)
def test_every_provider_is_on_its_page_with_its_sources(name: str) -> None:
    tables = tables_in(text_of(provider_tables.PAGE))
    assert f"| `{name}` |" in tables["hosts"]
    for source in Presets().get(name).sources.values():
        assert source.url in tables["sources"]
