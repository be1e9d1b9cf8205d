"""However big a message is, no step with it is, and nobody waits long for others to have their turn.

What is done about a segment is bounded by the segment, and a turn of the event loop has one of a client.
Not measured in time, which is the machine's, but in octets: those that the methods of `bytes` look
through, and those that are new in memory. One look at all of a message, or one copy of it, is more than
either may be.
"""

import asyncio
import sys
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from smtp_router import Message, Reply
from smtp_router.config.load import parse
from smtp_router.smtp.register import Register
from smtp_router.smtp.session import ClientSession, session_class
from smtp_router.smtp.transaction import MAX_HEADER_OCTETS
from tests.desk import LOOPS, TAKEN
from tests.site import OpenSite
from tests.support import config_text

SIZE = 30 * 2**20
SEGMENT = 256 * 1024
"""The most that an event loop gives at once."""
LOOKS = 16
"""How often the octets of a segment may be looked through."""
MOST = LOOKS * SEGMENT + 4 * MAX_HEADER_OCTETS
assert MOST * 3 < SIZE
ENDS = {"startswith", "endswith"}
"""Methods that look at an end only."""

CONTENTS = {
    "short lines": b"ab\r\n",
    "one line": 1000 * b"x",
    "doubled dots": b"..\r\n",
    "single dots": b".a\r\n",
    "one header field after the other": b"A: b\r\n",
    "no header": b"\r\n",
}


class Site(OpenSite):
    """Everybody is a user, and every message is taken; their sizes are kept."""

    def __init__(self) -> None:
        text = config_text(settings={"max_message_bytes": 2 * SIZE})
        super().__init__(parse(text.encode(), Path("config.yaml")).settings)
        self.sizes: list[int] = []

    def user_at(self, address: str) -> str:
        return address

    async def route(self, message: Message) -> Reply:
        self.sizes.append(message.size)
        return TAKEN


def scanned(function: Callable[[], object]) -> int:
    """How many octets the methods of `bytes` look through while this runs."""
    octets = 0

    def profile(frame: FrameType, event: str, called: Any) -> None:  # noqa: ANN401 - whatever is called
        nonlocal octets
        del frame
        of = getattr(called, "__self__", None) if event == "c_call" else None
        if isinstance(of, bytes | bytearray) and called.__name__ not in ENDS:
            octets += len(of)

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return octets


class Work:
    """What was done about the segments, one after the other."""

    def __init__(self) -> None:
        self.segments: list[int] = []
        self.scanned: list[int] = []
        self.allocated: list[int] = []
        self.turns: Counter[int] = Counter()
        """Octets that came in each turn of the event loop."""
        self._turn = 0

    def tick(self) -> None:
        """Count the turns of the event loop from now on."""
        self._turn += 1
        asyncio.get_running_loop().call_soon(self.tick)

    def measured(self, plain: type[ClientSession]) -> type[ClientSession]:
        """The same class, with an eye on `data_received`."""
        work = self

        class Measured(plain):  # type: ignore[misc, valid-type]  # a class made for a listener
            def data_received(self, data: bytes) -> None:
                before, _ = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
                work.scanned.append(scanned(lambda: super(Measured, self).data_received(data)))
                _, peak = tracemalloc.get_traced_memory()
                work.segments.append(len(data))
                work.turns[work._turn] += len(data)
                work.allocated.append(peak - before)

        return Measured


@asynccontextmanager
async def serving(site: Site, work: Work) -> AsyncIterator[int]:
    """A port at which sessions are measured."""
    loop = asyncio.get_running_loop()
    register: Register[ClientSession] = Register(loop, lambda: 300)
    plain = session_class(site, site.settings.listen[0], context=None, register=register, loop=loop)
    tracemalloc.start()
    work.tick()
    server = await loop.create_server(work.measured(plain), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await register.empty()
        tracemalloc.stop()


async def send(port: int, pieces: list[bytes]) -> list[bytes]:
    """Say all this, each piece when the last one is answered; the last line of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = [await reader.readline()]
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        line = await reader.readline()
        while line[3:4] == b"-":
            line = await reader.readline()
        answers.append(line)
    writer.close()
    await writer.wait_closed()
    return answers


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("what", CONTENTS)
@pytest.mark.parametrize("by", ["DATA", "BDAT", "one BDAT after the other"])
def test_no_step_with_a_big_message_is_big(
    what: str, by: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    line = CONTENTS[what]
    content = SIZE // len(line) * line
    envelope = [b"EHLO x\r\n", b"MAIL FROM:<a@a.example>\r\n", b"RCPT TO:<b@b.example>\r\n"]
    if by == "DATA":
        said = [*envelope, b"DATA\r\n", content + b"\r\n.\r\n"]
    elif by == "BDAT":
        said = [*envelope, b"BDAT %d LAST\r\n" % len(content) + content]
    else:
        pieces = [content[start : start + 2**20] for start in range(0, len(content), 2**20)]
        said = [
            *envelope,
            *(b"BDAT %d\r\n" % len(piece) + piece for piece in pieces),
            b"BDAT 0 LAST\r\n",
        ]
    site, work = Site(), Work()

    async def main() -> list[bytes]:
        async with serving(site, work) as port:
            return await send(port, [*said, b"QUIT\r\n"])

    with asyncio.Runner(loop_factory=loop) as runner:
        answers = runner.run(main())
    assert answers[-2:] == [b"250 2.0.0 Taken\r\n", answers[-1]]
    assert site.sizes[0] >= SIZE // 2
    assert max(work.segments) <= max(work.turns.values()) <= SEGMENT
    assert sum(work.segments) > SIZE * 0.9
    assert SEGMENT // 4 <= max(work.scanned) <= MOST
    assert max(work.allocated) <= MOST


def test_the_measure_sees_a_look_at_all_of_a_message_and_a_copy_of_it() -> None:
    content = bytes(SIZE)
    assert scanned(lambda: content.count(b"x")) >= SIZE
    assert scanned(lambda: content.replace(b"x", b"y")) >= SIZE
    tracemalloc.start()
    try:
        copied = b"".join([content, b"x"])
        assert tracemalloc.get_traced_memory()[1] >= len(copied) > MOST
    finally:
        tracemalloc.stop()
