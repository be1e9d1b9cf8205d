"""Connections that are kept: used again, watched, never shared, closed in time."""

import asyncio
import itertools
import ssl
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from smtp_router import Deferred, Delivered, InDoubt, Outcome, Rejected, Stage
from smtp_router.smtp.sender import SmtpSender
from tests.smtp.sending import BIG, LOCALHOST, LOGIN, ONCE, Sending, until
from tests.support import make_message
from tests.witness import DROP, HANG, NORMAL, RESET, Act, Plan, Raw, Step, Then, Witness

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

THREE = make_message(rcpt_tos=("a@b.example", "c@b.example", "d@b.example"))


def pool(**limits: float) -> Mapping[str, object]:
    """For a downstream with these limits."""
    return {"pool": limits}


class Gate:
    """A step that waits until it is opened."""

    def __init__(self, then: Step = NORMAL) -> None:
        self.reached = threading.Semaphore(0)
        self._open = threading.Event()
        self._then = then

    def __call__(self, _: bytes) -> Step:
        self.reached.release()
        self._open.wait(5)
        return self._then

    async def waits(self) -> None:
        """Wait until somebody waits at it."""
        assert await asyncio.to_thread(self.reached.acquire, timeout=5)

    def open(self) -> None:
        self._open.set()


async def shows(sending: Sending, words: str) -> None:
    """Let the event loop take its turns until the sender shows these words."""
    for _ in range(10_000):
        if words in repr(sending.sender):
            return
        await asyncio.sleep(0)
    assert words in repr(sending.sender)


# Used again


@pytest.mark.parametrize("mode", ["clear", "starttls", "implicit"])
async def test_one_connection_carries_many_messages(
    mode: str, sending: Sending, server_tls: ssl.SSLContext
) -> None:
    tls = None if mode == "clear" else server_tls
    with Witness(auth=LOGIN, tls=tls, implicit_tls=mode == "implicit") as witness:
        for number in range(10):
            message = make_message(id=f"m{number}", content=b"Subject: %d\r\n\r\n.\r\n" % number)
            assert isinstance(await sending.to(witness, message), Delivered)
        assert witness.connections == 1
        numbers = [one.body_below_received.split(b"\r\n")[0] for one in witness.deliveries]
        assert numbers == [b"Subject: %d" % number for number in range(10)]
        assert len([line for line in witness.commands if line.startswith(b"AUTH")]) == 1
        assert b"RSET" not in witness.commands


async def test_a_refused_message_costs_no_connection(sending: Sending) -> None:
    script: dict[str, Plan] = {
        "mail": [b"450 4.3.0 not now", NORMAL],
        "rcpt": [b"450 4.2.1 no", NORMAL, b"550 5.1.1 no", NORMAL],
        "data": [b"451 4.3.0 no", NORMAL],
        "final": [b"550 5.7.1 no", NORMAL],
    }
    with Witness(script) as witness:
        alone = pool(max_connections=1)
        outcomes = [await sending.to(witness, THREE, more=alone) for _ in range(5)]
        assert witness.connections == 1
        assert witness.commands.count(b"RSET") == 2  # behind RCPT and DATA
        assert len(witness.deliveries) == 1
    stages = [outcome.stage for outcome in outcomes]
    assert stages == [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.FINAL, Stage.FINAL]
    assert isinstance(outcomes[-1], Delivered)


async def test_what_a_downstream_lacks_costs_no_connection(sending: Sending) -> None:
    with Witness(offer=()) as witness:
        outcome = await sending.to(witness, make_message(rcpt_tos=("ü@b.example",)))
        assert isinstance(outcome, Deferred)
        assert outcome.incapable
        assert isinstance(await sending.to(witness), Delivered)
        assert witness.connections == 1


async def test_a_control_character_from_a_plugin_goes_nowhere(sending: Sending) -> None:
    envid: Mapping[str, str | None] = {"ENVID": "a\r\nRCPT TO:<victim@b.example>"}
    with Witness(offer=("PIPELINING", "DSN")) as witness:
        with pytest.raises(ValueError, match="control character"):
            await sending.to(witness, make_message(mail_parameters=envid))
        assert isinstance(await sending.to(witness), Delivered)
        assert witness.connections == 1
        assert b"victim" not in b"".join(witness.commands)


