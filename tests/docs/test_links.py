"""A link inside the repository leads somewhere, and every page can be reached."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, ROOT, anchors, links, prose, text_of

EVERYWHERE = [
    *PAGES,
    *(page for page in (ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md") if page.exists()),
    *sorted((ROOT / "plugins").glob("*/README.md")),
]


def internal(page: Path) -> list[str]:
    return [target for target in links(page) if not re.match(r"\w+:", target)]


@pytest.mark.parametrize("page", EVERYWHERE, ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links_lead_somewhere(page: Path) -> None:
    for target in internal(page):
        path, _, fragment = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not fragment or fragment in anchors(found), target


def test_every_page_can_be_reached_from_the_index() -> None:
    index = {target.partition("#")[0] for target in internal(DOCS / "index.md")}
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert pages - {"index.md"} <= index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_one_title_on_top(page: Path) -> None:
    assert text_of(page).startswith("# ")
    assert len(re.findall(r"^# ", prose(page), re.MULTILINE)) == 1
