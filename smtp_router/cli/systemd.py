"""Tells systemd how the router fares: sd_notify(3), which is a datagram to a socket.

Without `NOTIFY_SOCKET` in the environment nobody wants to know, and nothing is told.
"""

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress

PINGS = 3
"""How many there are in the time after which systemd takes the router for hung."""


class Notifier:
    """The socket; of several threads any may tell something."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Look who wants to know; nothing is told yet.

        Args:
            environ: `NOTIFY_SOCKET`, a path (a leading @ stands for an abstract one), `WATCHDOG_USEC`,
                and `WATCHDOG_PID`, as systemd sets them.
        """
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        microseconds = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(microseconds) / 1e6 if microseconds.isdecimal() and is_ours else 0.0
        """After so many seconds without a sign of life systemd ends the router; 0: never."""

    def tell(self, *lines: str) -> None:
        """Say something, as in `READY=1`. A systemd that cannot be reached changes nothing."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(), self._address)

    async def ping(self) -> None:
        """Give signs of life for as long as the event loop has turns."""
        while self.watchdog_s and self._socket is not None:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / PINGS)

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
