"""What every plugin has to do, rule by rule: the ones that take nothing but the plugin itself.

Each function is a test: it raises `AssertionError`, which says what the plugin did.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import ModuleType

from smtp_router.core.errors import PluginError
from smtp_router.testing.clock import VirtualClock
from smtp_router.testing.histories import Histories
from smtp_router.testing.journey import Journeys
from smtp_router.testing.plugins import LoadedPlugin, make_plugin
from smtp_router.testing.state import shared_state_of, state_of
from smtp_router.testing.targets import is_ready
from smtp_router.testing.values import make_downstream, make_message, unreachable

MESSAGES = 200
MANY = 100


class NotApplicableError(Exception):
    """A rule has nothing to say about this plugin; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is tested, as `conformance` takes it."""

    target: object
    options: Mapping[str, object]
    downstream_options: Sequence[Mapping[str, object]]
    secrets: Sequence[str]
    seed: int
    limit_s: float

    @property
    def histories(self) -> Histories:
        """What happens; from the beginning, each time."""
        return Histories(self.seed, self.downstream_options)

    def load(self, clock: VirtualClock | None = None) -> LoadedPlugin:
        """The plugin, made anew unless it is an object already."""
        return make_plugin(self.target, self.options, clock=clock, seed=self.seed, limit_s=self.limit_s)

    @asynccontextmanager
    async def journeys(self) -> AsyncIterator[Journeys]:
        """Journeys through a plugin, in virtual time that goes by while it sleeps; closed in the end."""
        async with ticking(VirtualClock()) as clock:
            journeys = Journeys(self.load(clock), self.histories, clock)
            yield journeys
            with suppress(PluginError):  # what `close` does is a rule of its own
                await journeys.plugin.close()

    def said(self, what: Sequence[str]) -> str:
        """The first of some mistakes, and how to see it again."""
        return f"{what[0]}\n{len(what)} such mistakes with seed {self.seed}"


@asynccontextmanager
async def ticking(clock: VirtualClock) -> AsyncIterator[VirtualClock]:
    """A clock that goes on as long as somebody sleeps by it."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.001)
            if clock.sleeping:
                clock.advance(0.1)

    ticks = asyncio.ensure_future(tick())
    try:
        yield clock
    finally:
        ticks.cancel()


async def never_raises_on_any_history(case: Case) -> None:
    """No hook raises anything but Defer and Reject, whatever the message and what became of it."""
    async with case.journeys() as journeys:
        await _travel(journeys, MESSAGES)
    assert not journeys.raised, case.said(journeys.raised)


async def returns_only_what_was_offered(case: Case) -> None:
    """What it chooses is offered now, and before_send gives back the message it was given."""
    async with case.journeys() as journeys:
        await _travel(journeys, MESSAGES)
    assert not journeys.strays, case.said(journeys.strays)


async def _travel(journeys: Journeys, messages: int) -> None:
    histories = journeys.histories
    for message in histories.messages(messages):
        # Other downstreams all the time, as if the configuration changed between any two messages.
        prefix = histories.draw.choice("aab")
        await journeys.take(message, histories.downstreams(histories.draw.randint(1, 8), prefix))


async def ends(case: Case) -> None:
    """Every hook comes to an end within `limit_s`, also with a hundred downstreams and a big message."""
    head = b"".join(b"X-Field-%d: %b\r\n" % (number, b"x" * 60) for number in range(1000))
    content = head + b"\r\n" + b"x" * 5_000_000 + b"\r\n"
    recipients = tuple(f"rcpt{number}@b{number}.example" for number in range(1000))
    async with case.journeys() as journeys:
        offered = journeys.histories.downstreams(MANY)
        message = make_message(content=content, rcpt_tos=recipients)
        await journeys.take(message, offered, outcome=unreachable())


async def copes_with_one_downstream(case: Case) -> None:
    """The only downstream there is can be chosen, message after message."""
    await _copes(case, 1, MESSAGES)


async def copes_with_a_hundred_downstreams(case: Case) -> None:
    """A message can go down a list of a hundred."""
    await _copes(case, MANY, 3)


async def _copes(case: Case, downstreams: int, messages: int) -> None:
    async with case.journeys() as journeys:
        offered = journeys.histories.downstreams(downstreams)
        for message in journeys.histories.messages(messages):
            await journeys.take(message, offered, outcome=unreachable())
    mistakes = journeys.raised + journeys.strays
    assert not mistakes, case.said(mistakes)


async def keeps_concurrent_messages_apart(case: Case) -> None:
    """While many messages are under way at the same time, each is answered for itself."""
    async with case.journeys() as journeys:
        histories = journeys.histories
        everything = histories.downstreams(MANY)
        under_way = []
        for message in histories.messages(MESSAGES):
            few = histories.draw.sample(everything, histories.draw.randint(1, 5))
            under_way.append(journeys.take(message, few, turns=3))
        await asyncio.gather(*under_way)
    mistakes = journeys.raised + journeys.strays
    assert not mistakes, case.said(mistakes)


async def keeps_users_apart(case: Case) -> None:
    """One user's mail changes nothing for another user: a class keeps its state in the object."""
    async with case.journeys() as journeys:
        other = case.load().instance
        if is_ready(case.target) or isinstance(other, ModuleType | type):
            raise NotApplicableError("all users share a module, and what is made already")
        before = state_of(other), shared_state_of(type(other))
        await _travel(journeys, MESSAGES)
        assert (state_of(other), shared_state_of(type(other))) == before, (
            f"the mail of one user has changed what {type(other).__name__} holds for another"
        )


async def check_downstreams_changes_nothing(case: Case) -> None:
    """check_downstreams takes what is right, and changes nothing: the rest may be refused after all."""
    plugin = case.load()
    if "check_downstreams" not in plugin.hooks:
        raise NotApplicableError("it has no check_downstreams")
    before = state_of(plugin.instance)
    histories = case.histories
    for count in (1, 3, MANY):
        try:
            plugin.check_downstreams(histories.downstreams(count))
        except PluginError as error:
            raise AssertionError(f"check_downstreams refuses what it should take: {error}") from error
        assert state_of(plugin.instance) == before, "check_downstreams has changed what the plugin holds"
    for options in case.downstream_options:
        with suppress(PluginError):
            plugin.check_downstreams(
                [make_downstream(options={key: [[options[key]]] for key in options})]
            )
        assert state_of(plugin.instance) == before, "check_downstreams has changed what the plugin holds"
    await plugin.close()


async def close_leaves_nothing_running(case: Case) -> None:
    """close ends without an error, and no task of the plugin's is left behind it."""
    others = asyncio.all_tasks()
    async with case.journeys() as journeys:
        others |= asyncio.all_tasks()
        await _travel(journeys, 20)
        try:
            await journeys.plugin.close()
        except PluginError as error:
            raise AssertionError(str(error)) from error
        await asyncio.sleep(0)  # what was cancelled has its last turn
        left = asyncio.all_tasks() - others
        assert not left, f"left behind by close: {left}"