async def test_nor_does_what_is_no_text_at_all(sending: Sending) -> None:
    with Witness(offer=("PIPELINING", "SMTPUTF8")) as witness:
        with pytest.raises(UnicodeEncodeError):
            await sending.to(witness, make_message(mail_from="\udcff@a.example"))
        assert isinstance(await sending.to(witness), Delivered)
        assert witness.connections == 1


async def test_the_refusal_is_told_before_the_connection_is_ready_again(sending: Sending) -> None:
    gate = Gate()
    with Witness({"rcpt": [b"550 5.1.1 no", NORMAL], "rset": gate}) as witness:
        assert isinstance(await sending.to(witness), Rejected)
        await gate.waits()
        assert isinstance(await sending.to(witness), Delivered)  # over another one
        gate.open()
        assert witness.connections == 2


async def test_so_many_messages_and_the_next_one_gets_a_new_connection(sending: Sending) -> None:
    with Witness() as witness:
        for _ in range(5):
            await sending.to(witness, more=pool(max_messages_per_connection=2))
        assert [one.connection for one in witness.deliveries] == [1, 1, 2, 2, 3]
        await until(witness, lambda: witness.quits == 2)


async def test_one_message_per_connection_is_what_can_be_had(sending: Sending) -> None:
    with Witness() as witness:
        for _ in range(3):
            await sending.to(witness, more=ONCE)
        await until(witness, lambda: witness.quits == 3)


async def test_one_that_nobody_needs_is_left_in_order(sending: Sending) -> None:
    with Witness() as witness:
        await sending.to(witness, more=pool(idle_s=0.05))
        await until(witness, lambda: witness.quits == 1 and witness.open_now == 0)


async def test_one_that_is_too_old_is_not_used_again(sending: Sending) -> None:
    gate = Gate()
    with Witness({"final": [gate, NORMAL]}) as witness:
        sent = asyncio.create_task(sending.to(witness, more=pool(max_connection_age_s=0.05)))
        await gate.waits()
        await asyncio.sleep(0.1)  # the age is the subject
        gate.open()
        await sent
        await until(witness, lambda: witness.quits == 1)
        await sending.to(witness, more=pool(max_connection_age_s=0.05))
        assert [one.connection for one in witness.deliveries] == [1, 2]


# Dead ones


@pytest.mark.parametrize("end", [DROP, RESET, b"421 4.4.2 idle for too long"], ids=str)
@pytest.mark.parametrize("mode", ["clear", "implicit"])
async def test_one_that_is_dead_at_mail_is_no_failure(
    end: Step, mode: str, sending: Sending, server_tls: ssl.SSLContext
) -> None:
    tls = server_tls if mode == "implicit" else None
    with Witness({"mail": [NORMAL, end, NORMAL]}, tls=tls, implicit_tls=bool(tls)) as witness:
        assert isinstance(await sending.to(witness), Delivered)
        assert isinstance(await sending.to(witness), Delivered)
        assert [one.connection for one in witness.deliveries] == [1, 2]


async def test_a_message_that_nobody_wants_any_more_is_not_taken_from_a_dead_one_to_a_fresh_one(
    sending: Sending,
) -> None:
    with Witness({"mail": [NORMAL, HANG, NORMAL]}) as witness:
        await sending.to(witness)
        sent = asyncio.create_task(sending.to(witness))
        await until(witness, lambda: witness.hanging)
        assert sending.sender._shared is not None  # noqa: SLF001 - the order cannot be had from outside
        (channel,) = sending.sender._shared.channels  # noqa: SLF001 - as above
        for _ in range(2):
            sent.cancel()
        channel.connection_lost(None)
        await asyncio.wait({sent})
        assert sent.cancelled()
        assert witness.connections == 1


async def test_a_fresh_one_that_is_dead_at_mail_is(sending: Sending) -> None:
    with Witness({"mail": [DROP, NORMAL]}) as witness:
        outcome = await sending.to(witness)
        assert (outcome.kind, outcome.stage) == ("deferred", Stage.MAIL)
        assert witness.connections == 1


@pytest.mark.parametrize("where", ["rcpt", "data"])
@pytest.mark.parametrize("end", [DROP, RESET, b"421 4.3.2 closing"], ids=str)
async def test_one_that_has_answered_mail_was_not_dead(where: str, end: Step, sending: Sending) -> None:
    with Witness({where: [NORMAL, end, NORMAL]}) as witness:
        await sending.to(witness)
        outcome = await sending.to(witness)
        assert isinstance(outcome, Deferred)
        assert outcome.stage == where
        assert witness.connections == 1


