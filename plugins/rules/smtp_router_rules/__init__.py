"""Ordered rules: the first that holds for a message says where it goes.

A rule whose downstreams are not offered, since they were tried or rest, gives way as its `else` says.
An algorithm that is asked may be `async`, and may have no opinion: then that counts as not offered.
"""

import inspect
from collections.abc import Awaitable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum

from smtp_router import Algorithms, Attempt, Defer, Downstream, Message, hookimpl, note
from smtp_router_rules import _times
from smtp_router_rules._conditions import Condition
from smtp_router_rules._facts import Facts
from smtp_router_rules._reading import Defaults, at, condition
from smtp_router_rules._targets import Answer, Target, Targets, each_rule

__all__ = ["Rules"]

_Steps = Generator[Answer, Downstream | None, Downstream | None]
"""Gives what is to be awaited, if it is awaitable, and is sent what it came to."""


class _Else(StrEnum):
    DEFAULT = "default"
    NEXT = "next"
    DEFER = "defer"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    name: str
    holds: Condition
    to: Target
    otherwise: _Else


class Rules:
    """Routes by rules.

    Args:
        rules: in their order, each with `if` and `to`, and perhaps `name`, `else` and `recipients`.
        tiers: names for choices of downstreams, for `to` and `default`.
        default: where all other mail goes; none: to the first downstream that is offered.
        zone: the time zone of times that name none.
        algorithms: makes those that are named.

    Raises:
        ValueError: an option is not valid; the text names it.
    """

    def __init__(
        self,
        rules: list[Mapping[str, object]],
        *,
        algorithms: Algorithms,
        tiers: Mapping[str, object] | None = None,
        default: object = None,
        zone: str = "UTC",
    ) -> None:
        with at("zone"):
            found = _times.zone(zone)
        self._targets = Targets(tiers, algorithms)
        self._rules = tuple(self._read(place, rule, found) for place, rule in each_rule(rules))
        nothing_said = Target(text="the first one", place="default")
        self._default = nothing_said if default is None else self._targets.read("default", default)

    def _read(self, place: str, rule: Mapping[str, object], zone: tzinfo) -> _Rule:
        name, otherwise = rule.get("name", ""), rule.get("else", _Else.DEFAULT)
        recipients = rule.get("recipients", "all")
        if not isinstance(name, str) or ("name" in rule and not name):
            raise ValueError(f"{place}.name: must be text, not {name!r}")
        if not isinstance(otherwise, str) or otherwise not in list(_Else):
            raise ValueError(f"{place}.else: must be {', '.join(_Else)}, not {otherwise!r}")
        if recipients not in ("all", "any"):
            raise ValueError(f"{place}.recipients: must be all or any, not {recipients!r}")
        return _Rule(
            name=f'{place} "{name}"' if name else place,
            holds=condition(f"{place}.if", rule["if"], Defaults(every=recipients == "all", zone=zone)),
            to=self._targets.read(f"{place}.to", rule["to"]),
            otherwise=_Else(otherwise),
        )

    @hookimpl
    def check_downstreams(self, downstreams: Sequence[Downstream]) -> None:
        """See that every name in the rules is one of a downstream.

        Raises:
            ValueError: one is not; names the option.
        """
        self._targets.check(downstreams)

    @hookimpl
    def select_downstream(
        self, message: Message, downstreams: Sequence[Downstream], attempts: Sequence[Attempt]
    ) -> Downstream | Awaitable[Downstream | None] | None:
        """Go through the rules.

        Returns:
            One of `downstreams`, or `None`: none of those that the rules leave is offered. An awaitable
            of that, if an algorithm that is asked is `async`.

        Raises:
            Defer: the rule that holds says so, as its downstreams are not offered.
        """
        steps = self._steps(message, downstreams, attempts)
        try:
            answer = next(steps)
            while not inspect.isawaitable(answer):
                answer = steps.send(answer)
        except StopIteration as end:
            return _result(end)
        return _awaited(steps, answer)

    def _steps(
        self, message: Message, downstreams: Sequence[Downstream], attempts: Sequence[Attempt]
    ) -> _Steps:
        facts = Facts(message)
        for rule in self._rules:
            why = rule.holds.why(facts)
            if why is None:
                continue
            note(f"{rule.name}: {why}")
            if offered := rule.to.among(downstreams):
                chosen = yield rule.to.ask(message, offered, attempts)
                if chosen is not None:
                    return chosen
            note(f"{rule.name}: {rule.to.text} is not to be had; else: {rule.otherwise}")
            if rule.otherwise is _Else.DEFER:
                raise Defer("No server for this message is free now", code=451, enhanced="4.4.1")
            if rule.otherwise is _Else.DEFAULT:
                break
        offered = self._default.among(downstreams)
        note(f"default: {self._default.text}" + ("" if offered else ", which is not to be had"))
        return (yield self._default.ask(message, offered, attempts)) if offered else None


async def _awaited(steps: _Steps, answer: Answer) -> Downstream | None:
    """The same, from the first answer on that is to be awaited."""
    try:
        while True:
            answer = steps.send(await answer if inspect.isawaitable(answer) else answer)
    except StopIteration as end:
        return _result(end)


def _result(end: StopIteration) -> Downstream | None:
    chosen: Downstream | None = end.value
    return chosen
