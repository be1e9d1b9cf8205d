"""The tables of docs/faults.md: those that `tests/e2e/test_matrix.py` goes through.

A test compares them with the page; `python -m tests.docs.tables` writes them into it.
"""

from collections.abc import Callable, Mapping

from tests.docs.markdown import Row, table
from tests.docs.pages import DOCS
from tests.matrix import CONSEQUENCES, MEANINGS, Consequence, rows

PAGE = DOCS / "faults.md"
NAMES = {
    "+": "delivered",
    "s": "session",
    "t": "TLS",
    "a": "login",
    "m": "not now",
    "c": "closing",
    "n": "no answer",
    "d": "no end",
    "x": "never",
    "?": "in doubt",
    ".": "",
}
AGAINST = {
    "nobody": "nobody",
    "message": "the message",
    "server": "the server",
    "account": "the account",
}


def matrix() -> str:
    """What a fault comes to at each stage."""
    faults = list(rows())
    stages = tuple(faults[0][1])
    return table(
        ("", *(f"`{stage}`" for stage in stages)),
        ((MEANINGS[fault], *(NAMES[letter] for letter in row.values())) for fault, row in faults),
    )


def consequences() -> str:
    """What follows."""
    return table(
        ("", "alone, the client hears", "with a second downstream", "speaks against"),
        (_consequence(NAMES[letter], what) for letter, what in CONSEQUENCES.items()),
    )


def _consequence(name: str, what: Consequence) -> Row:
    code, enhanced = what.alone
    second = "it takes the message: `250 2.0.0`" if what.goes_on else "the same"
    return name, f"`{code} {enhanced}`", second, AGAINST[what.blamed]


MAKERS: Mapping[str, Callable[[], str]] = {"matrix": matrix, "consequences": consequences}
