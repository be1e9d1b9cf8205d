"""Who may share a connection: nobody who differs in credentials, or in anything else that matters."""

import itertools
import ssl
from collections.abc import Mapping

import pytest

from smtp_router import Deferred, Delivered, Rejected
from tests.smtp.sending import LOGIN, Sending
from tests.witness import Witness

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

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
