"""Three ledgers that share no code: what clients were told, what downstreams hold, what the log doubts.

Rules:
1. Who was told 250, whose message is at a downstream that said so.
2. There are no more of a message than answers 250, plus attempts whose outcome nobody knows: those that
   the log has in doubt, and those whose client was left without an answer to its final dot.
3. So what was refused, for good or for now, is nowhere, unless there was such an attempt.
4. Nothing is anywhere that was not sent, for these recipients, octet for octet below one `Received:`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from smtp_router.testing import Taken


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as a client has it. Its sender is in no other message."""

    mail_from: str
    rcpt_tos: tuple[str, ...]
    content: bytes


@dataclass(slots=True)
class Ledgers:
    """All three, as they fill."""

    sent: dict[str, Sent] = field(default_factory=dict)
    told: dict[str, list[int | None]] = field(default_factory=dict)
    """By sender: the answers to the final dots; `None` where there was none."""
    copies: Counter[str] = field(default_factory=Counter)
    """By sender: how often a downstream may have kept it: it said 250, or nothing that is a reply."""
    confirmed: set[str] = field(default_factory=set)
    """The senders of those to which a downstream said 250."""
    doubts: Counter[str] = field(default_factory=Counter)
    """By sender: how often the log has it in doubt."""
    altered: list[str] = field(default_factory=list)
    """What a downstream holds that nobody sent so."""

    def sends(self, sent: Sent) -> None:
        """A client is about to send a message, perhaps again."""
        self.sent[sent.mail_from] = sent

    def tells(self, mail_from: str, code: int | None) -> None:
        """A client has its answer to a final dot, or will never have one."""
        self.told.setdefault(mail_from, []).append(code)

    def takes(self, messages: Iterable[Taken]) -> None:
        """Downstreams hold these messages, too."""
        for taken in messages:
            if taken.reply[:1] in {b"4", b"5"}:
                continue
            self.copies[taken.mail_from] += 1
            if taken.is_delivered:
                self.confirmed.add(taken.mail_from)
            sent = self.sent.get(taken.mail_from)
            if sent is None or (sent.rcpt_tos, sent.content) != (taken.rcpt_tos, taken.below_received):
                self.altered.append(taken.mail_from)

    def logs(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """The router has logged this, too."""
        for entry in entries:
            if entry.get("event") == "attempt" and entry.get("outcome") == "in_doubt":
                self.doubts[str(entry["mail_from"])] += 1

    @property
    def codes(self) -> Counter[int | None]:
        """How often which answer came."""
        return Counter(code for codes in self.told.values() for code in codes)

    @property
    def answered(self) -> int:
        """How many messages have an answer, or more than one."""
        return len(self.told)

    @property
    def doubles(self) -> int:
        """How many there are beyond one of each."""
        return sum(count - 1 for count in self.copies.values())

    def violations(self) -> list[str]:
        """What ought not to be; in order of weight."""
        found = [f"not what was sent: {mail_from}" for mail_from in self.altered]
        for mail_from, codes in self.told.items():
            if 250 in codes and mail_from not in self.confirmed:
                found.append(f"lost: {mail_from}, told {codes}")
        for mail_from, copies in self.copies.items():
            codes = self.told.get(mail_from, [])
            allowed = codes.count(250) + codes.count(None) + self.doubts[mail_from]
            if copies > allowed:
                what = "double" if 250 in codes else "refused, and yet delivered"
                found.append(f"{what}: {mail_from}, told {codes}, there {copies}, allowed {allowed}")
        return found
