"""A message's way over a connection, as a dialogue without a connection."""

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtp_router import Deferred, Delivered, InDoubt, Outcome, Rejected, Reply, Stage
from smtp_router.config.settings import Timeouts
from smtp_router.smtp.handover import Handover, Next
from smtp_router.smtp.reply_reader import MAX_LINE_OCTETS, ReplyReader
from tests.smtp import sending

begin = sending.handover

ONE = ("a@b.example",)
TWO = ("a@b.example", "c@b.example")


@dataclass
class Played:
    """What came of a dialogue."""

    said: list[str]
    step: Next | None
    outcome: Outcome | None
    decided_behind: int | None = None
    """How many replies it took."""
    left: list[str] = field(default_factory=list)
    """Replies that nobody waited for."""


def play(handover: Handover, *replies: str, early: bool = False) -> Played:
    """Give these replies, as `250` or `250 text`; `early`: while the content is being sent."""
    played = Played([_words(handover)], None, None)
    left = list(replies)
    while left:
        code, _, text = left.pop(0).partition(" ")
        played.step = handover.on_reply(int(code), text.encode())
        if handover.outcome is not None and played.decided_behind is None:
            played.decided_behind = len(replies) - len(left)
        match played.step:
            case Next.SAY:
                played.said.append(_words(handover))
            case Next.CONTENT:
                played.said.append("content")
                handover.dot_is_out = not early
            case Next.KEEP | Next.QUIT | Next.CLOSE:
                break
            case Next.WAIT:
                pass
    played.outcome, played.left = handover.outcome, left
    return played


def _words(handover: Handover) -> str:
    return handover.say.decode().replace("\r\n", " ").strip()


# What goes out together


@pytest.mark.parametrize(
    ("recipients", "pipelining", "said"),
    [
        (ONE, True, ["MAIL RCPT DATA", "content"]),
        (TWO, True, ["MAIL RCPT RCPT", "DATA", "content"]),
        (ONE, False, ["MAIL", "RCPT", "DATA", "content"]),
        (TWO, False, ["MAIL", "RCPT", "RCPT", "DATA", "content"]),
    ],
)
def test_what_goes_out_together(
    recipients: tuple[str, ...], said: list[str], *, pipelining: bool
) -> None:
    handover = begin(recipients, pipelining=pipelining)
    played = play(handover, *(["250"] * (1 + len(recipients))), "354", "250 2.0.0 taken")
    assert played.said == said
    assert played.outcome == Delivered(reply=Reply(code=250, enhanced="2.0.0", text="taken"))
    assert played.step is Next.KEEP


def test_commands_go_out_as_lines() -> None:
    assert begin().say == b"MAIL\r\nRCPT\r\nDATA\r\n"


# Refusals


@dataclass(frozen=True)
class Refusal:
    """A refused message: what is said, the outcome, and what becomes of the connection."""

    name: str
    replies: str
    said: str
    outcome: type[Outcome]
    stage: Stage
    step: Next = Next.KEEP
    recipients: tuple[str, ...] = ONE
    pipelining: bool = True

    def __str__(self) -> str:
        return self.name


ALONE = {"pipelining": False}