async def test_a_dead_one_is_not_followed_by_another_that_was_kept(sending: Sending) -> None:
    gate = Gate()
    with Witness({"final": [gate, gate, NORMAL], "mail": [NORMAL, NORMAL, RESET, NORMAL]}) as witness:
        sent = [asyncio.create_task(sending.to(witness)) for _ in range(2)]
        await gate.waits()
        await gate.waits()
        gate.open()
        await asyncio.gather(*sent)
        assert witness.open_now == 2
        assert isinstance(await sending.to(witness), Delivered)
        assert witness.deliveries[-1].connection == 3


async def test_where_the_downstream_is_gone_that_is_the_outcome(sending: Sending) -> None:
    with Witness({"mail": [NORMAL, DROP]}) as witness:
        await sending.to(witness)
        witness.on("banner", b"421 4.3.2 going down")
        outcome = await sending.to(witness)
        assert (outcome.kind, outcome.stage) == ("deferred", Stage.CONNECT)


@pytest.mark.parametrize("mode", ["clear", "starttls", "implicit"])
@pytest.mark.parametrize(
    "said",
    [
        Then(NORMAL, DROP),
        Then(NORMAL, RESET),
        Then(Raw(b"250 2.0.0 ok\r\n421 4.4.2 bye\r\n"), HANG),
        Raw(b"250 2.0.0 ok\r\n421 4.4.2 bye\r\n"),
        Raw(b"250 2.0.0 ok\r\n250 2.0.0 and again\r\n"),
        Raw(b"250 2.0.0 ok\r\n2"),
        Raw(b"250 2.0.0 ok\r\n\r\n"),
    ],
    ids=str,
)
async def test_whatever_comes_while_it_is_idle_ends_it(
    said: Step, mode: str, sending: Sending, server_tls: ssl.SSLContext
) -> None:
    tls = None if mode == "clear" else server_tls
    with Witness({"final": said}, tls=tls, implicit_tls=mode == "implicit") as witness:
        assert isinstance(await sending.to(witness), Delivered)
        await until(witness, lambda: witness.open_now == 0)
        await shows(sending, "0 busy, 0 idle")
        witness.on("final", NORMAL)
        assert isinstance(await sending.to(witness), Delivered)
        assert witness.deliveries[-1].connection == 2


async def test_a_stopped_downstream_leaves_nothing_idle(sending: Sending) -> None:
    with Witness() as witness:
        await sending.to(witness)
        witness.stop()
        await shows(sending, "0 busy, 0 idle")
        witness.start()
        assert isinstance(await sending.to(witness), Delivered)


@pytest.mark.parametrize("lines", [1, 2, 3])
async def test_a_late_stray_reply_never_passes_for_the_last_one(lines: int, sending: Sending) -> None:
    """It comes in a segment of its own, when the next message is under way."""
    gate = Gate(Raw(lines * b"250 2.0.0 stray\r\n" + b"250 2.1.0 ok\r\n"))
    with Witness({"mail": [NORMAL, gate]}) as witness:
        await sending.to(witness)
        sent = asyncio.create_task(sending.to(witness))
        await gate.waits()
        gate.open()
        outcome = await sent
        assert isinstance(outcome, Deferred)
        await until(witness, lambda: witness.open_now == 0)
        assert len(witness.deliveries) == 1


# Not used again: after a cancellation, a time-out, whatever was out of step


@pytest.mark.parametrize("where", ["mail", "rcpt", "data"])
async def test_cancelled_before_the_dot_it_is_closed_and_nothing_is_sent(
    where: str, sending: Sending
) -> None:
    with Witness({where: [NORMAL, HANG]}) as witness:
        await sending.to(witness)
        sent = asyncio.create_task(sending.to(witness))
        await until(witness, lambda: witness.hanging)
        sent.cancel()
        await asyncio.wait({sent}, timeout=5)
        assert sent.cancelled()
        await until(witness, lambda: not witness.open_now)
        assert len(witness.deliveries) == 1
        assert not witness.unanswered
        assert witness.quits == 0


