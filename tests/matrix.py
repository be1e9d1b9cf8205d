"""Stage x fault x {alone, with a second downstream} x {fresh, kept connection}, and what follows.

The two tables below are the rules; no expectation comes from the code under test. `docs/faults.md` has
them, and `tests/e2e/test_matrix.py` goes through them.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from smtp_router.testing import OK, Answer, Close, Drip, Hang, Refuse, Reset, Say, Script, Step

TABLE: Final = """
           accept banner ehlo starttls handshake auth mail rcpt last data content final quit idle
refuse        s      .     .      .        .       .    .    .    .    .     .      .     .    .
4yz           .      s     s      t        .       a    m    m    m    m     m      m     +    .
5yz           .      s     s      t        .       a    x    x    x    x     x      x     +    .
421           .      s     s      t        .       a    c    c    c    c     c      c     +    +
close         s      s     s      t        t       a    n    n    n    n     n      ?     +    +
reset         s      s     s      t        t       a    n    n    n    n     n      ?     +    +
hang          s      s     s      t        t       a    n    n    n    n     d      ?     +    .
drip          .      s     s      t        .       a    n    n    n    n     .      ?     +    .
garbage       .      s     s      t        t       a    n    n    n    n     n      ?     +    .
half          .      s     s      t        .       a    n    n    n    n     .      ?     +    .
endless       .      s     s      t        .       a    n    n    n    n     .      ?     +    .
lines         .      +     +      +        .       +    +    +    +    +     .      +     +    .
trickle       .      +     +      +        .       +    +    +    +    +     .      +     +    .
parting       .      s     a      t        .       n    n    n    n    ?     .      +     +    .
expired       .      .     .      .        t       .    .    .    .    .     .      .     .    .
other         .      .     .      .        t       .    .    .    .    .     .      .     .    .
unknown       .      .     .      .        t       .    .    .    .    .     .      .     .    .
"""
"""What a fault comes to at a stage, if the message meets it; `.`: there is no such thing.

