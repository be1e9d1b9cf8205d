"""The documentation as data: pages, headings, tables, fenced blocks, links.

What stands behind a fence's language says what tests do with the block:

| marker | what is done |
|---|---|
| `python plugin [NAME.py] [OPTIONS]` | loaded as the router loads a plugin's file, and called |
| `python run` | run from top to bottom |
| `python test` | run by pytest, as an author's test file |
| `yaml config [NAME.yaml]` | checked as a whole configuration |
| `LANGUAGE file PATH` | written there by the test that follows the page, in `tools/` |
| `yaml scenario [PATH]` | checked as a scenario for `smtp-router simulate`; with a path, run by it |
| `text postfix` | settings that a real Postfix relays with, in `tests/e2e/test_postfix.py` |

Other Python blocks only have to compile, other YAML blocks to be YAML.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(?P<level>#{1,6}) (?P<title>.+)$", re.MULTILINE)
_ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block; `words` is what stands behind the backticks."""

    page: Path
    line: int
    words: tuple[str, ...]
    text: str

    def is_a(self, *words: str) -> bool:
        return self.words[: len(words)] == words

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with all up to the next one, of any level."""

    title: str
    text: str

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The rows of the section's first table, without its head; backticks stay."""
        return next(iter(self.tables), ((),))[1:]

    @property
    def tables(self) -> Iterator[tuple[tuple[str, ...], ...]]:
        """All tables, the head of each first."""
        for chunk in re.findall(r"(?:^\|.*\n?)+", self.text, re.MULTILINE):
            lines = [_cells(line) for line in chunk.splitlines()]
            yield tuple(line for number, line in enumerate(lines) if number != 1)


@cache
def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def blocks(page: Path) -> list[Block]:
    text = text_of(page)
    return [
        Block(
            page=page,
            line=text.count("\n", 0, match.start()) + 1,
            words=tuple(match["info"].split(maxsplit=3)),
            text=match["text"],
        )
        for match in _FENCE.finditer(text)
    ]


def all_blocks(*words: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.is_a(*words)]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def sections(page: Path) -> dict[str, Section]:
    """The page's sections by title, backticks left out of it."""
    text = prose(page)
    found = list(_HEADING.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {
        match["title"].replace("`", ""): Section(
            title=match["title"].replace("`", ""), text=text[match.end() : end]
        )
        for match, end in zip(found, ends, strict=True)
    }


def links(page: Path) -> list[str]:
    return [match["target"] for match in _LINK.finditer(prose(page))]


def anchors(page: Path) -> set[str]:
    """What a link's fragment may name, as GitHub makes it from headings, and explicit anchors."""
    text = prose(page)
    return {_slug(match["title"]) for match in _HEADING.finditer(text)} | set(_ANCHOR.findall(text))


def unquoted(cell: str) -> str:
    """A cell that is nothing but code, without its backticks."""
    return cell[1:-1] if cell.startswith("`") and cell.endswith("`") else cell


def _cells(line: str) -> tuple[str, ...]:
    cells = _CELL.split(line.strip().strip("|"))
    return tuple(cell.strip().replace("\\|", "|") for cell in cells)


def _slug(title: str) -> str:
    kept = (
        char for char in title.lower() if char in " -_" or unicodedata.category(char)[0] in {"L", "N"}
    )
    return "".join(kept).replace(" ", "-")
