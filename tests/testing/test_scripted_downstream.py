"""The downstream of the kit: what it does when told, and what it records. With a client of its own."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator

import pytest
import trustme
import uvloop

import smtp_router.testing
from smtp_router.testing import (
    OK,
    Answer,
    Close,
    Drip,
    Hang,
    Plan,
    Refuse,
    Reset,
    Say,
    Script,
    ScriptedDownstream,
    Step,
)
from tests.certificates import accepting, trusting
from tests.load import refuses
from tests.rawclient import RawClient, ehlo_keywords

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
LOGIN = ("router", "s3cret-word")

COMMANDS = {
    "helo": b"HELO c.example",
    "ehlo": b"EHLO c.example",
    "mail": b"MAIL FROM:<a@a.example>",
    "rcpt": b"RCPT TO:<b@b.example>",
    "data": b"DATA",
    "final": HELLO + b".",
    "rset": b"RSET",
    "quit": b"QUIT",
}
NAMES = {"OK", "STAGES", "ScriptedDownstream", "Taken", "Plan", "Script", "Step"} | {
    *("Answer", "Close", "Drip", "Hang", "Normal", "Refuse", "Reset", "Say"),
    *(
        "LoadedPlugin",
        "RouterLog",
        "RunningRouter",
        "VirtualClock",
        "assert_share",
        "conformance",
        "make_plugin",
    ),
    *("make_attempt", "make_downstream", "make_message", "make_reply"),
    *("deferred", "delivered", "in_doubt", "rejected", "unreachable"),
}
ORDER = ("ehlo", "mail", "rcpt", "data", "final")


@contextlib.contextmanager
def connected(downstream: ScriptedDownstream, timeout: float = 5) -> Iterator[RawClient]:
    with RawClient("127.0.0.1", downstream.port, timeout, read_banner=False) as client:
        yield client


def overtaking(step: Step) -> contextlib.AbstractContextManager[None]:
    """For what may be reset so early that it is the connecting that fails."""
    return contextlib.suppress(*([ConnectionResetError] if isinstance(step, Reset) else []))


def reach(client: RawClient, stage: str) -> None:
    """Go as far as the command of this stage, and say it; what it is answered, is still to be read."""
    if stage == "banner":
        return
    client.reply()
    before = ORDER[: ORDER.index(stage)] if stage in ORDER else ()
    for command in before:
        client.command(COMMANDS[command])
    client.send(COMMANDS[stage] + b"\r\n")


def send(downstream: ScriptedDownstream, *rcpt_tos: bytes) -> int:
    """Send a message over a connection of its own; the code that was the last word."""
    with connected(downstream) as client:
        client.reply()
        client.command(COMMANDS["ehlo"])
        return client.transaction(A, rcpt_tos or [B], HELLO).code


def test_the_kits_public_names_are_these() -> None:
    assert set(smtp_router.testing.__all__) == NAMES
    for name in NAMES:
        assert hasattr(smtp_router.testing, name)


def test_without_a_script_all_goes_well_and_all_is_recorded() -> None:
    before = time.monotonic()
    with ScriptedDownstream(login=LOGIN) as downstream:
        with connected(downstream) as client:
            client.reply()
            offered = ehlo_keywords(client.command(b"EHLO c.example"))
            assert offered["AUTH"] == "PLAIN LOGIN"
            assert "PIPELINING" in offered
            assert client.login(*LOGIN).code == 235
            stuffed = b"Received: from x\r\n by y\r\nSubject: .\r\n\r\n.one\r\n..two\r\n"
            assert (
                client.transaction(A, [B, b"c@b.example"], stuffed, params=b"BODY=8BITMIME").code == 250
            )
            assert client.command(b"QUIT").code == 221
            assert client.at_eof()
        (taken,) = downstream.delivered
        downstream.wait_for(lambda: not downstream.open_now)
    assert (taken.mail_from, taken.rcpt_tos) == ("a@a.example", ("b@b.example", "c@b.example"))
    assert taken.content == stuffed
    assert taken.below_received == b"Subject: .\r\n\r\n.one\r\n..two\r\n"
    assert taken.mail_line == "MAIL FROM:<a@a.example> BODY=8BITMIME"
    assert taken.rcpt_lines == ("RCPT TO:<b@b.example>", "RCPT TO:<c@b.example>")
    assert (taken.ehlo, taken.login, taken.tls, taken.connection) == ("c.example", "router", False, 1)
    assert before < taken.at < time.monotonic()
    assert downstream.heard[0] == "EHLO c.example"
    assert downstream.heard[-1] == "QUIT"
    assert downstream.forget() == (taken,)
    assert not downstream.messages
    assert not downstream.heard


@pytest.mark.parametrize("stage", ["banner", *COMMANDS])
def test_every_stage_can_be_answered_otherwise(stage: str) -> None:
    with ScriptedDownstream({stage: Answer(450, "4.3.0 one\n4.3.0 two")}) as downstream:
        with connected(downstream) as client:
            reach(client, stage)
            reply = client.reply()
        assert (reply.code, reply.lines) == (450, (b"4.3.0 one", b"4.3.0 two"))
        assert not downstream.delivered
        assert [taken.reply[:3] for taken in downstream.messages] == [b"450"] * (stage == "final")


@pytest.mark.parametrize("stage", ["banner", *COMMANDS])
@pytest.mark.parametrize("step", [Close(), Reset()], ids=repr)
def test_every_stage_can_end_the_connection(stage: str, step: Step) -> None:
    try:
        with ScriptedDownstream({stage: step}) as downstream, connected(downstream) as client:
            reach(client, stage)
            assert client.at_eof()
            assert not downstream.delivered
    except ConnectionResetError:  # so fast that it ends the connecting
        assert stage == "banner"
        assert isinstance(step, Reset)


@pytest.mark.parametrize("stage", ["banner", "mail", "final"])
@pytest.mark.parametrize("end", [Close, Reset])
def test_the_end_can_come_behind_the_answer(stage: str, end: type[Close | Reset]) -> None:
    overtaken = [ConnectionResetError] if stage == "banner" and end is Reset else []
    with (
        contextlib.suppress(*overtaken),  # so fast that it ends the connecting
        ScriptedDownstream({stage: end(after=OK)}) as downstream,
        connected(downstream) as client,
    ):
        reach(client, stage)
        with contextlib.suppress(ConnectionError):  # a reset may overtake it
            assert client.reply().code in {220, 250}
        assert client.at_eof()
        assert len(downstream.delivered) == (stage == "final")


@pytest.mark.parametrize("stage", ["banner", *COMMANDS])
def test_every_stage_can_hang_until_it_is_released(stage: str) -> None:
    with ScriptedDownstream({stage: Hang()}) as downstream, connected(downstream, 0.05) as client:
        reach(client, stage)
        downstream.wait_for(lambda: downstream.hanging)
        with pytest.raises(TimeoutError):
            client.reply()
        downstream.release()
        assert client.at_eof(5)
        downstream.wait_for(lambda: not downstream.hanging)


def test_one_that_hangs_notices_that_its_peer_has_gone() -> None:
    with ScriptedDownstream({"mail": Hang()}) as downstream:
        with connected(downstream) as client:
            reach(client, "mail")
            downstream.wait_for(lambda: downstream.hanging)
        downstream.wait_for(lambda: not downstream.open_now)


def test_an_answer_can_come_byte_by_byte() -> None:
    drip = Drip(Answer(250, "x"), every_s=0.05)
    with ScriptedDownstream({"mail": drip}) as downstream, connected(downstream) as client:
        reach(client, "mail")
        pieces = [client.sock.recv(100)]
        while not pieces[-1].endswith(b"\n"):
            pieces.append(client.sock.recv(100))
    assert b"".join(pieces) == b"250 x\r\n"
    assert len(pieces) > 2


def test_any_octets_can_be_said() -> None:
    with ScriptedDownstream({"mail": Say(b"what\xff")}) as downstream, connected(downstream) as client:
        reach(client, "mail")
        assert client.sock.recv(100) == b"what\xff"
        client.send(b"NOOP\r\n")
        assert client.reply().code == 250


def test_half_an_answer_is_no_delivery() -> None:
    with ScriptedDownstream({"final": Close(after=Say(b"250 2.0.0 tak"))}) as downstream:
        with connected(downstream) as client:
            reach(client, "final")
            assert client.sock.recv(100) == b"250 2.0.0 tak"
            assert client.at_eof()
        assert len(downstream.messages) == 1
        assert not downstream.delivered


def test_content_can_be_answered_before_it_is_all_there() -> None:
    with ScriptedDownstream({"content": Answer(552, "5.3.4 too big")}) as downstream:
        with connected(downstream) as client:
            client.reply()
            client.command(COMMANDS["ehlo"])
            client.envelope(A, [B])
            client.wire(b"Subject: big\r\n")
            assert client.reply().code == 552
            client.send(b"\r\n.\r\n")
            assert client.command(b"NOOP").code == 250
        assert [taken.reply[:3] for taken in downstream.messages] == [b"552"]


def test_one_recipient_can_be_refused() -> None:
    with ScriptedDownstream({"rcpt:no@b.example": Answer(550, "5.1.1 unknown")}) as downstream:
        assert send(downstream, b"no@b.example") == 550
        assert send(downstream, B) == 250


def test_several_steps_come_one_after_the_other_and_the_last_one_stays() -> None:
    later = Answer(451, "4.3.0 later")
    with ScriptedDownstream({"final": [later, OK, later, OK]}) as downstream:
        assert [send(downstream) for _ in range(6)] == [451, 250, 451, 250, 250, 250]


def test_steps_may_be_endless() -> None:
    with ScriptedDownstream({"mail": itertools.cycle([OK, Answer(421, "bye")])}) as downstream:
        assert [send(downstream) for _ in range(5)] == [250, 421, 250, 421, 250]


def test_each_connection_can_have_its_own_script() -> None:
    with ScriptedDownstream([{"mail": Answer(450)}, {"mail": Answer(550)}, {}]) as downstream:
        assert [send(downstream) for _ in range(4)] == [450, 550, 250, 250]


def test_another_script_counts_from_then_on() -> None:
    with ScriptedDownstream({"rcpt": Answer(450)}) as downstream, connected(downstream) as client:
        client.reply()
        client.command(COMMANDS["ehlo"])
        client.command(COMMANDS["mail"])
        downstream.follow({})
        assert client.command(COMMANDS["rcpt"]).code == 250


def test_behind_421_the_connection_is_closed() -> None:
    closing = Answer(421, "4.3.2 closing")
    with ScriptedDownstream({"mail": closing}) as downstream, connected(downstream) as client:
        reach(client, "mail")
        assert client.reply().code == 421
        assert client.at_eof()


def test_connections_can_be_refused_from_the_start_or_after_some() -> None:
    with ScriptedDownstream({"accept": Refuse()}) as downstream:
        assert refuses("127.0.0.1", downstream.port)
        downstream.follow({"accept": [OK, OK, Refuse()]})
        assert [send(downstream) for _ in range(2)] == [250, 250]
        assert refuses("127.0.0.1", downstream.port)
        assert downstream.connections == 2


@pytest.mark.parametrize("step", [Close(), Reset()], ids=repr)
def test_a_connection_can_end_as_soon_as_it_is_made(step: Step) -> None:
    with (
        overtaking(step),
        ScriptedDownstream({"accept": step}) as downstream,
        connected(downstream) as client,
    ):
        assert client.at_eof()


def test_a_connection_can_be_made_and_never_heard() -> None:
    with ScriptedDownstream({"accept": Hang()}) as downstream, connected(downstream, 0.05) as client:
        with pytest.raises(TimeoutError):
            client.reply()
        downstream.release()
        assert client.at_eof(5)


def test_one_that_is_killed_resets_and_refuses_until_it_is_back() -> None:
    with ScriptedDownstream() as downstream, connected(downstream) as client:
        client.reply()
        downstream.kill()
        assert client.at_eof()
        assert refuses("127.0.0.1", downstream.port)
        downstream.revive()
        assert send(downstream) == 250


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def test_tls_comes_by_starttls_or_first(ca: trustme.CA) -> None:
    with ScriptedDownstream(tls=accepting(ca)) as downstream, connected(downstream) as client:
        client.reply()
        assert "STARTTLS" in ehlo_keywords(client.command(b"EHLO c.example"))
        assert client.starttls(trusting(ca)).code == 220
        assert client.command(b"MAIL FROM:<a@a.example>").code == 503  # all is forgotten
        assert "STARTTLS" not in ehlo_keywords(client.command(b"EHLO c.example"))
        assert client.transaction(A, [B], HELLO).code == 250
        assert downstream.delivered[0].tls
    with ScriptedDownstream(tls=accepting(ca), implicit_tls=True) as downstream:
        with RawClient("127.0.0.1", downstream.port, tls=trusting(ca)) as client:
            client.command(b"EHLO c.example")
            assert client.transaction(A, [B], HELLO).code == 250
        assert downstream.delivered[0].tls


@pytest.mark.parametrize("step", [Close(), Reset(), Say(b"500 what?\r\n"), Hang()], ids=repr)
@pytest.mark.parametrize("implicit_tls", [False, True])
def test_a_handshake_can_fail(step: Step, implicit_tls: bool, ca: trustme.CA) -> None:  # noqa: FBT001
    script: Script = {"handshake": step}
    with (
        overtaking(step),
        ScriptedDownstream(script, tls=accepting(ca), implicit_tls=implicit_tls) as downstream,
        connected(downstream, 1) as client,
    ):
        if not implicit_tls:
            client.reply()
            client.command(b"EHLO c.example")
            client.send(b"STARTTLS\r\n")
            assert client.reply().code == 220
        with contextlib.suppress(ConnectionError):
            client.send(b"\x16\x03\x01")  # as a handshake begins
        match step:
            case Hang():
                downstream.wait_for(lambda: downstream.hanging)
            case Say():
                assert client.reply().code == 500
            case _:
                assert client.at_eof()


@pytest.mark.parametrize(
    "script",
    [
        {"male": OK},
        {"mail:a@a.example": OK},
        {"accept": Answer(450)},
        {"content": Drip()},
        {"handshake": Answer(450)},
        {"mail": Refuse()},
    ],
    ids=str,
)
def test_a_script_that_makes_no_sense_is_an_error(script: dict[str, Plan]) -> None:
    with pytest.raises(ValueError, match=r"is no stage|cannot be done at"):
        ScriptedDownstream(script)


def test_what_does_not_come_is_an_error_with_what_did() -> None:
    missing = pytest.raises(TimeoutError, match="0 messages, 0 of 0 connections")
    with ScriptedDownstream() as downstream, missing:
        downstream.wait_for(lambda: downstream.delivered, 0.01)


def test_commands_out_of_order_are_refused() -> None:
    with ScriptedDownstream(login=LOGIN) as downstream, connected(downstream) as client:
        client.reply()
        codes = [client.command(line).code for line in (b"DATA", b"RCPT TO:<b@b.example>", b"WHAT")]
        assert codes == [503, 503, 500]
        client.command(b"EHLO c.example")
        assert client.command(b"MAIL FROM:<a@a.example>").code == 530
        assert client.login("router", "wrong").code == 535
        assert client.command(b"AUTH CRAM-MD5").code == 504
        assert client.command(b"AUTH PLAIN").code == 334
        assert client.command(b"*").code == 501
        assert client.login(*LOGIN).code == 235
        assert client.command(b"MAIL FROM:a@a.example").code == 501


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_many_run_on_the_loop_of_the_test(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def run() -> list[ScriptedDownstream]:
        async with contextlib.AsyncExitStack() as stack:
            many = [await stack.enter_async_context(ScriptedDownstream()) for _ in range(50)]
            codes = await asyncio.gather(*(asyncio.to_thread(send, one) for one in many))
            assert codes == 50 * [250]
            many[0].kill()
            assert await asyncio.to_thread(refuses, "127.0.0.1", many[0].port)
        return many

    with asyncio.Runner(loop_factory=loop) as runner:
        many = runner.run(run())
    for one in many:
        assert refuses("127.0.0.1", one.port)
