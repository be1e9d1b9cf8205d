"""Whether an algorithm gives each downstream its share of the messages."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from smtp_router.core.downstream import Downstream
from smtp_router.core.message import Message
from smtp_router.testing.plugins import LoadedPlugin, make_plugin
from smtp_router.testing.values import make_attempt, make_downstream, make_message
from smtp_router.testing.watched import LIMIT_S, watched

_ONE = 1e-9
"""How far from 1 the sum of all shares may be."""


def assert_share(
    algorithm: object,
    shares: Mapping[str, float] | Mapping[Downstream, float],
    *,
    messages: int = 10_000,
    error: float = 1e-9,
    within: float | None = None,
    options: Mapping[str, object] | None = None,
    downstream_options: Mapping[str, Mapping[str, object]] | None = None,
    message: Callable[[int], Message] | None = None,
    tell: bool = True,
    seed: int = 1,
) -> None:
    """Route messages, and fail unless each downstream has had its share of them.

    For an algorithm that draws, counts vary. One that is right, each draw apart from all others, fails
    here with a probability of `error` at most: by Chernoff's bound, a downstream with the share p has
    the part x of n messages, or one still further away from p, with a probability of at most
    2·exp(-n·D), where D = x·ln(x/p) + (1-x)·ln((1-x)/(1-p)). That is to be below `error` divided by the
    number of downstreams (Boole's inequality). Who counts, and so is exact, is tested with `within`.

    Args:
        algorithm: whatever `make_plugin` takes.
        shares: what part of the messages each is to have, by name or by the downstream itself; offered
            in this order, all of them each time. They add up to 1.
        messages: how many to route.
        error: how probable it may be that an algorithm fails here that is right.
        within: by how many messages a count may be off, in place of `error`.
        options: of the algorithm.
        downstream_options: of downstreams given by name.
        message: makes the message of a number; by default all have other senders and recipients.
        tell: whether the algorithm is told, by `after_send`, that each message was delivered.
        seed: of the `random.Random` that it gets if it asks for one.

    Raises:
        AssertionError: a share is off, or a message went nowhere; says what was expected, what came, and
            what was allowed.
        ValueError: the shares make no sense.
        PluginError: the algorithm failed.

    Source: H. Chernoff, A Measure of Asymptotic Efficiency, 1952; W. Hoeffding, Probability
        Inequalities for Sums of Bounded Random Variables, 1963, theorem 1.
    """
    expected = _expected(shares, downstream_options or {})
    plugin = make_plugin(algorithm, options, seed=seed, downstreams=list(expected))
    make = message or numbered

    async def route() -> Counter[str]:
        return await _counts(plugin, list(expected), [make(one) for one in range(messages)], tell=tell)

    counts = watched(route, LIMIT_S)
    wrong, lines = False, []
    for downstream, share in expected.items():
        low, high = _allowed(share, messages, error / len(expected), within)
        count = counts[downstream.name]
        is_wrong = not low <= count <= high
        wrong |= is_wrong
        lines.append(
            f"{'>' if is_wrong else ' '} {downstream.name}: expected {share:.4g} of them, "
            f"{share * messages:.6g}; allowed {low} to {high}; got {count}, {count / messages:.4g}"
        )
    if wrong:
        why = f"within {within:g} messages" if within is not None else f"probability of error {error:g}"
        raise AssertionError("\n".join([f"shares of {messages} messages ({why}):", *lines]))


def numbered(number: int) -> Message:
    """A message that has neither sender nor recipient nor domain in common with another number's."""
    return make_message(
        id=f"message-{number}",
        mail_from=f"sender{number}@a{number}.example",
        rcpt_tos=(f"rcpt{number}@b{number}.example",),
    )


def _expected(
    shares: Mapping[str, float] | Mapping[Downstream, float],
    options: Mapping[str, Mapping[str, object]],
) -> dict[Downstream, float]:
    expected = {
        one if isinstance(one, Downstream) else make_downstream(one, options=options.get(one)): share
        for one, share in shares.items()
    }
    if abs(math.fsum(shares.values()) - 1) > _ONE or min(shares.values()) < 0:
        raise ValueError(f"shares are parts of 1, which add up to it, not {list(shares.values())}")
    if strange := options.keys() - {one.name for one in expected}:
        raise ValueError(f"there are options for {', '.join(sorted(strange))}, but no share")
    return expected


async def _counts(
    plugin: LoadedPlugin, downstreams: Sequence[Downstream], messages: Sequence[Message], *, tell: bool
) -> Counter[str]:
    counts: Counter[str] = Counter()
    for message in messages:
        chosen = await plugin.select_downstream(downstreams, message=message)
        if chosen is None:
            raise AssertionError(f"{plugin.name} chose nothing for {message.id}")
        counts[chosen.name] += 1
        if tell:
            await plugin.after_send(message, make_attempt(chosen))
    await plugin.close()
    return counts


def _allowed(share: float, messages: int, error: float, within: float | None) -> tuple[int, int]:
    """The smallest and the largest count that is right."""
    mean = share * messages
    if within is not None:
        return max(0, math.ceil(mean - within - _ONE)), min(messages, math.floor(mean + within + _ONE))
    enough = math.log(2 / error) / messages
    return (
        _first(math.floor(mean), -1, lambda count: _divergence(count / messages, share) > enough),
        _first(
            math.ceil(mean), messages + 1, lambda count: _divergence(count / messages, share) > enough
        ),
    )


def _divergence(part: float, share: float) -> float:
    """How far a part is from a share: the divergence of Kullback and Leibler, in nats."""
    if share in (0.0, 1.0):
        return 0.0 if part == share else math.inf
    return sum(
        one * math.log(one / other) for one, other in ((part, share), (1 - part, 1 - share)) if one > 0
    )


def _first(within: int, beyond: int, is_off: Callable[[int], bool]) -> int:
    """The last count that is not off, on the way from one that is not to one beyond all."""
    while abs(beyond - within) > 1:
        middle = (within + beyond) // 2
        if is_off(middle):
            beyond = middle
        else:
            within = middle
    return within