REFUSALS = (
    Refusal("mail", "550,503,503", "MAIL RCPT DATA", Rejected, Stage.MAIL),
    Refusal("mail, later", "450,503,503", "MAIL RCPT DATA", Deferred, Stage.MAIL),
    Refusal("mail, alone", "550", "MAIL", Rejected, Stage.MAIL, pipelining=False),
    Refusal("mail, of two", "450,503,503", "MAIL RCPT RCPT", Deferred, Stage.MAIL, recipients=TWO),
    Refusal("rcpt", "250,550,554,250", "MAIL RCPT DATA/RSET", Rejected, Stage.RCPT),
    Refusal("rcpt, later", "250,450,503,250", "MAIL RCPT DATA/RSET", Deferred, Stage.RCPT),
    Refusal("rcpt, alone", "250,550,250", "MAIL/RCPT/RSET", Rejected, Stage.RCPT, pipelining=False),
    Refusal(
        "first of two", "250,550,250,250", "MAIL RCPT RCPT/RSET", Rejected, Stage.RCPT, recipients=TWO
    ),
    Refusal(
        "second of two", "250,250,450,250", "MAIL RCPT RCPT/RSET", Deferred, Stage.RCPT, recipients=TWO
    ),
    Refusal(
        "two, alone",
        "250,450,550,250",
        "MAIL/RCPT/RCPT/RSET",
        Rejected,
        Stage.RCPT,
        recipients=TWO,
        pipelining=False,
    ),
    Refusal("data", "250,250,554,250", "MAIL RCPT DATA/RSET", Rejected, Stage.DATA),
    Refusal("data, later", "250,250,451,250", "MAIL RCPT DATA/RSET", Deferred, Stage.DATA),
    Refusal("final", "250,250,354,554", "MAIL RCPT DATA/content", Rejected, Stage.FINAL),
    Refusal("final, later", "250,250,354,451", "MAIL RCPT DATA/content", Deferred, Stage.FINAL),
    # about the router's own login
    Refusal("530 to mail", "530,503,503", "MAIL RCPT DATA", Deferred, Stage.MAIL, Next.QUIT),
    Refusal("530 to rcpt", "250,530,503", "MAIL RCPT DATA", Deferred, Stage.RCPT, Next.QUIT),
    Refusal("530 to data", "250,250,530", "MAIL RCPT DATA", Deferred, Stage.DATA, Next.QUIT),
    Refusal(
        "530 at the end", "250,250,354,530", "MAIL RCPT DATA/content", Deferred, Stage.FINAL, Next.QUIT
    ),
    # the downstream closes, or makes no sense
    Refusal("421 to mail", "421", "MAIL RCPT DATA", Deferred, Stage.MAIL, Next.CLOSE),
    Refusal("421 to rcpt", "250,421", "MAIL RCPT DATA", Deferred, Stage.RCPT, Next.CLOSE),
    Refusal("421 to data", "250,250,421", "MAIL RCPT DATA", Deferred, Stage.DATA, Next.CLOSE),
    Refusal(
        "421 at the end", "250,250,354,421", "MAIL RCPT DATA/content", Deferred, Stage.FINAL, Next.CLOSE
    ),
    Refusal("354 to mail", "354", "MAIL RCPT DATA", Deferred, Stage.MAIL, Next.CLOSE),
    Refusal("354 to rcpt", "250,354", "MAIL RCPT DATA", Deferred, Stage.RCPT, Next.CLOSE),
    Refusal("250 to data", "250,250,250", "MAIL RCPT DATA", Deferred, Stage.DATA, Next.CLOSE),
    Refusal("garbage to mail", "0 what?", "MAIL RCPT DATA", Deferred, Stage.MAIL, Next.CLOSE),
    Refusal("garbage to data", "250,250,0 what?", "MAIL RCPT DATA", Deferred, Stage.DATA, Next.CLOSE),
    Refusal(
        "garbage at the end",
        "250,250,354,0 what?",
        "MAIL RCPT DATA/content",
        InDoubt,
        Stage.FINAL,
        Next.CLOSE,
    ),
    Refusal("garbage behind a refusal", "550,0", "MAIL RCPT DATA", Rejected, Stage.MAIL, Next.CLOSE),
    Refusal("421 behind a refusal", "250,550,421", "MAIL RCPT DATA", Rejected, Stage.RCPT, Next.CLOSE),
    Refusal(
        "421 among the recipients",
        "250,450,421",
        "MAIL RCPT RCPT",
        Deferred,
        Stage.RCPT,
        Next.CLOSE,
        recipients=TWO,
    ),
    # it asks for the content of a message that it has refused
    Refusal(
        "354 behind a refused mail", "550,250,354", "MAIL RCPT DATA", Rejected, Stage.MAIL, Next.CLOSE
    ),
    Refusal(
        "354 behind a refused rcpt", "250,450,354", "MAIL RCPT DATA", Deferred, Stage.RCPT, Next.CLOSE
    ),
    Refusal(
        "250 behind a refused rcpt", "250,450,250", "MAIL RCPT DATA", Deferred, Stage.RCPT, Next.CLOSE
    ),
    # RSET is refused
    Refusal("no rset", "250,550,503,500", "MAIL RCPT DATA/RSET", Rejected, Stage.RCPT, Next.CLOSE),
)


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_a_refusal_is_the_outcome_and_no_content_follows_it(refusal: Refusal) -> None:
    handover = begin(refusal.recipients, pipelining=refusal.pipelining)
    played = play(handover, *refusal.replies.split(","))
    assert played.said == refusal.said.split("/")
    assert isinstance(played.outcome, refusal.outcome)
    assert played.outcome.stage is refusal.stage
    assert played.step is refusal.step
    assert not played.left


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("pattern", ["".join(one) for one in itertools.product("245", repeat=3)])
def test_a_refusal_for_good_outweighs_others(pattern: str, *, pipelining: bool) -> None:
    recipients = tuple(f"r{number}@b.example" for number in range(3))
    replies = [f"{digit}50 {recipient}" for digit, recipient in zip(pattern, recipients, strict=True)]
    played = play(begin(recipients, pipelining=pipelining), "250", *replies, "354", "250")
    decisive = next((digit for digit in "54" if digit in pattern), "2")
    if decisive == "2":
        assert isinstance(played.outcome, Delivered)
        return
    name = recipients[pattern.index(decisive)]
    reply = Reply(code=int(f"{decisive}50"), text=f"<{name}>: {name}")
    kind = Rejected if decisive == "5" else Deferred
    assert played.outcome == kind(stage=Stage.RCPT, reply=reply)
    assert "content" not in played.said


