"""Routers that are wrong on purpose: the ledgers must not agree, or comparing them proves nothing."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smtp_router import Deferred, Delivered, Message, Stage
from smtp_router.core.message import on_the_wire
from smtp_router.smtp import handover, sender
from smtp_router.smtp.sender import SmtpSender
from smtp_router.testing import OK, Close, Script, ScriptedDownstream
from tests.running import Router
from tests.underload import Load, evenly, load

Wrong = Callable[[pytest.MonkeyPatch], None]


def nothing(_: pytest.MonkeyPatch) -> None:
    """As it is."""


def answers_early(patch: pytest.MonkeyPatch) -> None:
    send, numbers = SmtpSender.send, itertools.count()

    async def wrong(self: SmtpSender, message: Message, *arguments: Any, **more: Any) -> object:  # noqa: ANN401
        if next(numbers) % 10 == 9:
            return Delivered()
        return await send(self, message, *arguments, **more)

    patch.setattr(SmtpSender, "send", wrong)


def drops_a_recipient(patch: pytest.MonkeyPatch) -> None:
    send = SmtpSender.send

    async def wrong(self: SmtpSender, message: Message, *arguments: Any, **more: Any) -> object:  # noqa: ANN401
        fewer = message.rcpt_tos[:-1] or message.rcpt_tos
        return await send(self, message.replace(rcpt_tos=fewer), *arguments, **more)

    patch.setattr(SmtpSender, "send", wrong)


def rewrites_a_line_end(patch: pytest.MonkeyPatch) -> None:
    right = on_the_wire

    def wrong(message: Message) -> object:
        whole = b"".join(right(message).pieces).replace(b"hello\r\n", b"hello\n", 1)
        return SimpleNamespace(pieces=(whole,), size=len(whole))

    patch.setattr(sender, "on_the_wire", wrong)


def tries_again_after_the_dot(patch: pytest.MonkeyPatch) -> None:
    def wrong(*, reason: str) -> Deferred:
        return Deferred(stage=Stage.FINAL, reason=reason)

    patch.setattr(handover, "InDoubt", wrong)


def violations(wrong: Wrong, folder: Path, patch: pytest.MonkeyPatch) -> list[str]:
    """What the ledgers say of a router that is wrong in this way, with downstreams that leave doubts."""
    leaves_doubts: Script = {"final": itertools.cycle([OK, OK, OK, Close()])}
    with (
        ScriptedDownstream(leaves_doubts, name="a") as a,
        ScriptedDownstream(name="b") as b,
        Router(evenly(a, b, failover_on=["deferred"]), folder) as router,
    ):
        wrong(patch)
        with load(router, a, b) as under:
            under.flows()
        return reconciled(under, router)


def reconciled(under: Load, router: Router) -> list[str]:
    ledgers = under.crowd.ledgers
    for downstream in under.downstreams:
        ledgers.takes(downstream.messages)
    ledgers.logs(router.log.entries)
    return ledgers.violations()


def test_the_ledgers_of_the_router_as_it_is_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert violations(nothing, tmp_path, monkeypatch) == []


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (answers_early, "lost"),
        (drops_a_recipient, "not what was sent"),
        (rewrites_a_line_end, "not what was sent"),
        (tries_again_after_the_dot, "double"),
    ],
)
def test_the_ledgers_of_a_router_that_is_wrong_do_not(
    wrong: Wrong, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = violations(wrong, tmp_path, monkeypatch)
    assert any(violation.startswith(what) for violation in found), found
