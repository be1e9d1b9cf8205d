"""Tables as the documentation has them."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

Row = tuple[str, ...]

_TABLE = re.compile(r"(<!-- table (\w+)[^\n]*-->\n)(.*?)(<!-- end -->)", re.DOTALL)


def table(head: Row, rows: Iterable[Row]) -> str:
    """A table; what would end a cell is escaped."""
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in (head, *rows)
    ]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def tables_in(text: str) -> dict[str, str]:
    """The tables of a page, by the name in the comment above each."""
    return {match[2]: match[3].strip() for match in _TABLE.finditer(text)}


def write(page: Path, makers: Mapping[str, Callable[[], str]]) -> None:
    """Make a page's tables anew."""
    text = page.read_text("utf-8")
    made = _TABLE.sub(lambda match: f"{match[1]}\n{makers[match[2]]()}\n\n{match[4]}", text)
    page.write_text(made, "utf-8")
