"""docs/plugins/catalogue.md has every plugin of the repository, as its metadata say it."""

import pytest

from tests.docs import catalogue_tables
from tests.docs.markdown import tables_in
from tests.docs.pages import text_of

if not catalogue_tables.FOLDERS:
    pytest.skip("not in an sdist", allow_module_level=True)


def test_every_plugin_of_the_repository_is_installed_here() -> None:
    installed = [plugin.name for plugin in catalogue_tables.ours()]
    assert installed == catalogue_tables.FOLDERS, "run: make .venv/.dev-ready"


@pytest.mark.parametrize("name", catalogue_tables.MAKERS)
def test_the_catalogue_is_what_the_metadata_say(name: str) -> None:
    made = catalogue_tables.MAKERS[name]()
    assert tables_in(text_of(catalogue_tables.PAGE)).get(name) == made, (
        "run: .venv/bin/python -m tests.docs.tables"
    )


def test_every_plugin_has_a_summary_of_one_line() -> None:
    assert all(plugin.summary and not plugin.error for plugin in catalogue_tables.ours())
