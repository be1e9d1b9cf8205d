"""How hooks are called: ask, chain and tell.

A plain pluggy call cannot do it: it stops at the first `async` hook's coroutine, and one plugin that
raises silences all others. So pluggy validates (see `plugin.py`), and these few lines call, in the
configuration's order. Whatever a plugin does wrong comes out as a `PluginError` that names it.
"""

import asyncio
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from itertools import permutations
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from smtp_router.core.address import is_address
from smtp_router.core.downstream import Downstream
from smtp_router.core.errors import PluginError, Refusal
from smtp_router.core.message import Message, has_octets
from smtp_router.core.outcome import Attempt
from smtp_router.core.trace import Answers, Trace, Who, speak
from smtp_router.errand import in_task

log = logging.getLogger(__name__)

_name = attrgetter("name")


class MisbehaviourError(PluginError):
    """What we say of a plugin, so it can be repeated; what a plugin says may hold a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookCall:
    """One plugin's implementation of one hook.

    Args:
        plugin: the plugin's name, for errors and logs.
        hook: the hook's name.
        function: the bound function.
        arguments: which of the hook's arguments it takes, by position in the hook's own order.
        shared: the answers of the same hook of another instance.
    """

    plugin: str
    hook: str
    function: Callable[..., Any]
    arguments: tuple[int, ...]
    shared: InitVar[Answers | None] = None
    who: Who = field(init=False, repr=False, compare=False)
    """Plugin and hook, for traces."""
    answers: Answers = field(init=False, repr=False, compare=False)
    """Of this hook, for traces."""
    _call: "_Calling" = field(init=False, repr=False, compare=False)
    _only: int | None = field(init=False, repr=False, compare=False)
    """Which argument it takes, if that is one, as most do: without a function between, 0.1 us less."""

    def __post_init__(self, shared: Answers | None) -> None:
        """See how to call it."""
        answers = Answers((self.plugin, self.hook)) if shared is None else shared
        object.__setattr__(self, "who", answers.who)
        object.__setattr__(self, "answers", answers)
        object.__setattr__(self, "_call", _CALLING[self.arguments])
        only = self.arguments[0] if len(self.arguments) == 1 else None
        object.__setattr__(self, "_only", only)

    def begin(self, values: tuple[object, ...], trace: Trace | None = None) -> Any:  # noqa: ANN401
        """Call it, and let nothing out but a value, a refusal or a PluginError.

        Most hooks are a plain `def` and end here: a coroutine for each call would cost more than they.

        Args:
            values: all of the hook's arguments, in its own order.
            trace: where it is written down what the plugin notes, and that it raised.

        Returns:
            What it returned; an awaitable goes to `finish`.

        Raises:
            Defer, Reject: the plugin's decision.
            PluginError: anything else.
        """
        speak(None if trace is None else (trace, self.who))
        only, call = self._only, self._call  # called as a method, it would be looked up slowly
        try:
            return call(self.function, values) if only is None else self.function(values[only])
        except BaseException as error:
            failure = self.failure(error, trace)
            if failure is None:
                raise
            raise failure from error

    async def finish(
        self,
        begun: Awaitable[object],
        timeout_s: float,
        until: float = math.inf,
        trace: Trace | None = None,
    ) -> Any:  # noqa: ANN401 - as the hook has it
        """Await what `begin` returned.

        Args:
            begun: that.
            timeout_s: how long it may take.
            until: the instant (of the event loop's clock) by which it has to end in any case.
            trace: as above.

        Raises:
            Defer, Reject, PluginError: as above.
        """
        end = min(asyncio.get_running_loop().time() + timeout_s, until)
        timer = None
        try:
            await in_task()
            async with asyncio.timeout_at(end) as timer:
                return await begun
        except BaseException as error:
            late = timer is not None and timer.expired()
            if timer is None and inspect.iscoroutine(begun):
                begun.close()  # cancelled before it could begin
            failure = self.failure(error, trace, late=late)
            if failure is None:
                raise
            raise failure from error

    async def __call__(self, values: tuple[object, ...], timeout_s: float) -> Any:  # noqa: ANN401
        """Both in one go.

        Raises:
            Defer, Reject, PluginError: as above.
        """
        begun = self.begin(values)
        return await self.finish(begun, timeout_s) if inspect.isawaitable(begun) else begun

    def failure(
        self, error: BaseException, trace: Trace | None, *, late: bool = False
    ) -> MisbehaviourError | None:
        """What is to be raised for an exception of the plugin's; `None`: that exception itself.

        Of its text nothing is repeated, unless it is ours.
        """
        if isinstance(error, Refusal) and hasattr(error, "reply"):
            if trace:
                trace.words.append((self.who, f"{type(error).__name__}: {error.reply}", False))
            return None
        # SystemExit and the like, too: a plugin does not get to stop the router.
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the router itself is being cancelled
                return None
        what = "took too long" if late else f"raised {type(error).__name__}"
        if isinstance(error, MisbehaviourError):
            what = f"failed: {error}"
        found = MisbehaviourError(self.plugin, f"{self.hook} {what}")
        if trace:
            trace.words.append((self.who, found.message, False))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """All hooks of one user, compiled: who implements what, in order."""

    select: tuple[HookCall, ...] = ()
    before: tuple[HookCall, ...] = ()
    after: tuple[HookCall, ...] = ()
    timeout_s: float = 5.0

    async def select_downstream(
        self,
        message: Message,
        downstreams: Sequence[Downstream],
        attempts: Sequence[Attempt],
        *,
        within_s: float = math.inf,
        trace: Trace | None = None,
    ) -> Downstream | None:
        """Ask: the first plugin that returns a downstream wins, the rest are not called.

        `within_s` is how long all of them may take together, `trace` where their answers are kept.

        Raises:
            Defer, Reject: a plugin's decision.
            PluginError: a plugin failed, or returned something that was not offered.
        """
        found = self.begin_select(message, downstreams, attempts, within_s, trace)
        return found if found is None or isinstance(found, Downstream) else await found

    def begin_select(
        self,
        message: Message,
        downstreams: Sequence[Downstream],
        attempts: Sequence[Attempt],
        within_s: float = math.inf,
        trace: Trace | None = None,
    ) -> Downstream | Coroutine[Any, Any, Downstream | None] | None:
        """The same: the answer, or what is still to be awaited if a plugin takes its time."""
        calls = iter(self.select)
        for call in calls:
            found = call.begin((message, downstreams, attempts), trace)
            if found.__class__ is not Downstream and inspect.isawaitable(found):
                until = asyncio.get_running_loop().time() + within_s
                values = message, downstreams, attempts
                return self._go_on_asking(found, call, calls, values, until=until, trace=trace)
            chosen = one_of(call, found, downstreams, trace)
            if chosen is not None:
                return chosen
        return None

    async def _go_on_asking(
        self,
        begun: Awaitable[object],
        call: HookCall,
        others: Iterator[HookCall],
        values: tuple[Message, Sequence[Downstream], Sequence[Attempt]],
        *,
        until: float,
        trace: Trace | None,
    ) -> Downstream | None:
        found = await call.finish(begun, self.timeout_s, until, trace)
        chosen = one_of(call, found, values[1], trace)
        for other in others:
            if chosen is not None:
                break
            found = other.begin(values, trace)
            if inspect.isawaitable(found):
                found = await other.finish(found, self.timeout_s, until, trace)
            chosen = one_of(other, found, values[1], trace)
        return chosen

    async def before_send(
        self,
        message: Message,
        downstream: Downstream,
        *,
        within_s: float = math.inf,
        trace: Trace | None = None,
    ) -> Message:
        """Chain: each plugin sees the last one's result.

        `within_s` is how long all of them may take together, `trace` where their answers are kept.

        Raises:
            Defer, Reject: a plugin's decision.
            PluginError: a plugin failed, or returned something that is no message.
        """
        changed = self.begin_before_send(message, downstream, within_s, trace)
        return changed if isinstance(changed, Message) else await changed

    def begin_before_send(
        self,
        message: Message,
        downstream: Downstream,
        within_s: float = math.inf,
        trace: Trace | None = None,
    ) -> Message | Coroutine[Any, Any, Message]:
        """The same: the message, or what is still to be awaited if a plugin takes its time."""
        calls = iter(self.before)
        for call in calls:
            changed = call.begin((message, downstream), trace)
            if changed.__class__ is not Message and inspect.isawaitable(changed):
                until = asyncio.get_running_loop().time() + within_s
                values = message, downstream
                return self._go_on_changing(changed, call, calls, values, until=until, trace=trace)
            message = _changed(call, message, changed, trace)
        return message

    async def _go_on_changing(
        self,
        begun: Awaitable[object],
        call: HookCall,
        others: Iterator[HookCall],
        values: tuple[Message, Downstream],
        *,
        until: float,
        trace: Trace | None,
    ) -> Message:
        message, downstream = values
        changed = await call.finish(begun, self.timeout_s, until, trace)
        message = _changed(call, message, changed, trace)
        for other in others:
            changed = other.begin((message, downstream), trace)
            if inspect.isawaitable(changed):
                changed = await other.finish(changed, self.timeout_s, until, trace)
            message = _changed(other, message, changed, trace)
        return message

    async def after_send(
        self, message: Message, attempt: Attempt, *, trace: Trace | None = None
    ) -> None:
        """Tell: every plugin; a failure is logged and changes nothing."""
        rest = self.begin_after_send(message, attempt, trace)
        if rest is not None:
            await rest

    def begin_after_send(
        self,
        message: Message,
        attempt: Attempt,
        trace: Trace | None = None,
        others: Iterator[HookCall] | None = None,
    ) -> Coroutine[Any, Any, None] | None:
        """Tell plugins until one takes its time; what is still to be awaited, if anything is.

        `others` are those that are still to be told, by default all.
        """
        calls = iter(self.after) if others is None else others
        for call in calls:
            try:
                found = call.begin((message, attempt), trace)
            except (PluginError, Refusal):
                _log_failure(call, message)
            else:
                if found is not None and inspect.isawaitable(found):
                    return self._go_on_telling(found, call, calls, message, attempt, trace=trace)
        return None

    async def _go_on_telling(
        self,
        begun: Awaitable[object],
        call: HookCall,
        others: Iterator[HookCall],
        message: Message,
        attempt: Attempt,
        *,
        trace: Trace | None,
    ) -> None:
        try:
            await call.finish(begun, self.timeout_s, trace=trace)
        except (PluginError, Refusal):
            _log_failure(call, message)
        rest = self.begin_after_send(message, attempt, trace, others)
        if rest is not None:
            await rest


_Calling = Callable[[Callable[..., Any], tuple[Any, ...]], Any]


def _calling(positions: tuple[int, ...]) -> _Calling:
    """How to call a function with those of a hook's arguments that are in these places.

    Without a star, the interpreter calls it without leaving its own loop: 0.1 us less.
    """
    match positions:
        case (one,):
            return lambda function, values: function(values[one])
        case (one, two):
            return lambda function, values: function(values[one], values[two])
        case (one, two, three):
            return lambda function, values: function(values[one], values[two], values[three])
        case _:
            return lambda function, _: function()


_CALLING: Mapping[tuple[int, ...], _Calling] = MappingProxyType(
    {
        positions: _calling(positions)
        for count in range(4)  # no hook has more arguments
        for positions in permutations(range(3), count)
    }
)


def _log_failure(call: HookCall, message: Message) -> None:
    fields = {"id": message.id, "plugin": call.plugin, "hook": call.hook}
    log.exception("plugin failed", extra={"fields": fields})  # noqa: LOG004 - called by handlers


def _changed(call: HookCall, message: Message, changed: object, trace: Trace | None) -> Message:
    """The message as a plugin has left it.

    Raises:
        PluginError: what it returned is none.
    """
    if changed is None:
        if trace is not None:
            trace.words.append(call.answers[None])
        return message
    if trace is not None:
        trace.words.append(call.answers["changed"])
    if not isinstance(changed, Message):
        what = f"{call.hook} returned a {type(changed).__name__}, not a Message or None"
        raise PluginError(call.plugin, what)
    if (
        changed.rcpt_tos is not message.rcpt_tos
        or changed.mail_from is not message.mail_from
        or not has_octets(changed)
    ):
        _check_changed(call, message, changed)
    return changed


def one_of(
    call: HookCall, found: object, downstreams: Sequence[Downstream], trace: Trace | None = None
) -> Downstream | None:
    """What a plugin has chosen, as it is offered now: it may have kept it from an earlier call.

    Raises:
        PluginError: it was not offered.
    """
    if found is None:
        if trace is not None:
            trace.words.append(call.answers[None])
        return None
    for chosen in downstreams:
        if chosen is found:
            break
    else:
        chosen = _namesake(call, found, downstreams)
    if trace is not None:
        trace.words.append(call.answers[chosen.name])
    return chosen


def _namesake(call: HookCall, found: object, downstreams: Sequence[Downstream]) -> Downstream:
    if isinstance(found, Downstream):
        for downstream in downstreams:
            if downstream.name == found.name:
                return downstream
    what = found.name if isinstance(found, Downstream) else f"a {type(found).__name__}"
    offered = ", ".join(map(_name, downstreams))
    message = f"{call.hook} returned {what}, which was not offered (offered: {offered})"
    raise MisbehaviourError(call.plugin, message)


async def close(plugins: Iterable["HookCall"], timeout_s: float) -> None:
    """Tell plugins that they are not used any more; a failure is logged."""
    for call in plugins:
        try:
            await call((), timeout_s)
        except (PluginError, Refusal):
            fields = {"plugin": call.plugin, "hook": call.hook}
            log.exception("plugin failed", extra={"fields": fields})


def _check_changed(call: HookCall, before: Message, after: Message) -> None:
    """A plugin's envelope goes through the same grammar as a client's: what is sent is well-formed.

    Raises:
        PluginError: an address that is none, no recipient, or content that is not octets.
    """
    problem = ""
    recipients: object = after.rcpt_tos  # typed, which binds no plugin
    if not has_octets(after):
        problem = f"content of type {type(after.content).__name__}, not bytes"
    elif not isinstance(recipients, tuple):
        problem = f"rcpt_tos of type {type(recipients).__name__}, not a tuple"
    elif not recipients:
        problem = "no recipient"
    elif after.mail_from != before.mail_from and not is_address(after.mail_from):
        problem = "a malformed mail_from"
    elif recipients != before.rcpt_tos and not all(
        address and is_address(address) for address in recipients
    ):
        problem = "a malformed recipient"
    if problem:
        raise PluginError(call.plugin, f"{call.hook} returned a message with {problem}")