@pytest.mark.parametrize(
    ("recipients", "replies", "behind"),
    [
        (ONE, "550,503,503", 1),
        (ONE, "250,450,503", 2),
        (TWO, "250,550,250", 2),  # nothing can outweigh it
        (TWO, "250,450,250", 3),  # a 5yz could
    ],
)
def test_a_refusal_is_told_as_soon_as_it_is_certain(
    recipients: tuple[str, ...], replies: str, behind: int
) -> None:
    assert play(begin(recipients), *replies.split(",")).decided_behind == behind


def test_one_that_parts_says_good_bye_behind_whatever_comes() -> None:
    for replies in (("250", "250", "354", "250"), ("250", "250", "354", "450"), ("250", "550", "503")):
        handover = begin()
        handover.part()
        assert play(handover, *replies).step is Next.QUIT


# Loss


@pytest.mark.parametrize(
    ("replies", "kind", "stage"),
    [
        ("", Deferred, Stage.MAIL),
        ("250", Deferred, Stage.RCPT),
        ("250,250", Deferred, Stage.DATA),
        ("250,250,354", InDoubt, Stage.FINAL),
        ("250,450", Deferred, Stage.RCPT),
        ("550", Rejected, Stage.MAIL),
    ],
)
def test_a_lost_connection_is_what_its_stage_makes_of_it(
    replies: str, kind: type[Outcome], stage: Stage
) -> None:
    handover = begin()
    play(handover, *filter(None, replies.split(",")))
    handover.lost("gone")
    assert isinstance(handover.outcome, kind)
    assert handover.outcome.stage is stage
    assert handover.is_dead == (not replies)


def test_a_transient_refusal_stays_when_the_rest_is_lost() -> None:
    handover = begin(TWO)
    play(handover, "250", "450 not now")
    handover.lost("gone")
    assert handover.outcome is not None
    assert handover.outcome.reply == Reply(code=450, text="<a@b.example>: not now")


def test_what_is_certain_stays() -> None:
    handover = begin()
    play(handover, "250", "250", "354", "250")
    handover.lost("gone")
    handover.failed("late")
    handover.out_of_step()
    assert isinstance(handover.outcome, Delivered)


@pytest.mark.parametrize(
    ("reply", "kind"), [("250", Deferred), ("0", Deferred), ("451", Deferred), ("552", Rejected)]
)
def test_a_reply_before_the_content_is_out_is_no_delivery(reply: str, kind: type[Outcome]) -> None:
    played = play(begin(), "250", "250", "354", reply, early=True)
    assert isinstance(played.outcome, kind)
    assert played.outcome.stage is (Stage.DATA if reply in "250" else Stage.FINAL)
    assert played.step is Next.CLOSE


