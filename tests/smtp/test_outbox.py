"""What is written in one turn of the event loop goes out at its end."""

import asyncio
import socket

import uvloop

from smtp_router.smtp.outbox import Outbox


async def pair() -> tuple[asyncio.WriteTransport, socket.socket]:
    """A transport and its other end, which does not wait."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)  # noqa: FBT003 - not ours to name
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    return transport, theirs


def heard(end: socket.socket) -> bytes:
    try:
        return end.recv(100)
    except BlockingIOError:
        return b""


async def test_it_goes_out_when_the_turn_has_ended_each_in_its_order() -> None:
    (first, one), (second, other) = await pair(), await pair()
    outbox = Outbox(asyncio.get_running_loop())
    outbox.write(first, b"a")
    outbox.write(second, b"b")
    outbox.write(first, b"c")
    assert heard(one) == heard(other) == b""
    await asyncio.sleep(0)
    assert heard(one) == b"ac"
    assert heard(other) == b"b"
    for end in (first, second):
        end.close()
    one.close()
    other.close()


async def test_what_is_flushed_is_written_once_and_at_once() -> None:
    transport, end = await pair()
    outbox = Outbox(asyncio.get_running_loop())
    outbox.write(transport, b"a")
    outbox.flush()
    assert heard(end) == b"a"
    outbox.write(transport, b"b")
    await asyncio.sleep(0)
    assert heard(end) == b"b"
    await asyncio.sleep(0)
    assert heard(end) == b""
    transport.close()
    end.close()


async def test_nothing_is_written_to_a_connection_that_is_being_closed() -> None:
    (gone, end), (there, other) = await pair(), await pair()
    outbox = Outbox(asyncio.get_running_loop())
    outbox.write(gone, b"a")
    outbox.write(there, b"b")
    gone.close()
    await asyncio.sleep(0)
    assert heard(end) == b""
    assert heard(other) == b"b"
    there.close()
    end.close()
    other.close()


async def test_a_connection_is_closed_behind_what_was_written_to_it() -> None:
    (parting, end), (there, other) = await pair(), await pair()
    outbox = Outbox(asyncio.get_running_loop())
    outbox.write(parting, b"bye")
    outbox.close(parting)
    outbox.write(there, b"a")
    assert not parting.is_closing()
    await asyncio.sleep(0)
    assert parting.is_closing()
    assert heard(other) == b"a"
    await asyncio.sleep(0)
    assert heard(end) == b"bye"
    assert heard(end) == b""
    there.close()
    end.close()
    other.close()


def test_what_comes_too_late_for_a_connection_leaves_those_of_others_alone() -> None:
    """With uvloop, too, whose transports do not like to be written to behind their end."""

    async def late() -> None:
        (gone, end), (there, other) = await pair(), await pair()
        gone.abort()
        for _ in range(2):  # then it is closed
            await asyncio.sleep(0)
        outbox = Outbox(asyncio.get_running_loop())
        outbox.write(gone, b"a")
        outbox.write(there, b"b")
        try:
            outbox.flush()
            assert heard(other) == b"b"
        finally:
            there.close()
            end.close()
            other.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(late())
