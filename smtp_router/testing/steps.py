"""What a scripted downstream can be told to do, as values. No I/O.

A script maps stages to steps, or to several steps, which are used up one by one; the last one stays:

    {"mail": Hang(), "rcpt:bad@b.example": Answer(550, "5.1.1 unknown"), "final": [OK, Close()]}
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

STAGES: Final = (
    *("accept", "handshake", "banner", "helo", "ehlo", "starttls", "auth"),
    *("mail", "rcpt", "data", "content", "final", "rset", "quit"),
)
"""Where a script can step in, in the order of a session. `handshake` is that of TLS, `content` is when
the first of it has come, `final` when all of it has. `rcpt:ADDRESS` is one recipient."""


@dataclass(frozen=True, slots=True)
class Normal:
    """Do what a server does there."""


OK: Final = Normal()
"""Do what a server does there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply. Behind a 421 the connection is closed, as RFC 5321 3.8 has it.

    Args:
        code: three digits; any number goes, so that a test can say nonsense.
        text: what stands behind it; each line of it is a line of the reply.
    """

    code: int
    text: str = ""

    @property
    def wire(self) -> bytes:
        """The reply as it is sent."""
        *lines, last = self.text.encode("utf-8", "surrogateescape").split(b"\n")
        more = b"".join(b"%03d-%b\r\n" % (self.code, line) for line in lines)
        return more + b"%03d %b\r\n" % (self.code, last)


@dataclass(frozen=True, slots=True)
class Say:
    """Exactly these octets, to which no CRLF is added: half a reply, two at once, none at all."""

    octets: bytes


Said: TypeAlias = Normal | Answer | Say


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection; `after` an answer, or without one."""

    after: Said | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection with a TCP reset; `after` an answer, or without one."""

    after: Said | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """Never say anything (more), until the peer has gone, `release()` is called or the server stops."""

    after: Said | None = None


@dataclass(frozen=True, slots=True)
class Drip:
    """An answer, one byte at a time.

    Args:
        what: the answer.
        every_s: seconds between two bytes.
    """

    what: Said = OK
    every_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Refuse:
    """At `accept` only: refuse connections from then on, until another script is followed."""


Step: TypeAlias = Normal | Answer | Say | Close | Reset | Hang | Drip | Refuse
Plan: TypeAlias = Step | Iterable[Step]
"""A step, or several; an iterator may be endless, as `itertools.cycle([OK, OK, Reset()])` is."""
Script: TypeAlias = Mapping[str, Plan]

_STEPS: Final = (Normal, Answer, Say, Close, Reset, Hang, Drip, Refuse)


class Prompter:
    """Says what is next at each stage of a script."""

    def __init__(self, script: Script) -> None:
        """Check the script.

        Raises:
            ValueError: there is no such stage, or the step makes no sense there.
        """
        self._plans = {stage: _Sequence(stage, plan) for stage, plan in script.items()}

    def next(self, stage: str, detail: str = "") -> Step:
        """Take the next step of `stage:detail`, or else of the stage."""
        plan = self._plans.get(f"{stage}:{detail}") or self._plans.get(stage)
        return plan.next() if plan else OK

    @property
    def refuses(self) -> bool:
        """Whether the next connection is refused."""
        plan = self._plans.get("accept")
        return plan is not None and isinstance(plan.coming, Refuse)


class _Sequence:
    """Steps, one by one; the last one stays."""

    def __init__(self, stage: str, plan: Plan) -> None:
        self._stage = stage.partition(":")[0]
        if self._stage not in STAGES or (":" in stage and self._stage != "rcpt"):
            raise ValueError(f"{stage!r} is no stage; those are: {' '.join(STAGES)}")
        self._steps: Iterator[Step] = iter((plan,) if isinstance(plan, _STEPS) else plan)
        self.coming = self._checked(next(self._steps, OK))

    def next(self) -> Step:
        step = self.coming
        self.coming = self._checked(next(self._steps, step))
        return step

    def _checked(self, step: Step) -> Step:
        match self._stage, step:
            case "accept", Answer() | Say() | Drip():
                fits = False
            case "handshake", Answer() | Drip():
                fits = False
            case "content", Drip():
                fits = False
            case stage, Refuse():
                fits = stage == "accept"
            case _:
                fits = True
        if not fits:
            raise ValueError(f"{step} cannot be done at {self._stage!r}")
        return step