@pytest.mark.parametrize("where", ["mail", "rcpt", "data"])
async def test_what_is_answered_behind_a_cancellation_sends_nothing(
    where: str, sending: Sending
) -> None:
    gate = Gate()
    with Witness({where: gate}) as witness:
        sent = asyncio.create_task(sending.to(witness))
        await gate.waits()
        sent.cancel()
        gate.open()
        await asyncio.wait({sent}, timeout=5)
        assert sent.cancelled()
        await until(witness, lambda: not witness.open_now)
        assert not witness.deliveries
        assert not witness.unanswered


async def test_cancelled_in_the_middle_of_the_content_nothing_is_sent(sending: Sending) -> None:
    """The final dot is not out as long as content is not taken."""
    with Witness({"content": HANG}) as witness:
        sent = asyncio.create_task(sending.to(witness, BIG))
        await until(witness, lambda: witness.hanging)
        sent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sent
        witness.release()
        await until(witness, lambda: not witness.open_now)
        assert not witness.deliveries
        assert not witness.unanswered


async def test_cancelled_behind_the_dot_it_is_left_in_order_when_the_outcome_is_known(
    sending: Sending,
) -> None:
    gate = Gate()
    outcomes: list[Outcome] = []

    async def send() -> None:
        outcomes.append(await sending.to(witness))

    with Witness({"final": [gate, NORMAL]}) as witness:
        sent = asyncio.create_task(send())
        await gate.waits()
        sent.cancel()
        gate.open()
        await asyncio.wait({sent})
        assert isinstance(outcomes[0], Delivered)
        await until(witness, lambda: witness.quits == 1)
        assert isinstance(await sending.to(witness), Delivered)
        assert witness.connections == 2


async def test_cancelled_at_the_moment_of_the_outcome_it_is_told(sending: Sending) -> None:
    """Whatever comes first, a delivery is never forgotten."""
    outcomes: list[Outcome] = []

    async def send() -> None:
        outcomes.append(await sending.to(witness))

    with Witness() as witness:
        for turns in range(60):
            sent = asyncio.create_task(send())
            for _ in range(turns):
                await asyncio.sleep(0)
            delivered = len(witness.deliveries)
            sent.cancel()
            await asyncio.wait({sent})
            if not outcomes:  # before the dot: nothing is delivered, then or later
                assert len(witness.deliveries) == delivered
            else:
                assert isinstance(outcomes.pop(), Delivered)
        await sending.sender.close()
        await until(witness, lambda: not witness.open_now)
        assert not witness.unanswered


async def test_timed_out_it_is_closed(sending: Sending) -> None:
    with Witness({"final": [NORMAL, HANG, NORMAL]}) as witness:
        await sending.to(witness)
        assert isinstance(await sending.to(witness, deadline_s=0.1), InDoubt)
        await until(witness, lambda: not witness.open_now)
        assert isinstance(await sending.to(witness), Delivered)
        assert witness.connections == 2


# Full


async def test_where_all_are_busy_a_message_waits_and_is_served_in_turn(sending: Sending) -> None:
    gate = Gate()
    with Witness({"final": [gate, NORMAL]}) as witness:
        first = asyncio.create_task(sending.to(witness, more=pool(max_connections=1)))
        await gate.waits()
        others = [
            asyncio.create_task(
                sending.to(witness, make_message(id=f"m{number}"), more=pool(max_connections=1))
            )
            for number in range(5)
        ]
        await asyncio.sleep(0)
        assert "1 busy, 0 idle, 0 opening of 1, 5 waiting" in repr(sending.sender)
        gate.open()
        for outcome in await asyncio.gather(first, *others):
            assert isinstance(outcome, Delivered)
        assert witness.connections == 1
        order = [one.content.split(b" id ")[1].split(b"\r\n")[0] for one in witness.deliveries[1:]]
        assert order == [b"m%d" % number for number in range(5)]


async def test_who_waits_for_too_long_is_deferred_and_hears_why(sending: Sending) -> None:
    gate = Gate()
    with Witness({"final": gate}) as witness:
        first = asyncio.create_task(sending.to(witness, more=pool(max_connections=1)))
        await gate.waits()
        outcome = await sending.to(witness, seconds=0.05, more=pool(max_connections=1))
        reason = "no connection became free: max_connections is 1"
        assert outcome == Deferred(stage=Stage.CONNECT, reason=reason)
        gate.open()
        assert isinstance(await first, Delivered)


