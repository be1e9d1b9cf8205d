"""The checker of invariants finds what it is there to find."""

import pytest

from smtp_router.testing import Taken
from tests.ledgers import Ledgers, Sent

RECEIVED = b"Received: from c.example\r\n by router.example\r\n"
SENT = Sent("m1@a.example", ("r1@b.example", "r2@b.example"), b"Subject: 1\r\n\r\nhello\r\n")


def taken(
    reply: bytes = b"250 2.0.0 taken\r\n",
    content: bytes = RECEIVED + SENT.content,
    mail_from: str = SENT.mail_from,
    rcpt_tos: tuple[str, ...] = SENT.rcpt_tos,
) -> Taken:
    return Taken(
        mail_from=mail_from,
        rcpt_tos=rcpt_tos,
        mail_line="",
        rcpt_lines=(),
        content=content,
        reply=reply,
        ehlo="router.example",
        login=None,
        tls=False,
        connection=1,
        at=0.0,
    )


def ledgers(told: list[int | None], *held: Taken, doubts: int = 0) -> Ledgers:
    made = Ledgers()
    made.sends(SENT)
    for code in told:
        made.tells(SENT.mail_from, code)
    made.takes(held)
    made.logs(
        doubts * [{"event": "attempt", "outcome": "in_doubt", "mail_from": SENT.mail_from}]
        + [{"event": "message", "outcome": "in_doubt", "mail_from": SENT.mail_from}]
    )
    return made


UNSAID = taken(reply=b"")
REFUSED = taken(reply=b"451 4.3.0 later\r\n")


@pytest.mark.parametrize(
    "fine",
    [
        pytest.param(ledgers([250], taken()), id="told and there"),
        pytest.param(ledgers([451, 250], REFUSED, taken()), id="refused, then taken"),
        pytest.param(ledgers([554], taken(reply=b"554 5.3.0 no\r\n")), id="refused"),
        pytest.param(ledgers([451], UNSAID, doubts=1), id="in doubt"),
        pytest.param(ledgers([451, 250], UNSAID, taken(), doubts=1), id="in doubt, and again"),
        pytest.param(ledgers([451, 250], taken(), doubts=1), id="in doubt, not there, and again"),
        pytest.param(ledgers([None, 250], taken(), taken()), id="no answer, and again"),
        pytest.param(ledgers([]), id="never got as far as the dot"),
    ],
)
def test_what_holds_is_not_complained_about(fine: Ledgers) -> None:
    assert fine.violations() == []


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        pytest.param(ledgers([250]), "lost", id="answered 250 early"),
        pytest.param(ledgers([250], REFUSED), "lost", id="answered 250 though refused"),
        pytest.param(ledgers([250], UNSAID, doubts=1), "lost", id="answered 250 though in doubt"),
        pytest.param(ledgers([250], taken(), taken()), "double", id="sent twice"),
        pytest.param(ledgers([250], UNSAID, taken()), "double", id="sent again after the dot"),
        pytest.param(ledgers([554], taken()), "refused, and yet", id="refused for good, and there"),
        pytest.param(ledgers([451], taken()), "refused, and yet", id="refused for now, and there"),
        pytest.param(ledgers([451], UNSAID), "refused, and yet", id="a doubt that nobody logged"),
        pytest.param(
            ledgers([250], taken(rcpt_tos=SENT.rcpt_tos[:1])), "not what", id="dropped a recipient"
        ),
        pytest.param(
            ledgers([250], taken(content=RECEIVED + SENT.content.replace(b"\r\n", b"\n"))),
            "not what",
            id="rewrote line ends",
        ),
        pytest.param(
            ledgers([250], taken(content=RECEIVED + b"X: y\r\n" + SENT.content)),
            "not what",
            id="a field more",
        ),
        pytest.param(
            ledgers([250], taken(), taken(mail_from="x@a.example")), "not what", id="sent by nobody"
        ),
    ],
)
def test_what_does_not_hold_is_found(wrong: Ledgers, what: str) -> None:
    assert any(found.startswith(what) for found in wrong.violations()), wrong.violations()


def test_answers_and_doubles_are_counted() -> None:
    made = ledgers([451, None, 250], UNSAID, taken(), doubts=1)
    assert made.codes == {451: 1, None: 1, 250: 1}
    assert made.doubles == 1
