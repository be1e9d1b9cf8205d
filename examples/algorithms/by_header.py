"""The message says itself where it wants to go: `X-Route: bulk`. All else goes to the first downstream.

    algorithm: ./algorithms/by_header.py

The field stays in the message, so recipients can see it.
"""

from collections.abc import Sequence

from smtp_router import Downstream, Message, hookimpl

FIELD = "X-Route"


@hookimpl
def select_downstream(message: Message, downstreams: Sequence[Downstream]) -> Downstream:
    """The one that the field names; the first, if there is none or it was tried."""
    wanted = (message.headers.get(FIELD) or "").lower()
    for downstream in downstreams:
        if downstream.name.lower() == wanted:
            return downstream
    return downstreams[0]