async def test_who_is_cancelled_while_waiting_leaves_the_turn_to_the_next(sending: Sending) -> None:
    gate = Gate()
    with Witness({"final": [gate, NORMAL]}) as witness:
        tasks = [
            asyncio.create_task(sending.to(witness, more=pool(max_connections=1))) for _ in range(3)
        ]
        await gate.waits()
        tasks[1].cancel()
        gate.open()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[1], asyncio.CancelledError)
        assert isinstance(done[0], Delivered)
        assert isinstance(done[2], Delivered)


async def test_whoever_is_cancelled_and_whenever_no_room_is_lost(sending: Sending) -> None:
    with Witness() as witness:
        limits = pool(max_connections=2)
        for turns in range(40):
            tasks = [asyncio.create_task(sending.to(witness, more=limits)) for _ in range(5)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[turns % 5 :: 2]:
                task.cancel()
            await asyncio.wait(tasks)
        outcomes = await asyncio.gather(*(sending.to(witness, more=limits) for _ in range(4)))
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)
        assert "0 busy, 2 idle, 0 opening of 2, 0 waiting" in repr(sending.sender)


@pytest.mark.parametrize("end", [DROP, RESET], ids=str)
async def test_one_that_is_lost_just_when_somebody_has_waited_for_it_is_no_failure(
    end: Act, sending: Sending
) -> None:
    with Witness({"final": Then(NORMAL, end)}) as witness:
        tasks = [
            asyncio.create_task(sending.to(witness, more=pool(max_connections=1))) for _ in range(10)
        ]
        for outcome in await asyncio.gather(*tasks):
            assert isinstance(outcome, Delivered)
        assert witness.connections == 10


async def test_a_connection_that_cannot_be_made_leaves_its_room(sending: Sending) -> None:
    with Witness({"banner": [b"450 4.3.2 not now", b"450 4.3.2 not now", NORMAL]}) as witness:
        tasks = [
            asyncio.create_task(sending.to(witness, more=pool(max_connections=1))) for _ in range(4)
        ]
        outcomes = await asyncio.gather(*tasks)
        assert Counter(outcome.kind for outcome in outcomes) == {"deferred": 2, "delivered": 2}


async def test_beyond_the_total_the_longest_idle_makes_room(ca_file: Path) -> None:
    sender = SmtpSender(max_connections=2)
    sending = Sending(sender, ca_file)
    with Witness(name="a") as a, Witness(name="b") as b, Witness(name="c") as c:
        for witness in (a, b, c):
            await sending.to(witness)
        await until(a, lambda: a.quits == 1)
        assert (b.open_now, c.open_now) == (1, 1)
    await sender.close()


# Never shared between different credentials

OTHERS: tuple[Mapping[str, object], ...] = (
    {"user": "other"},
    {"pass": "other"},
    {"tls_verify": False},
    {"tls": "starttls"},
    {"addr": "127.0.0.1"},
    {"pool": {"idle_s": 31}},
    {"auth": {"type": "login"}},
)


@pytest.mark.parametrize("other", OTHERS, ids=str)
async def test_what_differs_in_anything_that_matters_shares_no_connection(
    other: Mapping[str, object], sending: Sending, server_tls: ssl.SSLContext
) -> None:
    witness = Witness(tls=server_tls, auth=LOGIN)
    with witness:
        assert isinstance(await sending.to(witness), Delivered)
        if "addr" in other:
            other = {"addr": witness.addr, "tls_verify": False}
        await sending.to(witness, more=other)
        assert witness.connections == 2


async def test_what_differs_in_nothing_that_matters_shares_connections(sending: Sending) -> None:
    with Witness(auth=LOGIN) as witness:
        for name in "ab":
            await sending.to(witness, more={"name": name, "options": {"weight": name}})
        assert witness.connections == 1


async def test_a_shared_connection_judges_each_message_by_its_own_rules(sending: Sending) -> None:
    one = {"pool": {"max_connections": 1}}
    strict = one | {"replies": [{"match": "^450", "class": "rejected"}], "limits": {"per_hour": 5}}
    with Witness({"mail": b"450 4.3.0 not now"}) as witness:
        for more, kind in ((one, Deferred), (strict, Rejected), (one, Deferred)):
            assert isinstance(await sending.to(witness, more=more), kind)
        assert witness.connections == 1


