"""Dovecot as the one who checks the router's logins: mechanisms that somebody else has written."""

import json
from pathlib import Path

import pytest

from tests.dovecot import BY_PASSWORD, BY_TOKEN, Dovecot
from tests.running import Router, one_user
from tests.tokenserver import Answer, TokenServer, token
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
LOGIN = ("router@a.example", "pässwörd, =2C")
TOKEN = "ya29.t0ken"


@pytest.mark.parametrize("mechanism", BY_PASSWORD)
def test_dovecot_takes_the_routers_password_and_no_other(mechanism: str, tmp_path: Path) -> None:
    with Dovecot(*LOGIN) as dovecot:
        sasl = {mechanism: dovecot.server(mechanism)}
        with (
            Witness(auth=LOGIN, auth_mechanisms=(mechanism,), sasl=sasl, name="right") as right,
            Witness(auth=(LOGIN[0], "wrong"), auth_mechanisms=(mechanism,), sasl=sasl) as wrong,
            Router(one_user(wrong, right), tmp_path) as router,
            router.client() as client,
        ):
            assert client.transaction(A, [B], HELLO).code == 250
            assert router.log.wait("attempt", downstream="a")["code"] == 535
        assert right.deliveries[0].login == LOGIN[0].encode()
        assert not wrong.deliveries


@pytest.mark.parametrize("mechanism", BY_TOKEN)
def test_dovecot_takes_the_routers_token_and_no_other(mechanism: str, tmp_path: Path) -> None:
    known = Answer(body=json.dumps({"active": True, "username": LOGIN[0]}).encode())
    unknown = Answer(body=json.dumps({"active": False}).encode())
    with (
        TokenServer(unknown, known) as introspection,
        TokenServer(token("revoked"), token(TOKEN)) as endpoint,
        Dovecot(*LOGIN, introspection=introspection.url) as dovecot,
        Witness(
            auth=LOGIN, auth_mechanisms=(mechanism,), sasl={mechanism: dovecot.server(mechanism)}
        ) as a,
    ):
        auth = endpoint.auth(type=mechanism.lower())
        entry = {"addr": a.addr, "name": "a", "user": LOGIN[0], "auth": auth}
        with Router(one_user(entry), tmp_path) as router, router.client() as client:
            refused = client.transaction(A, [B], HELLO)
            assert (refused.code, refused.enhanced) == (451, "4.7.0")
            client.command(b"RSET")
            assert client.transaction(A, [B], HELLO).code == 250
    assert [form["token"] for form in introspection.forms] == ["revoked", TOKEN]
