"""What a downstream's code means at each stage: the table at the top of verdict.py."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import Deferred, Delivered, InDoubt, Rejected, Reply, Stage
from smtp_router.core.replies import ReplyClass, Rule
from smtp_router.smtp.verdict import name_recipient, verdict

GO_ON = "go on"

# - deferred, x rejected, ? in doubt, + delivered, > go on
TABLE = """
    code   connect tls ehlo auth mail rcpt data final
    200       >     >   >    >    >    >    >    +
    250       >     >   >    >    >    >    >    +
    251       >     >   >    >    >    >    >    +
    299       >     >   >    >    >    >    >    +
    354       -     -   -    -    -    -    -    ?
    399       -     -   -    -    -    -    -    ?
    400       -     -   -    -    -    -    -    -
    421       -     -   -    -    -    -    -    -
    454       -     -   -    -    -    -    -    -
    499       -     -   -    -    -    -    -    -
    500       -     -   -    -    x    x    x    x
    530       -     -   -    -    -    -    -    -
    534       -     -   -    -    -    -    -    -
    535       -     -   -    -    -    -    -    -
    538       -     -   -    -    -    -    -    -
    550       -     -   -    -    x    x    x    x
    555       -     -   -    -    x    x    x    x
    599       -     -   -    -    x    x    x    x
    -1        -     -   -    -    -    -    -    ?
    0         -     -   -    -    -    -    -    ?
    100       -     -   -    -    -    -    -    ?
    199       -     -   -    -    -    -    -    ?
    600       -     -   -    -    -    -    -    ?
    999       -     -   -    -    -    -    -    ?
"""
KINDS: dict[str, type] = {"-": Deferred, "x": Rejected, "?": InDoubt, "+": Delivered}
HEAD, *ROWS = (line.split() for line in TABLE.strip().splitlines())
CELLS = [
    (int(code), Stage(stage), cell)
    for code, *cells in ROWS
    for stage, cell in zip(HEAD[1:], cells, strict=True)
]


@pytest.mark.parametrize(("code", "stage", "cell"), CELLS)
def test_a_code_at_a_stage(code: int, stage: Stage, cell: str) -> None:
    outcome = verdict(stage, code, "text")
    if cell == ">":
        assert outcome is None
    else:
        assert outcome is not None
        assert (type(outcome), outcome.stage) == (KINDS[cell], stage)


def test_the_table_has_all_stages() -> None:
    assert HEAD[1:] == [stage.value for stage in Stage]


@given(st.sampled_from(Stage), st.integers(-1000, 1000), st.text())
def test_only_a_5yz_rejects_and_only_a_2yz_delivers(stage: Stage, code: int, text: str) -> None:
    """Unknown means transient."""
    match verdict(stage, code, text):
        case Rejected():
            assert 500 <= code < 600
        case Delivered():
            assert 200 <= code < 300
            assert stage is Stage.FINAL
        case None:
            assert 200 <= code < 300
        case outcome:
            assert str(outcome).isascii()
            assert str(outcome).isprintable()


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("5.7.1 no", Reply(code=550, enhanced="5.7.1", text="no")),
        ("no", Reply(code=550, text="no")),
        ("4.7.1 no", Reply(code=550, text="4.7.1 no")),  # of another class: just words
        ("5.7.1 one\n5.7.1 two", Reply(code=550, enhanced="5.7.1", text="one two")),
        ("Grüße\x07", Reply(code=550, text="Gr??e?")),
        ("x" * 10_000, Reply(code=550, text="x" * 400)),
        ("", Reply(code=550)),
    ],
)
def test_the_downstreams_words_are_kept_as_one_printable_line(text: str, reply: Reply) -> None:
    outcome = verdict(Stage.RCPT, 550, text)
    assert outcome is not None
    assert outcome.reply == reply


def test_a_recipient_is_named_in_the_reply() -> None:
    refusal = verdict(Stage.RCPT, 550, "5.1.1 unknown")
    assert refusal is not None
    named = name_recipient(refusal, "b@b.example")
    assert named == Rejected(
        stage=Stage.RCPT, reply=Reply(code=550, enhanced="5.1.1", text="<b@b.example>: unknown")
    )


def test_without_a_reply_there_is_nothing_to_name_it_in() -> None:
    lost = Deferred(stage=Stage.RCPT, reason="lost")
    assert name_recipient(lost, "b@b.example") == lost


# Rules of the downstream.


@dataclass(frozen=True)
class Anything:
    """A pattern that every reply fits."""

    def matches(self, text: str) -> bool:
        del text
        return True


RULES = [Rule(name="all", pattern=Anything(), reply_class=reply_class) for reply_class in ReplyClass]
NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.reply_class))
@pytest.mark.parametrize("stage", Stage)
def test_a_rule_changes_no_code_but_4yz_and_5yz(stage: Stage, rule: Rule) -> None:
    """What is taken stays taken, what is in doubt in doubt."""
    for code in (-1, 0, *range(100, 400), *range(600, 1000)):
        assert verdict(stage, code, "text", [rule]) == verdict(stage, code, "text"), code


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.reply_class))
@given(st.sampled_from(Stage), st.integers(400, 599), st.text())
def test_no_rule_makes_a_delivery_or_a_doubt_of_a_refusal(
    rule: Rule, stage: Stage, code: int, text: str
) -> None:
    outcome = verdict(stage, code, text, [rule])
    assert isinstance(outcome, Deferred | Rejected)
    assert outcome.reason == f"{rule.reply_class} by all"


def test_a_hint_may_name_an_instant() -> None:
    outcome = verdict(Stage.CONNECT, 421, "4.7.0 resets at 19:00 UTC", (), NOW)
    assert isinstance(outcome, Deferred)
    assert outcome.rest_s == 3600
