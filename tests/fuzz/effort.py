"""How long to look: FUZZ_TIMES=20 multiplies the examples of all tests here."""

import os

from hypothesis import settings

_TIMES = int(os.environ.get("FUZZ_TIMES", "1"))


def examples(number: int) -> settings:
    """Settings for so many examples."""
    return settings(max_examples=number * _TIMES)
