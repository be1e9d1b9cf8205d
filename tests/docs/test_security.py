"""docs/security.md names tests that there are."""

import re

import pytest

from tests.docs.pages import DOCS, ROOT, sections

ROWS = sections(DOCS / "security.md")["Threats"].rows
TESTS = {
    name
    for folder in (ROOT / "tests", ROOT / "plugins")
    for file in folder.rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0])[:40])
def test_every_threat_names_tests_that_there_are(row: tuple[str, ...]) -> None:
    _, stopped_by, shown_by = row
    named = re.findall(r"`(\w+)`", shown_by)
    assert stopped_by
    assert named
    assert set(named) <= TESTS, sorted(set(named) - TESTS)
