"""Between two hours of the day mail goes to the downstream `name`, at other times to the others.

    algorithm:
      use: ./algorithms/by_time_of_day.py
      options: {name: night, start: 22, end: 6, zone: Europe/Berlin}

What counts is when the message came in, so an attempt after midnight decides as the one before it.
"""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from smtp_router import Downstream, Message, hookimpl


class ByTimeOfDay:
    """Knows the hours of one downstream: from `start` up to, and without, `end`."""

    def __init__(self, name: str, start: int = 22, end: int = 6, zone: str = "UTC") -> None:
        self.name, self.start, self.end, self.zone = name, start, end, ZoneInfo(zone)

    @hookimpl
    def select_downstream(self, message: Message, downstreams: Sequence[Downstream]) -> Downstream:
        """The one that has this hour; the first of what is left, if that one was tried."""
        hour = message.received_at.astimezone(self.zone).hour
        within = (hour - self.start) % 24 < (self.end - self.start) % 24
        fitting = [downstream for downstream in downstreams if (downstream.name == self.name) is within]
        return (fitting or downstreams)[0]
