"""Instances of which there are many, and where the interpreter keeps their attributes."""

import gc
import inspect
import runpy

import pytest

from smtp_router.core.layout import laid_out
from smtp_router.smtp.body import Body
from smtp_router.smtp.conversation import Conversation
from smtp_router.smtp.handover import Handover
from smtp_router.smtp.patience import Patience
from smtp_router.smtp.transaction import Transaction
from smtp_router.smtp.wire import Wire

MANY = 40


class Plain:
    """Has defaults for what is set later."""

    later: object = None
    last: object = None


@laid_out
class LaidOut(Plain):
    """The same."""


def has_a_dict(made: type, *names: str) -> bool:
    """Whether the last of many instances gets a dict of its own, when it is given these attributes."""
    one: object = [object.__new__(made) for _ in range(MANY)].pop()
    for name in names:
        setattr(one, name, ())
    return any(isinstance(each, dict) for each in gc.get_referents(one))


def test_what_is_set_late_makes_a_dict_of_an_instance() -> None:
    """What `laid_out` is there for; if this fails, this Python does not need it any more."""
    assert has_a_dict(Plain, "later", "last")


def test_unless_its_class_is_laid_out() -> None:
    assert not has_a_dict(LaidOut, "later", "last")
    assert LaidOut().later is None


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (Body, ("octets", "_small", "_size", "_before", "_dots", "_line_ends")),
        (Conversation, ("ehlo", "esmtp", "authenticated", "_session", "_transaction", "at_once")),
        (Handover, ("answered", "dot_is_out", "outcome")),
        (Patience, ("heard_at", "_is_upload", "_octets")),
        (Transaction, ("body", "failed")),
        (Wire, ("_data", "_at", "_scanned", "_body", "_held")),
    ],
)
def test_what_is_set_on_the_way_of_a_message_makes_no_dict(made: type, names: tuple[str, ...]) -> None:
    """Of a class of its own: the others' instances have initial attributes as well, and come first."""
    module = runpy.run_path(inspect.getfile(made))
    assert not has_a_dict(module[made.__name__], *names)