`last` is the second of two recipients, `idle` a kept connection between two messages.
"""


@dataclass(frozen=True, slots=True)
class Consequence:
    """What follows, of all that is seen from outside.

    Args:
        alone: the client's reply if there is no other downstream.
        goes_on: whether a second downstream, if there is one, gets the message, and the client a 250.
        blamed: whose health it counts against.
    """

    alone: tuple[int, str]
    goes_on: bool
    blamed: str


CONSEQUENCES: Final = {
    "+": Consequence((250, "2.0.0"), goes_on=False, blamed="nobody"),
    "s": Consequence((451, "4.4.1"), goes_on=True, blamed="server"),
    "t": Consequence((451, "4.7.5"), goes_on=True, blamed="server"),
    "a": Consequence((451, "4.7.0"), goes_on=True, blamed="account"),
    "m": Consequence((450, "4.2.0"), goes_on=True, blamed="message"),
    "c": Consequence((451, "4.3.2"), goes_on=True, blamed="account"),
    "n": Consequence((451, "4.4.1"), goes_on=True, blamed="account"),
    "d": Consequence((451, "4.4.7"), goes_on=True, blamed="account"),
    "x": Consequence((554, "5.6.0"), goes_on=False, blamed="message"),
    "?": Consequence((451, "4.4.2"), goes_on=False, blamed="account"),
}

MEANINGS: Final = {
    "refuse": "the connection is refused",
    "4yz": "the answer is `450 4.2.0`",
    "5yz": "the answer is `554 5.6.0`",
    "421": "the answer is `421 4.3.2`, and the connection is closed",
    "close": "the connection is closed without an answer",
    "reset": "the same, by a TCP reset",
    "hang": "there is never an answer",
    "drip": "the answer comes at a byte a second",
    "garbage": "something comes that is no reply",
    "half": "half an answer comes, then the connection is closed",
    "endless": "the answer is a line of 100,000 octets",
    "lines": "the right answer comes in several lines",
    "trickle": "the right answer comes byte by byte, but in time",
    "parting": "the right answer comes, then the connection is closed",
    "expired": "the certificate has expired",
    "other": "the certificate is for another name",
    "unknown": "nobody who is trusted has signed the certificate",
}
SLOW: Final = frozenset({"hang", "drip"})
"""What only a time limit ends."""
SESSION: Final = frozenset({"accept", "banner", "ehlo", "starttls", "handshake", "auth"})
"""What a kept connection has behind it."""
CERTIFICATES: Final = frozenset({"expired", "other", "unknown"})
TLS: Final = frozenset({"starttls", "handshake"})
OFFERED: Final = "a\nPIPELINING\n8BITMIME\nAUTH PLAIN LOGIN"

_POSITIVE: Final = {"banner": 220, "starttls": 220, "auth": 235, "data": 354, "quit": 221}
_LATER: Final = Answer(450, "4.2.0 not now")
_NEVER: Final = Answer(554, "5.6.0 never")
_CLOSING: Final = Answer(421, "4.3.2 closing")


@dataclass(frozen=True, slots=True)
class Cell:
    """One case."""

    stage: str
    fault: str
    letter: str
    second: bool
    kept: bool

    @property
    def is_met(self) -> bool:
        """Whether the message meets the fault: a kept connection is past logging in."""
        return not (self.kept and self.stage in SESSION)

    @property
    def expected(self) -> Consequence:
        """What follows."""
        return CONSEQUENCES[self.letter if self.is_met else "+"]

    @property
    def goes_on(self) -> bool:
        """Whether the second downstream gets it."""
        return self.second and self.expected.goes_on

    @property
    def reply(self) -> tuple[int, str]:
        """What the client hears: code and enhanced code."""
        return CONSEQUENCES["+"].alone if self.goes_on else self.expected.alone

    @property
    def connections(self) -> int:
        """How many connections the first downstream sees, if the message does not go elsewhere."""
        lost = self.kept and self.stage == "mail" and self.fault in {"421", "close", "reset", "half"}
        return 2 if lost or self.stage == "idle" else 1

    @property
    def again(self) -> int:
        """The code for the next message, when the fault is over; a certificate stays as it is."""
        return 451 if self.fault in CERTIFICATES and not self.second else 250

    @property
    def scripts(self) -> list[Script]:
        """What the first downstream does, connection by connection."""
        if self.stage == "idle":
            ends = {
                "421": Close(after=Say(b"250 2.0.0 ok\r\n421 4.3.2 idle\r\n")),
                "close": Close(after=OK),
            }
            return [{"final": ends.get(self.fault, Reset(after=OK))}, {}]
        where = {"rcpt": "rcpt:b@b.example", "last": "rcpt:c@b.example"}.get(self.stage, self.stage)
        if not self.kept:
            return [{where: self._step}]
        return [{where: [OK, self._step]} if self.stage not in SESSION else {}, {where: self._step}]

    @property
    def _step(self) -> Step:
        code = _POSITIVE.get(self.stage, 250)
        lines = OFFERED if self.stage == "ehlo" else "2.0.0 one\n2.0.0 two"
        steps: dict[str, Step] = {
            "refuse": Refuse(),
            "4yz": _LATER,
            "5yz": _NEVER,
            "421": _CLOSING,
            "close": Close(),
            "reset": Reset(),
            "hang": Hang(),
            "drip": Drip(),
            "garbage": Say(b"what?\r\n"),
            "half": Close(after=Say(b"%d 2.0.0 hal" % code)),
            "endless": Answer(code, 100_000 * "x"),
            "lines": Answer(code, lines),
            "trickle": Drip(every_s=0.001),
            "parting": Close(after=OK),
        }
        return steps.get(self.fault, OK)

    def __str__(self) -> str:
        """For the test's name."""
        return "-".join(
            (
                *(self.stage, self.fault),
                *("second" if self.second else "alone", "kept" if self.kept else "fresh"),
            )
        )


def rows() -> Iterator[tuple[str, dict[str, str]]]:
    """Each fault, with what it comes to at every stage."""
    head, *lines = TABLE.strip().splitlines()
    for line in lines:
        fault, *letters = line.split()
        yield fault, dict(zip(head.split(), letters, strict=True))


def _cells() -> Iterator[Cell]:
    for (fault, row), second, kept in itertools.product(rows(), (False, True), (False, True)):
        for stage, letter in row.items():
            only = False if stage == "quit" or fault in CERTIFICATES else kept or stage == "idle"
            if letter != "." and only is kept:
                yield Cell(stage, fault, letter, second, kept)


CELLS: Final = tuple(_cells())
