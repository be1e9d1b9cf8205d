"""How big: comparisons as `> 1M`."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

_SIZE = re.compile(r"(<=|>=|<|>)\s*(\d{1,12}(?:\.\d{1,6})?)\s*(?:([kKMG])(i?))?B?", re.ASCII)
_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_POWERS = {None: 0, "k": 1, "K": 1, "M": 2, "G": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A size compared with a limit in octets."""

    compare: Callable[[float, float], bool]
    limit: float
    text: str

    def why(self, size: int) -> str | None:
        """The reason why it holds; `None` if it does not."""
        return f"size {human(size)} {self.text}" if self.compare(size, self.limit) else None


def comparison(text: str) -> Comparison:
    """Read one.

    Raises:
        ValueError: it is none.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f'takes sizes as "> 1M" or "<= 500k" (Mi is 1024 * 1024), not {text!r}')
    unit = (1024 if found[4] else 1000) ** _POWERS[found[3]]
    return Comparison(
        compare=_OPERATORS[found[1]], limit=float(found[2]) * unit, text=" ".join(text.split())
    )


def human(size: int) -> str:
    """A size for people."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if size >= 1000**power:
            return f"{size / 1000**power:.1f} {unit}"
    return f"{size} B"
