"""Each rule of `conformance` finds who breaks it, and nobody else."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest

from smtp_router import Algorithms, Attempt, Clock, Defer, Downstream, Message, Reject, hookimpl
from smtp_router.testing import conformance
from smtp_router.testing.conformance import CHECKS

log = logging.getLogger(__name__)
LIMIT_S = 0.5


class Good:
    """Has every hook, and does all that a plugin may."""

    def __init__(
        self,
        algorithms: Algorithms,
        clock: Clock,
        rng: random.Random,
        *,
        to: object = "failover",
        secret: object = "",
        signing: Mapping[str, str] | None = None,
        url: str = "",
    ) -> None:
        if not isinstance(secret, str) or not secret.isalnum():
            raise ValueError("secret must be letters and digits")
        self._other = algorithms.make(to, at="to")
        self._clock, self._rng = clock, rng
        self._secret, self._signing, self._url = secret, signing, url
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen: dict[str, int] = {}

    @hookimpl
    async def select_downstream(
        self, message: Message, downstreams: Sequence[Downstream], attempts: Sequence[Attempt]
    ) -> Downstream | None:
        await self._clock.sleep(0.01)
        self._seen[message.user] = self._seen.get(message.user, 0) + 1
        match self._rng.randrange(20):
            case 0:
                raise Defer("not now")
            case 1:
                return None
            case 2:
                found = self._other.select_downstream(message, downstreams, attempts)
                return await found if isinstance(found, Awaitable) else found
            case _:
                return self._rng.choice(downstreams)

    @hookimpl
    def before_send(self, message: Message, downstream: Downstream) -> Message | None:
        if not message.rcpt_tos[0].isascii():
            raise Reject("no such letters")
        return message.with_header("X-Route", downstream.name) if self._rng.random() < 0.5 else None

    @hookimpl
    def after_send(self, message: Message) -> None:
        self._tasks.add(asyncio.ensure_future(self._later(message.id)))

    async def _later(self, name: str) -> None:
        await self._clock.sleep(3600)
        self._seen[name] = 1

    @hookimpl
    def check_downstreams(self, downstreams: Sequence[Downstream]) -> None:
        for downstream in downstreams:
            weight = downstream.options.get("weight", 1)
            if not isinstance(weight, int):
                raise TypeError(f"downstream {downstream.name}: options.weight must be a number")

    @hookimpl
    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


OPTIONS: Mapping[str, object] = {
    "to": "round_robin",
    "secret": "sesame",
    "signing": {"key": "a-key-of-mine"},
    "url": "https://in-the-url@a.example",
}

test_one_that_does_all_that_is_allowed = conformance(
    Good, OPTIONS, downstream_options=[{"weight": 3}, {}], secrets=["in-the-url"]
)


class Works:
    """Chooses the first; to be broken."""

    @hookimpl
    def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        return downstreams[0]


class RaisesOnTheNullSender:
    @hookimpl
    def select_downstream(self, message: Message, downstreams: Sequence[Downstream]) -> Downstream:
        if not message.mail_from:
            raise LookupError("who is it")
        return downstreams[0]


class RaisesWhenTold(Works):
    @hookimpl
    async def after_send(self, attempt: Attempt) -> None:
        await asyncio.sleep(0)
        assert attempt.outcome.reply, "no reply"


class RefusesWhenTold(Works):
    @hookimpl
    def after_send(self, attempt: Attempt) -> None:
        if attempt.seconds > 1:
            raise Defer("too late for that")


class SendsNothing(Works):
    @hookimpl
    def before_send(self, message: Message) -> Message:
        return message.replace(rcpt_tos=message.rcpt_tos[1:])


class IsSlowWithMany:
    @hookimpl
    async def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        await asyncio.sleep(0 if len(downstreams) <= 50 else 60)
        return downstreams[0]


class HoldsTheLoopForBigMessages:
    @hookimpl
    def select_downstream(self, message: Message, downstreams: Sequence[Downstream]) -> Downstream:
        while message.size > 1_000_000:
            pass
        return downstreams[0]


class Clings:
    """Chooses what it was offered first of all."""

    def __init__(self) -> None:
        self._chosen: Downstream | None = None

    @hookimpl
    def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        self._chosen = self._chosen or downstreams[0]
        return self._chosen


class SendsAnother(Works):
    def __init__(self) -> None:
        self._message: Message | None = None

    @hookimpl
    def before_send(self, message: Message) -> Message | None:
        before, self._message = self._message, message
        return before


class WantsTwo:
    @hookimpl
    def select_downstream(
        self, downstreams: Sequence[Downstream], attempts: Sequence[Attempt]
    ) -> Downstream:
        return downstreams[0] if attempts or len(downstreams) > 1 else downstreams[1]


class CountsToSixty:
    @hookimpl
    def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        return (
            dict(zip(range(60), downstreams, strict=True))[0]
            if len(downstreams) > 60
            else downstreams[0]
        )


class RemembersOneMessage:
    """Keeps what belongs to one message in the object, over an await."""

    def __init__(self) -> None:
        self._offered: Sequence[Downstream] = ()

    @hookimpl
    async def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        self._offered = downstreams
        await asyncio.sleep(0)
        return self._offered[0]


class SharesItsTurns:
    _turns: ClassVar[list[str]] = []

    @hookimpl
    def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        self._turns.append(downstreams[0].name)
        return downstreams[len(self._turns) % len(downstreams)]


class Turn:
    def __init__(self) -> None:
        self.number = 0


class SharesAnObject:
    """As one that is made as a default is."""

    def __init__(self, algorithms: Algorithms, turn: Turn = Turn()) -> None:  # noqa: B008 - its mistake
        del algorithms
        self._turn = turn

    @hookimpl
    def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        self._turn.number += 1
        return downstreams[self._turn.number % len(downstreams)]


class KeepsWhatItLooksAt(Works):
    def __init__(self) -> None:
        self._weights: dict[str, object] = {}

    @hookimpl
    def check_downstreams(self, downstreams: Sequence[Downstream]) -> None:
        self._weights.update({one.name: one.options.get("weight") for one in downstreams})


class RefusesWhatIsRight(Works):
    @hookimpl
    def check_downstreams(self, downstreams: Sequence[Downstream]) -> None:
        if len(downstreams) > 50:
            raise ValueError("so many")


class LeavesATask(Works):
    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    @hookimpl
    def after_send(self) -> None:
        self._tasks.append(asyncio.ensure_future(self.later()))

    async def later(self) -> None:
        await asyncio.sleep(60)


class CannotClose(Works):
    @hookimpl
    def close(self) -> None:
        raise OSError("it is closed")


class ShowsItsSecret(Works):
    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return f"ShowsItsSecret({self._secret})"


class PrintsItsSecret(Works):
    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens

    def __str__(self) -> str:
        return f"to be used: {self._tokens}"

    def __repr__(self) -> str:
        return "PrintsItsSecret()"


class QuotesWhatIsNoMapping(Works):
    def __init__(self, signing: object) -> None:
        if not isinstance(signing, Mapping):
            raise TypeError(f"no mapping: {signing}")


class QuotesWhatIsNoKey(Works):
    def __init__(self, signing: object) -> None:
        if isinstance(signing, Mapping) and not signing["key"].isalnum():
            raise ValueError(f"no key: {signing}")


class LogsTheContent(Works):
    @hookimpl
    def before_send(self, message: Message) -> None:
        log.debug("to send", extra={"fields": {"content": message.content}})


class LogsItsSecret(Works):
    def __init__(self, url: str) -> None:
        self._url = url

    @hookimpl
    def after_send(self) -> None:
        log.info("posted to %s", self._url)


class IsMadeOnce(Works):
    """As one that listens on a port of its own, which the old one still has."""

    _open: ClassVar[set[object]] = set()

    def __init__(self) -> None:
        if self._open:
            raise RuntimeError("there is one already")
        self._open.add(self)

    @hookimpl
    def close(self) -> None:
        self._open.discard(self)


class FailsBesideANewer(Works):
    _newest: ClassVar[list[object]] = []

    def __init__(self) -> None:
        self._newest[:] = [self]

    @hookimpl
    def after_send(self) -> None:
        if self._newest != [self]:
            raise RuntimeError("somebody else has it now")


class KnowsItsFirstDownstreams:
    """Learns the downstreams for good, from the first message."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    @hookimpl
    def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        names = {one.name for one in downstreams}
        if not self._names and names <= {"a0", "a1", "a2"} and len(names) == 3:
            self._names = names
        if self._names and "b0" in names:
            raise KeyError("b0")
        return downstreams[0]


