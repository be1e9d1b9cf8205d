"""Clients that send without pause, and what became of each of their messages.

with Load(router.client, clients=8) as load:
    load.wait(100)          # so many more answers
    ...                     # reload, stop, whatever is done under load
load.stopped()
assert load.codes == {250}
"""

import socket
import threading
from collections.abc import Callable
from typing import Self

from tests.rawclient import RawClient, RawReply
from tests.witness import Witness

MAIL_FROM, RCPT_TO = b"load@a.example", b"rcpt@b.example"


class Load:
    """Clients, each in a thread, that send one message after the other."""

    def __init__(self, connect: Callable[[], RawClient], *, clients: int) -> None:
        """Take how a client that has logged in is made; entering the context starts them all."""
        self.sent: set[bytes] = set()
        self.replies: dict[bytes, RawReply] = {}
        self.good_byes: list[RawReply] = []
        self.errors: list[Exception] = []
        self._begun = 0
        self._connect = connect
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"load-{number}", daemon=True)
            for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        with self._changed:
            assert self._changed.wait_for(lambda: self._begun == len(self._threads), 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.ended()

    @property
    def codes(self) -> set[int]:
        """The codes that were heard."""
        return {reply.code for reply in self.replies.values()}

    def wait(self, more: int, seconds: float = 20) -> None:
        """Wait until so many more messages are answered."""
        with self._changed:
            goal = len(self.replies) + more
            enough = self._changed.wait_for(lambda: len(self.replies) >= goal, seconds)
            assert enough, f"{len(self.replies)} of {goal} answers: {self.errors}"

    def ended(self) -> None:
        """Wait until all clients have ended."""
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def check(self, *witnesses: Witness) -> None:
        """Every message told 250 is at one witness, once; none that was told otherwise is anywhere."""
        kept = [delivery.body_below_received for witness in witnesses for delivery in witness.deliveries]
        told = {body for body, reply in self.replies.items() if reply.code == 250}
        mine = [body for body in kept if body in self.sent]
        assert len(mine) == len(set(mine)), "delivered twice"
        assert told <= set(mine), "told 250 and not delivered"
        assert set(mine) - told <= self.sent - self.replies.keys(), "told otherwise and delivered"

    def _run(self, number: int) -> None:
        try:
            client = self._connect()
        except Exception as error:  # noqa: BLE001 - the test looks at them
            self.errors.append(error)
            return
        finally:
            with self._changed:
                self._begun += 1
                self._changed.notify_all()
        with client:
            for count in range(1_000_000):
                if self._stopping.is_set():
                    break
                body = b"Subject: %d of client %d\r\n\r\nhello\r\n" % (count, number)
                try:
                    if not self._send(client, body):
                        break
                except (EOFError, OSError) as error:
                    self.errors.append(error)
                    break

    def _send(self, client: RawClient, body: bytes) -> bool:
        """Whether the session goes on."""
        with self._changed:
            self.sent.add(body)
        reply = client.transaction(MAIL_FROM, [RCPT_TO], body)
        with self._changed:
            if reply.code == 421:
                self.sent.discard(body)  # it was not taken: this is about the session
                self.good_byes.append(reply)
            else:
                self.replies[body] = reply
            self._changed.notify_all()
        return reply.code != 421


def refuses(host: str, port: int) -> bool:
    """Whether nobody listens there."""
    try:
        socket.create_connection((host, port), 5).close()
    except ConnectionRefusedError:
        return True
    return False
