"""A message that was here before: answered at once, or brought to whom it was brought before."""

import asyncio

from smtp_router.config.settings import Settings
from smtp_router.core.decision import IN_DOUBT
from smtp_router.core.downstream import Downstream
from smtp_router.core.message import Message
from smtp_router.core.reply import Reply
from smtp_router.errand import in_task
from smtp_router.routing.doubts import Doubts
from smtp_router.routing.shield import to_the_end
from smtp_router.state.doubts import Doubt, Kind


async def seen_before(
    doubts: Doubts, message: Message, settings: Settings, *, within_s: float
) -> Reply | Doubt | None:
    """Find out whether a message comes a second time.

    Args:
        doubts: those there are; one about this message may be among them.
        message: as the client gave it.
        settings: say whether such a message may be answered without being delivered.
        within_s: how long a first one may be waited for that is still on its way, in seconds.

    Returns:
        What the client hears; or else the doubt there is about the first one, if there is any.
    """
    if doubts.is_settled(message):
        doubt = await doubts.find(message)  # at once: nobody can go away meanwhile
    else:
        await in_task()
        try:
            async with asyncio.timeout(within_s):
                doubt = await doubts.find(message)
        except TimeoutError:
            return IN_DOUBT
    if doubt is None:
        return None
    if doubt.kind is Kind.UNHEARD:
        if not settings.duplicate_damping:
            doubts.forget(doubt)
        elif await to_the_end(doubts.take(doubt)):
            doubts.already_delivered(message, doubt)
            return delivered_already(doubt.id)
    doubts.second_copy(message, doubt)
    return doubt


def delivered_already(first: str) -> Reply:
    """What a client hears whose message was delivered before, under this id."""
    return Reply(code=250, enhanced="2.0.0", text=f"Delivered already as {first}")


def preferred(offered: tuple[Downstream, ...], doubt: Doubt | None) -> tuple[Downstream, ...]:
    """Of what could be offered to the plugins, only the one that may have the message, if it is there.

    It can tell a second copy from a first one, or at least both go the same way.
    """
    if doubt is None:
        return offered
    return tuple(one for one in offered if one.name == doubt.downstream) or offered
