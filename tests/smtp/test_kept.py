"""Connections that are kept: used again, and left in time."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import replace

import pytest

from smtp_router import Deferred, Delivered, Rejected, Stage
from tests.script import NORMAL, Plan
from tests.smtp.sending import LOGIN, ONCE, Gate, Sending, pool, until
from tests.support import make_message
from tests.witness import Witness

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

THREE = make_message(rcpt_tos=("a@b.example", "c@b.example", "d@b.example"))

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