def test_lost_before_the_content_is_out_nothing_is_in_doubt() -> None:
    handover = begin()
    play(handover, "250", "250", "354", early=True)
    handover.lost("gone")
    assert handover.outcome == Deferred(stage=Stage.DATA, reason="gone")


# More than was asked for


@pytest.mark.parametrize(
    ("replies", "stage"),
    [("250", Stage.MAIL), ("250,250", Stage.RCPT), ("250,250,354", Stage.DATA)],
)
def test_what_is_out_of_step_is_told_of_the_reply_it_came_behind(replies: str, stage: Stage) -> None:
    handover = begin(pipelining=False)
    play(handover, *replies.split(","))
    handover.out_of_step()
    assert isinstance(handover.outcome, Deferred)
    assert handover.outcome.stage is stage


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("recipients", [ONE, TWO])
@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("code", ["250", "220", "221"])
def test_one_positive_reply_too_many_before_the_354_is_never_a_delivery(
    recipients: tuple[str, ...], position: int, code: str, *, pipelining: bool
) -> None:
    """The 354 is where both sides have to be in step."""
    good = [*(["250"] * (1 + len(recipients))), "354", "250"]
    position = min(position, len(good) - 2)
    good.insert(position, code)
    played = play(begin(recipients, pipelining=pipelining), *good)
    assert isinstance(played.outcome, Deferred)
    assert played.step is Next.CLOSE
    assert "content" not in played.said


# All at once


WORDS = b"250 2.0.0 ok\r\n", b"250 \r\n", b"354 go\r\n", b"299 x\xff  \r\n"
SEGMENTS = st.lists(
    st.sampled_from(
        [*WORDS, *WORDS, b"250-a\r\n", b"250\r\n", b"450 no\r\n", b"250", b" ", b"\r\n", b"\n"]
    ),
    max_size=4,
).map(b"".join)


@dataclass(frozen=True)
class State:
    """How far a handover has come: so many of MAIL and RCPT are taken; and what came of the content."""

    taken: int = 3
    asked: bool = True
    sent: bool = True
    parts: bool = False

    def bring(self, handover: Handover, recipients: int) -> None:
        replies = [*(["250"] * min(self.taken, recipients + 1)), *(["354"] if self.asked else [])]
        play(handover, *replies, early=not self.sent)
        if self.parts:
            handover.part()


BEGUN, SENT, PARTING = State(0, asked=False), State(), State(parts=True)
STATES = (BEGUN, State(1, asked=False), State(sent=False), SENT, PARTING)


@given(
    SEGMENTS,
    st.sampled_from(STATES),
    st.builds(dict, pipelining=st.booleans(), lmtp=st.booleans(), count=st.integers(1, 2)),
)
@example(b"250 a\r\n250 b\r\n354 c\r\n", BEGUN, {"pipelining": True, "count": 1})
@example(b"250 a\r\n250 b\r\n354 c\r\n", BEGUN, {"pipelining": True, "count": 2})
@example(b"250 a\r\n250 b\r\n354 c\r\n", State(1, asked=False), {"pipelining": True, "count": 1})
@example(b"250 2.0.0 taken\r\n", SENT, {"pipelining": True, "count": 1})
@example(b"250 2.0.0 taken\r\n", PARTING, {"pipelining": True, "count": 1})
@example(b"250 2.0.0 taken\r\n", SENT, {"pipelining": True, "count": 2, "lmtp": True})
@example(b"250 " + MAX_LINE_OCTETS * b"x" + b"\r\n", SENT, {"pipelining": True, "count": 1})
def test_what_is_taken_at_once_is_as_if_it_was_read_reply_by_reply(
    segment: bytes, state: State, how: dict[str, Any]
) -> None:
    options = dict(how)
    recipients = TWO[: options.pop("count")]

    def made() -> Handover:
        handover = begin(recipients, **options)
        state.bring(handover, len(recipients))
        return handover

    fast, slow, reader = made(), made(), ReplyReader()
    if not (fast.taken(segment) if fast.dot_is_out else fast.goes_ahead(segment)):
        assert _all_of(fast) == _all_of(slow)
        return
    step = Next.KEEP if fast.dot_is_out else Next.CONTENT
    *steps, last = [slow.on_reply(code, octets) for code, octets in reader.feed(segment)]
    assert steps == [Next.WAIT] * len(steps)
    assert (step, reader.is_partial) == (last, False)
    if fast.dot_is_out:  # nothing else is asked about any more
        assert fast.outcome == slow.outcome
    else:
        assert _all_of(fast) == _all_of(slow)


