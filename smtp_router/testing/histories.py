"""Anything that can happen to a plugin: messages, downstreams, outcomes; the same for the same seed."""

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from smtp_router.core.downstream import Downstream, Health, HealthState
from smtp_router.core.message import TLS, Message, Session
from smtp_router.core.outcome import Deferred, Delivered, InDoubt, Outcome, Rejected, Stage
from smtp_router.testing.values import (
    EPOCH,
    deferred,
    delivered,
    in_doubt,
    make_downstream,
    make_message,
    make_reply,
    rejected,
    unreachable,
)

_SENDERS: Final = (
    "",
    "a@a.example",
    "A@A.EXAMPLE",
    '"odd @ one"@b.example',
    "bounce+1=x@[192.0.2.1]",
    "é@é.example",
)
_RECIPIENTS: Final = (
    "b@b.example",
    "B@B.Example",
    "postmaster",
    '"a@b"@c.example',
    "c@[IPv6:2001:db8::1]",
    "ü@ü.example",
)
_CONTENTS: Final = (
    b"Subject: hello\r\nFrom: a@a.example\r\nTo: b@b.example\r\n\r\nHello.\r\n",
    b"",
    b"\r\n",
    b"no header at all\r\n",
    b"Subject: =?utf-8?q?=ff?=\r\nX-Odd: \xff\xfe\r\nX-Odd:\r\n folded\r\n\r\n\xff\x00\r\n",
    b"From: a@a.example\r\n\r\n" + b"x" * 100_000 + b"\r\n",
)
_OUTCOMES: Final[Sequence[Outcome]] = (
    delivered(),
    delivered("250"),
    Delivered(),
    deferred(),
    deferred("421 4.3.2 closing", Stage.MAIL),
    deferred(None, Stage.FINAL),
    unreachable(),
    Deferred(stage=Stage.TLS, reason="certificate verify failed"),
    Deferred(stage=Stage.RCPT, reply=make_reply("450 4.2.1 later"), rest_s=60.0, neutral=True),
    Deferred(stage=Stage.MAIL, reply=make_reply("555 5.6.7 no SMTPUTF8"), incapable=True),
    rejected(),
    rejected("554", Stage.FINAL),
    Rejected(stage=Stage.DATA, reason="nobody knows"),
    in_doubt(),
    InDoubt(stage=Stage.FINAL, reason="timeout"),
)


class Histories:
    """Draws what happens.

    Args:
        seed: the same one, the same histories.
        options: what downstreams have as their options, in turn.
    """

    def __init__(self, seed: int, options: Sequence[Mapping[str, object]] = ()) -> None:
        self.draw: random.Random = random.Random(seed)  # noqa: S311 - tests, no secret
        self._options = list(options) or [{}]

    def downstreams(self, count: int, prefix: str = "d") -> tuple[Downstream, ...]:
        """So many downstreams, with any health."""
        return tuple(
            make_downstream(
                f"{prefix}{number}",
                health=self.health(),
                options=self._options[number % len(self._options)],
                port=self.draw.choice((25, 465, 587)),
            )
            for number in range(count)
        )

    def health(self) -> Health:
        """Figures as they may be at any time; as new in one case of three."""
        draw = self.draw
        if draw.random() < 1 / 3:
            return Health()
        done, failed = draw.choice((0, 1, 1000)), draw.choice((0, 1, 50))
        return Health(
            state=draw.choice(tuple(HealthState)),
            in_flight=draw.choice((0, 1, 500)),
            delivered=done,
            failed=failed,
            consecutive_failures=draw.randint(0, failed),
            success_rate=draw.choice((0.0, draw.random(), 1.0)),
            latency_s=draw.choice((0.0, draw.random(), 300.0)) if done else 0.0,
            p95_s=draw.choice((0.0, draw.random(), 600.0)) if done else 0.0,
        )

    def messages(self, count: int) -> Iterator[Message]:
        """So many messages, one later than the other, each with an id of its own."""
        draw = self.draw
        at = EPOCH
        for number in range(count):
            at += timedelta(seconds=draw.choice((0, 0.001, 1, 3600, 86_400)))
            yield make_message(
                id=f"message-{number}",
                session=Session(
                    peer=draw.choice(("192.0.2.1", "2001:db8::1", "")),
                    ehlo=draw.choice(("client.example", "[192.0.2.1]")),
                    tls=draw.choice((None, TLS(version="TLSv1.3", cipher="AES"))),
                ),
                received_at=at,
                mail_from=draw.choice(_SENDERS),
                rcpt_tos=tuple(draw.choices(_RECIPIENTS, k=draw.choice((1, 1, 2, 100)))),
                content=draw.choice(_CONTENTS),
            )

    def outcome(self) -> Outcome:
        """Any outcome."""
        return self.draw.choice(_OUTCOMES)

    def some(self, downstreams: Sequence[Downstream]) -> tuple[Downstream, ...]:
        """At least one of these, in their order: the ones that are worth trying now."""
        kept = tuple(one for one in downstreams if self.draw.random() < 0.8)  # noqa: PLR2004 - most
        return kept or (self.draw.choice(downstreams),)

    def seconds(self) -> float:
        """How long something took."""
        return self.draw.choice((0.0, 0.001, 1.0, 600.0))
