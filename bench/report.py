"""How results are printed: in columns for the eye, or as a table for `docs/performance.md`."""

import argparse
from collections.abc import Sequence

Row = Sequence[str | int | float]


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A command line with what all benches have in common; a module's docstring is its help."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--markdown", action="store_true", help="print a table for the docs")
    return made


def show(headers: Sequence[str], rows: Sequence[Row], *, markdown: bool) -> None:
    """Print a table; numbers to the right, fractions as they were rounded."""
    cells = [headers, *([str(cell) for cell in row] for row in rows)]
    right = [not isinstance(cell, str) for cell in rows[0]]
    if markdown:
        rule = ["---:" if each else "---" for each in right]
        lines = ["| " + " | ".join(line) + " |" for line in (headers, rule, *cells[1:])]
    else:
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(line, widths, right, strict=True)
            ).rstrip()
            for line in cells
        ]
    print("\n".join(lines))