def _all_of(handover: Handover) -> dict[str, object]:
    names = {*vars(handover), *Handover.__annotations__} - {"_rest"}
    return {name: getattr(handover, name) for name in names}


def test_what_nearly_always_comes_is_taken_at_once() -> None:
    handover = begin()
    assert handover.goes_ahead(b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n")
    handover.dot_is_out = True
    outcome = handover.taken(b"250 2.0.0 taken\r\n")
    assert outcome == Delivered(reply=Reply(code=250, enhanced="2.0.0", text="taken"))
    assert outcome is handover.outcome


# Kept connections


@pytest.mark.parametrize("replies", ["", "421"])
def test_one_lost_before_mail_is_answered_was_dead_if_it_was_a_kept_one(replies: str) -> None:
    handover = begin()
    play(handover, *filter(None, [replies]))
    handover.lost("gone")
    assert handover.is_dead
    assert isinstance(handover.outcome, Deferred)
    assert handover.outcome.stage is Stage.MAIL


@pytest.mark.parametrize("replies", ["250", "450", "550", "0"])
def test_one_that_has_answered_mail_was_not(replies: str) -> None:
    handover = begin()
    play(handover, replies)
    handover.lost("gone")
    assert not handover.is_dead
    assert isinstance(handover.outcome, Deferred | Rejected)


def test_one_that_keeps_silent_was_not() -> None:
    handover = begin()
    handover.failed("timed out")
    assert handover.outcome == Deferred(stage=Stage.MAIL, reason="timed out")


# Time


def test_every_reply_has_its_own_limit() -> None:
    timeouts = Timeouts(mail_s=1, rcpt_s=2, data_s=3, final_s=4)
    handover = begin(TWO, timeouts=timeouts)
    limits = []
    for reply in ("250", "250", "250", "354"):
        limits.append(handover.limit_s())
        play(handover, reply, early=True)
    limits.append(handover.limit_s())
    handover.dot_is_out = True
    limits.append(handover.limit_s())
    assert limits == [1, 2, 2, 3, math.inf, 4]


# Whatever is said


CODES = st.sampled_from([0, 220, 250, 251, 354, 399, 421, 450, 451, 503, 530, 535, 550, 554])


@given(st.lists(CODES, max_size=12), st.integers(1, 3), st.booleans())
def test_content_is_sent_only_when_all_have_agreed(
    codes: list[int],
    count: int,
    pipelining: bool,  # noqa: FBT001 - hypothesis gives it so
) -> None:
    recipients = tuple(f"r{number}@b.example" for number in range(count))
    handover = begin(recipients, pipelining=pipelining)
    played = play(handover, *map(str, codes))
    heard = codes[: len(codes) - len(played.left)]
    agreed = [200 <= code < 300 for code in heard[: count + 1]]
    if "content" in played.said:
        assert all(agreed)
        assert heard[count + 1] == 354
    if isinstance(played.outcome, Delivered):
        assert "content" in played.said
        assert 200 <= heard[count + 2] < 300
    if isinstance(played.outcome, InDoubt):
        assert "content" in played.said
    if played.step in {Next.KEEP, Next.QUIT, Next.CLOSE}:
        assert handover.outcome is not None
    if played.step is Next.KEEP:  # nothing is owed, and nothing was odd
        assert not {0, 399, 421} & set(heard)
        commands = " ".join(played.said).split()
        assert len(heard) == len(commands)
