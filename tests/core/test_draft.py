"""Values that are filled in as drafts are those that are made in the usual way."""

from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime

import pytest

from smtp_router import (
    Attempt,
    Delivered,
    Downstream,
    Health,
    HealthState,
    Message,
    Reply,
    Session,
)
from smtp_router.core.content import stuff
from smtp_router.core.downstream import with_figures
from smtp_router.core.draft import draft_of
from smtp_router.core.message import met, received
from smtp_router.core.outcome import attempted, delivered
from smtp_router.core.reply import plain_reply, with_id

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PLAIN = Reply(code=250, enhanced="2.0.0", text="Ok")
A = Downstream(name="a", host="a.example", port=25)
PAIRS = [
    (Reply(code=250, enhanced="2.0.0", text="Ok as 0a"), with_id(PLAIN, "0a")),
    (PLAIN, plain_reply(b"250 2.0.0 Ok\r\n")),
    (Delivered(reply=PLAIN), delivered(PLAIN)),
    (Attempt(downstream=A, outcome=Delivered(), seconds=0.5), attempted(A, Delivered(), 0.5)),
    (
        Session(peer="192.0.2.1", peer_port=5, ehlo="c.example", esmtp=False, authenticated=False),
        met(("192.0.2.1", 5), "c.example", None, esmtp=False, authenticated=False),
    ),
    (
        Message(
            id="0a", user="u", mail_from="a@b", rcpt_tos=("c@d",), content=b"x\r\n", received_at=NOW
        ),
        received(stuff(b"x\r\n"), "0a", "u", "a@b", ("c@d",), NOW),
    ),
    (A, with_figures(A, (HealthState.CLOSED, 0, 0, 0, 0, 1.0, 0.0, (), 0))),
]


@pytest.mark.parametrize(("made", "filled_in"), PAIRS)
def test_what_is_filled_in_is_what_is_made(made: object, filled_in: object) -> None:
    assert type(filled_in) is type(made)
    assert filled_in == made
    assert repr(filled_in) == repr(made)


@pytest.mark.parametrize("filled_in", [filled_in for _, filled_in in PAIRS])
def test_what_is_filled_in_cannot_be_changed(filled_in: Reply) -> None:
    for each in fields(filled_in):
        with pytest.raises(FrozenInstanceError):
            setattr(filled_in, each.name, None)
        with pytest.raises(FrozenInstanceError):
            delattr(filled_in, each.name)


def test_a_draft_may_be_changed_and_holds_nothing() -> None:
    draft = draft_of(Health)()
    with pytest.raises(AttributeError):
        _ = draft.failed
    draft.failed = 1
    draft.failed = 2
    del draft.failed
    draft.failed = 3
    draft.__class__ = Health
    assert draft.failed == 3
