"""Messages that may come a second time: rows that outlive the process that knew of them.

Rows are read once, at the start, and written as they come. A row is used up by deleting it, which only
one process can do. So what has been answered once is never found again.
"""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from smtp_router.state.file import StateFile

MAX_KEPT = 10_000
"""With more than that, those are forgotten that would be first anyway."""


class Kind(StrEnum):
    """What is not known, and to whom."""

    UNHEARD = "unheard"
    """It was delivered; its client does not know."""
    IN_DOUBT = "in_doubt"
    """Nobody knows whether it was delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """One such message.

    Args:
        key: which; see `core.fingerprint`.
        user: its login.
        size: of its content, in octets.
        kind: what is not known.
        id: the router's id, the first time.
        downstream: the name of the one that may have it; "" where that does not matter.
        made: the instant (seconds since the epoch) at which it was noted.
        until: the one at which it is forgotten.
    """

    key: str
    user: str
    size: int
    kind: Kind
    id: str
    downstream: str
    made: float
    until: float


class DoubtBook:
    """Those that are in the state file."""

    def __init__(self, state: StateFile) -> None:
        """Nothing is opened yet."""
        self._state = state

    def load(self, now: float) -> list[Doubt]:
        """Those that count at this instant, the first to be forgotten first; takes a moment.

        Those of the future are forgotten: the clock was set back, and nobody knows how old they are.

        Raises:
            StateError: the file cannot be used.
        """
        if not self._state.path.exists():
            return []  # and there is no need for one yet

        def work(connection: sqlite3.Connection) -> list[Doubt]:
            connection.execute("DELETE FROM doubts WHERE made > ? OR until <= ?", (now, now))
            rows = connection.execute(
                "SELECT key, user, size, kind, id, downstream, made, until FROM doubts"
                " ORDER BY until, made"
            )
            return [
                Doubt(
                    key=key,
                    user=user,
                    size=size,
                    kind=Kind(kind),
                    id=id_,
                    downstream=downstream,
                    made=made,
                    until=until,
                )
                for key, user, size, kind, id_, downstream, made, until in rows
            ]

        return self._state.run_now(work)

    async def add(self, doubt: Doubt) -> None:
        """Keep one, in place of what was known of the same message.

        Raises:
            StateError: the file cannot be used.
        """
        row = (
            *(doubt.key, doubt.user, doubt.size, doubt.kind),
            *(doubt.id, doubt.downstream, doubt.made, doubt.until),
        )

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM doubts WHERE until <= ?", (doubt.made,))
            connection.execute("INSERT OR REPLACE INTO doubts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            (kept,) = connection.execute("SELECT count(*) FROM doubts").fetchone()
            connection.execute(
                "DELETE FROM doubts WHERE key IN (SELECT key FROM doubts ORDER BY until LIMIT ?)",
                (max(kept - MAX_KEPT, 0),),
            )

        await self._state.run(work)

    async def remove(self, key: str) -> bool:
        """Forget one; whether it was there.

        Raises:
            StateError: the file cannot be used.
        """

        def work(connection: sqlite3.Connection) -> bool:
            return connection.execute("DELETE FROM doubts WHERE key = ?", (key,)).rowcount > 0

        return await self._state.run(work)