BROKEN: Sequence[tuple[type, str, str]] = (
    (RaisesOnTheNullSender, "never_raises_on_any_history", "raised LookupError"),
    (RaisesWhenTold, "never_raises_on_any_history", "AssertionError: no reply"),
    (RefusesWhenTold, "never_raises_on_any_history", "too late for that"),
    (SendsNothing, "never_raises_on_any_history", "a message with no recipient"),
    (IsSlowWithMany, "ends", "select_downstream took too long: more than 0.5 s"),
    (HoldsTheLoopForBigMessages, "ends", "select_downstream of .* has not come back within 0.5 s"),
    (Clings, "returns_only_what_was_offered", "returned [ab]., which was not offered"),
    (SendsAnother, "returns_only_what_was_offered", "before_send of message-1 returned message-0 "),
    (WantsTwo, "copes_with_one_downstream", "raised IndexError"),
    (CountsToSixty, "copes_with_a_hundred_downstreams", "raised ValueError"),
    (RemembersOneMessage, "keeps_concurrent_messages_apart", "which was not offered"),
    (SharesItsTurns, "keeps_users_apart", "has changed what SharesItsTurns holds for another"),
    (SharesAnObject, "keeps_users_apart", "has changed what SharesAnObject holds for another"),
    (KeepsWhatItLooksAt, "check_downstreams_changes_nothing", "has changed what the plugin holds"),
    (RefusesWhatIsRight, "check_downstreams_changes_nothing", "refuses what it should take: .* so many"),
    (LeavesATask, "close_leaves_nothing_running", "left behind by close: .*later"),
    (CannotClose, "close_leaves_nothing_running", "close raised OSError"),
    (ShowsItsSecret, "tells_no_secret", r"a secret is in its repr: ShowsItsSecret\(\[SECRET\]\)"),
    (PrintsItsSecret, "tells_no_secret", "a secret is in its str"),
    (QuotesWhatIsNoMapping, "tells_no_secret", "a secret is in the refusal of another signing"),
    (QuotesWhatIsNoKey, "tells_no_secret", "a secret is in the refusal of another signing"),
    (LogsTheContent, "tells_no_secret", "a secret is in the log, of "),
    (
        LogsItsSecret,
        "tells_no_secret",
        r"a secret is in the log, of .*: posted to https://a.example/\[SECRET\]",
    ),
    (IsMadeOnce, "is_made_anew_after_a_reload", "not reloaded: .*there is one already"),
    (FailsBesideANewer, "is_made_anew_after_a_reload", "raised RuntimeError"),
    (KnowsItsFirstDownstreams, "is_kept_when_downstreams_change", "KeyError: 'b0'"),
)
SECRETS: Mapping[type, Mapping[str, object]] = {
    ShowsItsSecret: {"secret": "sesame"},
    PrintsItsSecret: {"tokens": ["sesame"]},
    QuotesWhatIsNoMapping: {"signing": {"key": "sesame"}},
    QuotesWhatIsNoKey: {"signing": {"key": "sesame"}},
    LogsItsSecret: {"url": "https://a.example/?sesame"},
}


