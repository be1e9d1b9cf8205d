"""What can go wrong at a downstream, and what has to come of it: a table.

A column is what the witness does, a row is where. The cell is the attempt's outcome:

    +   delivered
    -   deferred, at the row's stage
    x   rejected, at the row's stage
    ?   in doubt
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from smtp_router import Reply, Stage
from tests.script import DROP, HANG, RESET, Raw, Step, Then

TABLE: Final = """
            banner ehlo starttls auth mail rcpt data final
    4yz        -     -     -      -    -    -    -    -
    5yz        -     -     -      -    x    x    x    x
    421        -     -     -      -    -    -    -    -
    drop       -     -     -      -    -    -    -    ?
    reset      -     -     -      -    -    -    -    ?
    hang       -     -     -      -    -    -    -    ?
    garbage    -     -     -      -    -    -    -    ?
    half       -     -     -      -    -    -    -    ?
    stalled    -     -     -      -    -    -    -    ?
    000        -     -     -      -    -    -    -    ?
    999        -     -     -      -    -    -    -    ?
    3yz        -     -     -      -    -    -    -    ?
    huge       -     -     -      -    -    -    -    ?
    extra      -     -     +      -    -    -    -    +
    8-bit      +     +     +      +    +    +    +    +
"""
# An extra reply behind that to STARTTLS is forgotten with all that was said in clear (RFC 3207 4.2);
# one behind the reply to the final dot comes when all is said.

STAGES: Final = {
    "banner": Stage.CONNECT,
    "ehlo": Stage.EHLO,
    "starttls": Stage.TLS,
    "auth": Stage.AUTH,
    "mail": Stage.MAIL,
    "rcpt": Stage.RCPT,
    "data": Stage.DATA,
    "final": Stage.FINAL,
}
TIME_LIMITS: Final = {
    "banner": "banner_s",
    "ehlo": "ehlo_s",
    "starttls": "tls_s",
    "auth": "auth_s",
    "mail": "mail_s",
    "rcpt": "rcpt_s",
    "data": "data_s",
    "final": "final_s",
}
SLOW: Final = frozenset({"hang", "stalled"})
"""What only a time limit ends."""

_POSITIVE: Final = {"banner": b"220", "starttls": b"220", "auth": b"235", "data": b"354"}


@dataclass(frozen=True, slots=True)
class Case:
    """One cell."""

    where: str
    fault: str
    cell: str

    @property
    def stage(self) -> Stage:
        """The stage that the outcome names."""
        return STAGES[self.where]

    def stage_seen(self, *, pipelining: bool) -> Stage:
        """The stage at which it shows, in a transaction with one recipient.

        Which reply is one too many, cannot be told when all are on their way: only that the one to DATA,
        which has to be 354, is not.
        """
        shows_late = pipelining and self.fault == "extra" and self.where in {"mail", "rcpt"}
        return Stage.DATA if shows_late else self.stage

    @property
    def step(self) -> Step:
        """What the witness does."""
        positive = _POSITIVE.get(self.where, b"250")
        eight_bit = positive + " 2.0.0 Grüße ☃".encode() + b"\xff\x80"
        steps: dict[str, Step] = {
            "4yz": b"450 4.3.0 not now",
            "5yz": b"554 5.3.0 never",
            "421": b"421 4.3.2 closing",
            "drop": DROP,
            "reset": RESET,
            "hang": HANG,
            "garbage": b"what?",
            "half": Then(Raw(positive + b" 2.0.0 hal"), DROP),
            "stalled": Then(Raw(positive + b"-2.0.0 one\r\n" + positive + b" tw"), HANG),
            "000": b"000 nothing",
            "999": b"999 9.9.9 beyond",
            "3yz": b"399 more",
            "huge": positive + b" 2.0.0 " + 100_000 * b"x",
            "extra": Raw(positive + b" 2.0.0 yes\r\n250 2.0.0 and yes again\r\n"),
            "8-bit": eight_bit if self.where != "ehlo" else b"250-\xc3\xfc\r\n250 AUTH PLAIN",
        }
        return steps[self.fault]

    @property
    def reply(self) -> Reply | None:
        """The downstream's refusal, where the fault is one."""
        if not isinstance(self.step, bytes) or self.fault not in {"4yz", "5yz", "421"}:
            return None
        code, text = self.step.decode().split(" ", 1)
        return Reply.parse(int(code), text)

    @property
    def timeouts(self) -> dict[str, float]:
        """Time limits for the configuration: short where time has to run out."""
        return {TIME_LIMITS[self.where]: 0.05} if self.fault in SLOW else {}

    def __str__(self) -> str:
        """For the test's name."""
        return f"{self.where}-{self.fault}"


def _cases() -> Iterator[Case]:
    head, *rows = TABLE.strip().splitlines()
    for row in rows:
        fault, *cells = row.split()
        for where, cell in zip(head.split(), cells, strict=True):
            yield Case(where, fault, cell)


CASES: Final = tuple(_cases())
"""All cells of the table."""