async def test_two_logins_at_the_same_time_each_have_their_own(sending: Sending) -> None:
    with Witness(auth_mechanisms=("PLAIN",), auth=LOGIN) as witness:
        for _, more in itertools.product(range(5), ({}, {"pass": "wrong"})):
            outcome = await sending.to(witness, more=more)
            assert isinstance(outcome, Deferred if more else Delivered)
        assert len({one.connection for one in witness.deliveries}) == 1
        assert {one.login for one in witness.deliveries} == {LOGIN[0].encode()}


# Reload, stop


async def test_what_the_settings_no_longer_have_is_left(sending: Sending) -> None:
    with Witness(auth=LOGIN) as a, Witness(name="b") as b:
        await sending.to(a)
        await sending.to(b)
        await sending.sender.retain(sending.settings(b))
        await until(a, lambda: a.quits == 1 and a.open_now == 0)
        assert isinstance(await sending.to(b), Delivered)
        assert b.connections == 1


@pytest.mark.parametrize("change", [{"pass": "changed"}, {"user": "other"}], ids=str)
async def test_changed_credentials_end_what_was_opened_with_the_old_ones(
    change: Mapping[str, object], sending: Sending
) -> None:
    gate = Gate()
    with Witness({"final": [NORMAL, gate, NORMAL]}, auth=LOGIN) as witness:
        await sending.to(witness)
        await sending.sender.retain(sending.settings(witness))
        assert witness.quits == 0
        busy = asyncio.create_task(sending.to(witness))
        await gate.waits()
        await sending.sender.retain(sending.settings(witness, change))
        assert witness.open_now == 1  # a message that is under way goes its way
        gate.open()
        assert isinstance(await busy, Delivered)
        await until(witness, lambda: witness.quits == 1)


async def test_a_message_that_still_has_old_settings_keeps_no_connection(sending: Sending) -> None:
    with Witness() as witness:
        await sending.sender.retain(sending.settings(witness, {"tls_verify": False}))
        assert isinstance(await sending.to(witness), Delivered)
        await until(witness, lambda: witness.quits == 1)


async def test_a_changed_hostname_is_said_anew(sending: Sending) -> None:
    with Witness() as witness:
        settings = sending.settings(witness)
        end = asyncio.get_running_loop().time() + 5
        for now in (settings, replace(settings, hostname="new.example")):
            await sending.sender.send(
                make_message(), settings.users[0].downstreams[0], now, until=end, deadline=end
            )
        assert [one.ehlo for one in witness.deliveries] == [b"router.example", b"new.example"]


async def test_at_the_end_good_bye_is_said_on_all(sending: Sending) -> None:
    gate = Gate()
    with Witness({"final": gate}) as witness:
        sent = [asyncio.create_task(sending.to(witness)) for _ in range(3)]
        for _ in sent:
            await gate.waits()
        gate.open()
        await asyncio.gather(*sent)
        await sending.sender.close()
        assert repr(sending.sender) == "<SmtpSender []>"
        await until(witness, lambda: witness.quits == 3 and witness.open_now == 0)


# TLS sessions


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("implicit", [False, True])
async def test_a_new_connection_resumes_the_tls_session(
    version: ssl.TLSVersion, sending: Sending, ca: trustme.CA, *, implicit: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    ca.issue_cert(LOCALHOST).configure_cert(context)
    with Witness(tls=context, implicit_tls=implicit) as witness:
        for _ in range(3):
            assert isinstance(await sending.to(witness, more=ONCE), Delivered)
            await until(witness, lambda: witness.open_now == 0)
        assert witness.resumed == [False, True, True]


async def test_no_session_is_resumed_where_another_certificate_is_wanted(
    sending: Sending, server_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    """What was verified by one authority says nothing to who trusts another."""
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    with Witness(tls=server_tls, implicit_tls=True) as witness:
        assert isinstance(await sending.to(witness, more=ONCE), Delivered)
        outcome = await sending.to(witness, more={**ONCE, "tls_ca": str(stranger)})
        assert (outcome.kind, outcome.stage) == ("deferred", Stage.TLS)


async def test_steady_load_goes_over_kept_connections(sending: Sending) -> None:
    with Witness() as witness:

        async def client(number: int) -> None:
            for count in range(30):
                message = replace(make_message(), id=f"{number}-{count}")
                assert isinstance(
                    await sending.to(witness, message, more=pool(max_connections=4)), Delivered
                )

        await asyncio.gather(*map(client, range(8)))
        assert len(witness.deliveries) == 240
        assert witness.connections <= 4