@pytest.mark.parametrize(("plugin", "rule", "says"), BROKEN)
def test_each_rule_finds_who_breaks_it(plugin: type, rule: str, says: str) -> None:
    test = conformance(plugin, SECRETS.get(plugin), secrets=["?sesame"], limit_s=LIMIT_S)
    with pytest.raises(AssertionError, match=f"(?s){says}"):
        test(rule)


def test_there_is_somebody_who_breaks_it_for_each_rule() -> None:
    assert {rule for _, rule, _ in BROKEN} == set(CHECKS)


class CountsWhatTheOldOneServes(Works):
    newest: ClassVar[list[object]] = []
    served: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.newest[:] = [self]
        self.served[:] = [0]

    @hookimpl
    def after_send(self) -> None:
        self.served[0] += self.newest != [self]


def test_messages_are_in_flight_while_a_plugin_is_made_anew() -> None:
    conformance(CountsWhatTheOldOneServes)("is_made_anew_after_a_reload")
    assert CountsWhatTheOldOneServes.served == [40]  # two attempts of each of twenty messages


def test_a_failure_says_the_seed() -> None:
    with pytest.raises(AssertionError, match=r"such mistakes with seed 7$"):
        conformance(RaisesOnTheNullSender, seed=7)("never_raises_on_any_history")


def test_every_way_to_name_a_plugin_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from smtp_router import hookimpl\n@hookimpl\ndef close():\n    1 / 0\n")
    module = ModuleType("mine")
    module.__dict__["close"] = hookimpl(lambda: 1 / 0)
    for plugin in (file, str(file), module, CannotClose, CannotClose()):
        with pytest.raises(AssertionError, match="close raised"):
            conformance(plugin)("close_leaves_nothing_running")


@pytest.mark.parametrize(
    ("plugin", "rule"),
    [
        (Works(), "keeps_users_apart"),
        ("failover", "keeps_users_apart"),
        (Works(), "is_made_anew_after_a_reload"),
        (Works(), "is_kept_when_downstreams_change"),
        (Works(), "check_downstreams_changes_nothing"),
    ],
)
def test_a_rule_that_has_nothing_to_say_is_skipped(plugin: object, rule: str) -> None:
    with pytest.raises(pytest.skip.Exception):
        conformance(plugin)(rule)


def test_an_author_sees_each_rule_as_a_test_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from smtp_router import hookimpl
        from smtp_router.testing import conformance

        class Mine:
            @hookimpl
            def select_downstream(self, downstreams):
                return downstreams[1]

        test_conformance = conformance(Mine)
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:asyncio")
    result.assert_outcomes(passed=5, failed=6, skipped=1)
    result.stdout.fnmatch_lines(["FAILED *::test_conformance[[]copes_with_one_downstream]*"])
