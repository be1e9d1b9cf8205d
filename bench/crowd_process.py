"""Clients that do little and stay long, in a process of their own.

    python -m bench.crowd_process PORT IDLE COMMANDS CONTENTS

Of those that only sit there, logged in; that say commands at an octet a second; and that send content at
that pace. It says `ready` when all of them are there, and `lost N` when stdin ends: so many of them have
been disconnected.
"""

import itertools
import selectors
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress

from bench.clients import Client, allow_files

OCTET_S = 1.0
PARTS = 50
"""The octets of a second are spread over it in so many parts."""
COMMANDS, CONTENT = b"NOOP\r\n", b"As slow as can be.\r\n"


class Slow:
    """One client that sends an octet at a time."""

    def __init__(self, client: Client, text: bytes) -> None:
        """Take the text, which is said over and over."""
        self._client = client
        self._octets: Iterator[int] = itertools.cycle(text)

    def send(self) -> None:
        """Send the next octet; who is disconnected is counted at the end."""
        with suppress(OSError):
            self._client.socket.send(bytes([next(self._octets)]))


def drip(slow: Sequence[Slow]) -> None:
    """Send until stdin ends."""
    parts = [slow[part::PARTS] for part in range(PARTS)]
    begun = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        for number, part in enumerate(itertools.cycle(parts)):
            due = begun + number * OCTET_S / PARTS
            if selector.select(max(due - time.monotonic(), 0.0)):
                return
            for client in part:
                client.send()


def is_lost(client: Client) -> bool:
    """Whether the router has closed the connection; replies that nobody has read stand before that."""
    client.socket.setblocking(False)  # noqa: FBT003 - not ours to name
    try:
        while client.socket.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def main() -> None:
    """Do what the command line says."""
    port, idle, commands, contents = map(int, sys.argv[1:])
    allow_files()
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for _ in range(idle + commands + contents)]
        for client in clients:
            client.greet()
            client.log_in()
        for client in clients[idle + commands :]:
            client.envelope()
            client.say("DATA", 354)
        slow = [Slow(client, COMMANDS) for client in clients[idle : idle + commands]]
        slow += [Slow(client, CONTENT) for client in clients[idle + commands :]]
        print("ready", flush=True)
        drip(slow)
        print("lost", sum(map(is_lost, clients)), flush=True)


if __name__ == "__main__":
    main()
