"""A downstream as it was somewhere else: what `explain` knows of a router that is running."""

from collections.abc import Mapping
from dataclasses import replace

from smtp_router.core.downstream import Downstream, Health, HealthState
from smtp_router.routing.target import Target


class FrozenTarget(Target):
    """Offered or left out as it was there, for the reason that was given there."""

    __slots__ = ("_has_room", "_rests", "why")

    def __init__(self, target: Target, told: Mapping[str, object]) -> None:
        """Take what `smtp_router.routing.status` says of it.

        Args:
            target: the same downstream, of which nothing is known.
            told: how it was.

        Raises:
            TypeError, ValueError: another version of the router has said it, in other words.
        """
        super().__init__(
            target.user,
            target.settings,
            target.rules,
            shared=target.shared,
            meter=target.meter,
            quotas=target.quotas,
        )
        figures = told.get("health")
        if not isinstance(figures, Mapping):
            raise TypeError("no figures")
        health = Health(**{**figures, "state": HealthState(figures.get("state", ""))})
        self._seen = replace(self._seen, health=health)
        self._has_room = bool(told.get("has_room"))
        self._rests = bool(told.get("rests"))
        self.why = str(told.get("left_out") or "")

    def seen(self, now: float) -> Downstream:
        """See `Target`."""
        del now
        return self._seen

    def offered(self, now: float) -> Downstream | None:
        """See `Target`."""
        return self.seen(now) if self._has_room and not self._rests else None

    def has_room(self, now: float) -> bool:
        """See `Target`."""
        del now
        return self._has_room

    def is_resting(self, now: float) -> bool:
        """See `Target`."""
        del now
        return self._rests

    async def is_ready(self) -> bool:
        """See `Target`."""
        return self._has_room

    def opens_at(self, now: float) -> float:
        """See `Target`; when that would be is not known."""
        return now if self._has_room else now + 1
