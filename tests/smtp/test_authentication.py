"""How the router logs in at a downstream: by which mechanism, and what follows from a refusal."""

import asyncio
import base64
import logging
import ssl
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import pytest

from smtp_router import Deferred, Delivered, Outcome, Stage
from tests.sasl import SERVERS, Ask, Scram, Server
from tests.script import HANG
from tests.smtp.sending import LOGIN, ONCE, Sending, until
from tests.tokenserver import CLIENT_SECRET, REFRESH_TOKEN, Answer, TokenServer, error, token
from tests.witness import Witness

TOKEN = "ya29.t0ken-1"
USER = LOGIN[0]
BY_TOKEN = (USER, TOKEN)
NO_PASS: Mapping[str, object] = MappingProxyType({"pass": None, **ONCE})


def auths(witness: Witness) -> list[bytes]:
    """The mechanisms that were tried."""
    return [line.split()[1] for line in witness.commands if line.startswith(b"AUTH ")]


def deferred_at_auth(outcome: Outcome) -> str:
    """The text of an outcome that is a failed login."""
    assert isinstance(outcome, Deferred)
    assert outcome.stage is Stage.AUTH
    return str(outcome)


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with TokenServer(token(TOKEN)) as server:
        yield server


# By password


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "starttls"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
@pytest.mark.parametrize("told", [False, True], ids=["found", "told"])
async def test_each_mechanism_logs_in(
    sending: Sending, server_tls: ssl.SSLContext, mechanism: str, *, told: bool, secure: bool
) -> None:
    more = {"auth": {"type": mechanism.lower()}} if told else {}
    offered = (mechanism, "PLAIN", "LOGIN") if told else (mechanism,)
    tls = server_tls if secure else None
    with Witness(auth=LOGIN, auth_mechanisms=offered, tls=tls) as witness:
        assert isinstance(await sending.to(witness, more=more), Delivered)
    assert auths(witness) == [mechanism.encode()]
    assert witness.deliveries[0].login == USER.encode()
    assert witness.deliveries[0].tls is secure


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
async def test_a_wrong_password_is_one_failed_login(sending: Sending, mechanism: str) -> None:
    offered = (mechanism, "PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")
    with Witness(auth=(USER, "another"), auth_mechanisms=offered) as witness:
        outcome = await sending.to(
            witness, more={"user": USER, "pass": LOGIN[1], "auth": {"type": mechanism.lower()}}
        )
    assert "535" in deferred_at_auth(outcome)
    assert auths(witness) == [mechanism.encode()]


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "SCRAM-SHA-256", "LOGIN", "PLAIN"])
@pytest.mark.parametrize("login", [("ünï", "pässwörd"), ("a,b=c", "=*&%$#@!"), ("u", "x" * 1000)])
async def test_any_login_gets_through_by_any_mechanism(
    sending: Sending, mechanism: str, login: tuple[str, str]
) -> None:
    with Witness(auth=login, auth_mechanisms=(mechanism,)) as witness:
        assert isinstance(await sending.to(witness), Delivered)
    assert max(len(line) + 2 for line in witness.commands if line.startswith(b"AUTH")) <= 512


async def test_a_password_that_scram_does_not_allow_goes_by_the_next_mechanism(sending: Sending) -> None:
    login = ("u", "a\x07b")
    with Witness(auth=login, auth_mechanisms=("SCRAM-SHA-256", "PLAIN")) as witness:
        assert isinstance(await sending.to(witness), Delivered)
        told = {"auth": {"type": "scram-sha-256"}, **ONCE}
        assert "SCRAM" in deferred_at_auth(await sending.to(witness, more=told))
    assert auths(witness) == [b"PLAIN"]


async def test_a_mechanism_that_is_told_and_not_offered_is_not_tried(sending: Sending) -> None:
    with Witness(auth=LOGIN, auth_mechanisms=("PLAIN",)) as witness:
        outcome = await sending.to(witness, more={"auth": {"type": "cram-md5"}})
    assert "offered plain" in deferred_at_auth(outcome)
    assert not auths(witness)


def ask_again(ask: Ask, initial: bytes, _user: bytes, _password: bytes) -> NoReturn:
    """A server that never has enough."""
    ask(b"<1@b>", initial)
    while True:
        ask(b"<1@b>", b"")


LIARS: Mapping[str, Server] = MappingProxyType(
    {
        "no proof": Scram(proves_itself=False),
        "a wrong proof": Scram(final=lambda _: b"v=" + base64.b64encode(32 * b"x")),
        "an error for a proof": Scram(final=lambda _: b"e=other-error"),
        "another's nonce": Scram(first=lambda message: b"r=x" + message[3:]),
        "too few rounds": Scram(iterations=1000),
        "too many rounds": Scram(first=lambda message: message.replace(b"i=4096", b"i=9999999")),
        "no challenge": lambda _ask, _initial, user, _password: (user, True),
        "rubbish": Scram(first=lambda _: b"\xff\0what?"),
    }
)


@pytest.mark.parametrize("liar", LIARS)
async def test_a_server_that_does_not_prove_itself_gets_no_mail(sending: Sending, liar: str) -> None:
    sasl = dict(SERVERS) | {"SCRAM-SHA-256": LIARS[liar]}
    with Witness(auth=LOGIN, auth_mechanisms=("SCRAM-SHA-256", "PLAIN"), sasl=sasl) as witness:
        outcome = await sending.to(witness)
        await until(witness, lambda: witness.quits == 1)
    assert "SCRAM-SHA-256: " in deferred_at_auth(outcome)
    assert auths(witness) == [b"SCRAM-SHA-256"]
    assert not witness.deliveries
    assert not [line for line in witness.commands if line.startswith(b"MAIL")]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2"])
async def test_a_server_that_goes_on_asking_is_left(
    sending: Sending, server: TokenServer, mechanism: str
) -> None:
    sasl = {mechanism: ask_again}
    by_token = {"auth": server.auth(), **NO_PASS}
    with Witness(auth=LOGIN, auth_mechanisms=(mechanism,), sasl=sasl) as witness:
        more = by_token if mechanism == "XOAUTH2" else {"auth": {"type": mechanism.lower()}}
        outcome = await sending.to(witness, more=more)
    assert f"{mechanism}: " in deferred_at_auth(outcome)
    assert witness.commands[-2:] == [b"*", b"QUIT"] or witness.commands[-1] == b"*"
    assert len(witness.commands) < 8


@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER"])
async def test_a_downstream_that_repeats_what_it_was_sent_gets_it_into_no_outcome(
    sending: Sending, server: TokenServer, mechanism: str
) -> None:
    witness = Witness(auth=LOGIN, auth_mechanisms=(mechanism,))

    def repeat(_: bytes) -> bytes:
        said = b" ".join(line.rpartition(b" ")[2] for line in witness.commands[1:])
        return b"535 5.7.8 " + LOGIN[1].encode() + b" " + TOKEN.encode() + b" is wrong: " + said

    witness.on("auth", repeat)
    by_token = mechanism in ("XOAUTH2", "OAUTHBEARER")
    more = {"auth": server.auth(type=mechanism.lower()), **NO_PASS} if by_token else {}
    with witness:
        text = deferred_at_auth(await sending.to(witness, more=more))
    assert "***" in text
    sent = [line.decode().split()[-1] for line in witness.commands[1:] if line.strip()]
    secret = TOKEN if by_token else LOGIN[1]
    for word in (secret, *[word for word in sent if len(word) > 12]):
        assert word not in text


# By token


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "starttls"])
@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_a_token_logs_in(
    sending: Sending, server_tls: ssl.SSLContext, server: TokenServer, mechanism: str, *, secure: bool
) -> None:
    more = {"auth": server.auth(type=mechanism.lower(), scope="mail send"), "pass": None}
    tls = server_tls if secure else None
    with Witness(auth=BY_TOKEN, auth_mechanisms=("PLAIN", mechanism), tls=tls) as witness:
        assert isinstance(await sending.to(witness, more=more), Delivered)
    assert auths(witness) == [mechanism.encode()]
    assert witness.deliveries[0].tls is secure
    assert server.forms == [
        {
            "grant_type": "refresh_token",
            "client_id": "router",
            "client_secret": CLIENT_SECRET,
            "refresh_token": REFRESH_TOKEN,
            "scope": "mail send",
        }
    ]


async def test_a_long_token_waits_until_it_is_asked_for(sending: Sending) -> None:
    long = 4000 * "t"
    with (
        TokenServer(token(long)) as server,
        Witness(auth=(USER, long), auth_mechanisms=("XOAUTH2",)) as witness,
    ):
        outcome = await sending.to(witness, more={"auth": server.auth(), **NO_PASS})
    assert isinstance(outcome, Delivered)
    assert b"AUTH XOAUTH2" in witness.commands


async def test_a_token_is_used_by_all_connections_with_the_same_credential(
    sending: Sending, server: TokenServer
) -> None:
    server.gate.clear()
    more = {"auth": server.auth(), **NO_PASS}
    with Witness(auth=BY_TOKEN, auth_mechanisms=("XOAUTH2",)) as witness:
        async with asyncio.TaskGroup() as tasks:
            sent = [tasks.create_task(sending.to(witness, more=more)) for _ in range(5)]
            await until(witness, lambda: witness.connections == 5)
            server.gate.set()
        assert all(isinstance(task.result(), Delivered) for task in sent)
        assert isinstance(await sending.to(witness, more=more), Delivered)
    assert len(server.forms) == 1


async def test_another_credential_gets_a_token_of_its_own(sending: Sending) -> None:
    with (
        TokenServer(token("one"), token("two")) as server,
        Witness(auth=(USER, "one"), auth_mechanisms=("XOAUTH2",)) as witness,
    ):
        first, second = server.auth(), server.auth(refresh_token="another")
        assert isinstance(await sending.to(witness, more={"auth": first, **NO_PASS}), Delivered)
        deferred_at_auth(await sending.to(witness, more={"auth": second, **NO_PASS}))
        assert isinstance(await sending.to(witness, more={"auth": first, **NO_PASS}), Delivered)
    assert [form["refresh_token"] for form in server.forms] == [REFRESH_TOKEN, "another"]


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_a_token_that_is_refused_is_not_used_again_nor_followed_by_another_in_the_same_attempt(
    sending: Sending, mechanism: str
) -> None:
    with (
        TokenServer(token("revoked"), token(TOKEN)) as server,
        Witness(auth=BY_TOKEN, auth_mechanisms=(mechanism, "PLAIN")) as witness,
    ):
        more = {"auth": server.auth(type=mechanism.lower()), **NO_PASS}
        assert "535" in deferred_at_auth(await sending.to(witness, more=more))
        assert (auths(witness), len(server.forms)) == ([mechanism.encode()], 1)
        assert isinstance(await sending.to(witness, more=more), Delivered)
    assert len(server.forms) == 2


async def test_a_token_stays_when_the_server_has_troubles_of_its_own(
    sending: Sending, server: TokenServer
) -> None:
    with Witness({"auth": b"454 4.7.0 later"}, auth=BY_TOKEN, auth_mechanisms=("XOAUTH2",)) as witness:
        for _ in range(2):
            deferred_at_auth(await sending.to(witness, more={"auth": server.auth(), **NO_PASS}))
    assert len(server.forms) == 1


async def test_the_refresh_token_that_came_last_is_used(sending: Sending) -> None:
    answers = (token("one", refresh_token="r3fresh-1"), token("two"), token("three"))
    with (
        TokenServer(*answers) as server,
        Witness(auth=(USER, "none of them"), auth_mechanisms=("XOAUTH2",)) as witness,
    ):
        for _ in range(3):
            deferred_at_auth(await sending.to(witness, more={"auth": server.auth(), **NO_PASS}))
    used = [form["refresh_token"] for form in server.forms]
    assert used == [REFRESH_TOKEN, "r3fresh-1", "r3fresh-1"]


async def test_a_reload_keeps_a_credentials_token_and_forgets_those_that_are_gone(
    sending: Sending,
) -> None:
    answers = (token(TOKEN, refresh_token="r3fresh-1"), token(TOKEN))
    with (
        TokenServer(*answers) as server,
        Witness(auth=BY_TOKEN, auth_mechanisms=("XOAUTH2",)) as witness,
    ):
        more = {"auth": server.auth(), **NO_PASS}
        assert isinstance(await sending.to(witness, more=more), Delivered)
        await sending.sender.retain(sending.settings(witness, more | {"name": "renamed", "pool": {}}))
        assert isinstance(await sending.to(witness, more=more), Delivered)
        assert len(server.forms) == 1
        await sending.sender.retain(sending.settings(witness))
        assert isinstance(await sending.to(witness, more=more), Delivered)
    assert [form["refresh_token"] for form in server.forms] == [REFRESH_TOKEN, REFRESH_TOKEN]


ENDPOINTS = {
    "400 invalid_grant": error("invalid_grant"),
    "400, and for a code what it was sent": error(REFRESH_TOKEN),
    "200, and for a code what it was sent": error(CLIENT_SECRET, 200),
    "401 invalid_client": error("invalid_client", 401),
    "429": error("slow_down", 429),
    "503": Answer(body=b"<html>", status=503, kind="text/html"),
    "302": Answer(body=b"", status=302, location="http://127.0.0.1:1/"),
    "200, an error": error("invalid_grant", 200),
    "200, no token": Answer(body=b'{"token_type": "Bearer"}'),
    "200, a token with a line end": token("a\r\nb"),
    "200, a token that is a number": Answer(body=b'{"access_token": 5}'),
    "200, no JSON": Answer(body=b"<html>"),
    "200, a list": Answer(body=b"[1]"),
    "200, JSON without end": Answer(body=b"[" * 60_000),
    "200, endless": Answer(body=b" " * 70_000),
}


@pytest.mark.parametrize("answer", ENDPOINTS)
async def test_an_endpoint_that_gives_no_token_defers_at_auth_and_shows_no_secret(
    sending: Sending, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        TokenServer(ENDPOINTS[answer]) as server,
        Witness(auth=BY_TOKEN, auth_mechanisms=("XOAUTH2", "PLAIN")) as witness,
    ):
        outcome = await sending.to(witness, more={"auth": server.auth(), **NO_PASS})
        await until(witness, lambda: witness.quits == 1)
    text = deferred_at_auth(outcome)
    assert "token endpoint: " in text or "no access token" in text
    logged = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    for secret in (REFRESH_TOKEN, CLIENT_SECRET):
        assert secret not in text + logged
    assert not auths(witness)
    assert len(server.forms) == 1


async def test_an_endpoint_that_is_down_defers_at_auth(sending: Sending, server: TokenServer) -> None:
    auth = server.auth()
    server.__exit__()
    with Witness(auth=BY_TOKEN, auth_mechanisms=("XOAUTH2",)) as witness:
        outcome = await sending.to(witness, more={"auth": auth, **NO_PASS})
    assert "token endpoint: " in deferred_at_auth(outcome)


@pytest.mark.parametrize("limit", ["auth_s", "deadline"])
async def test_a_slow_endpoint_takes_no_more_than_the_logins_time(
    sending: Sending, server: TokenServer, limit: str
) -> None:
    server.gate.clear()
    if limit == "auth_s":
        sending.timeouts = {"auth_s": 0.05}
    seconds = 10 if limit == "auth_s" else 0.5
    with Witness(auth=BY_TOKEN, auth_mechanisms=("XOAUTH2",)) as witness:
        more = {"auth": server.auth(), **NO_PASS}
        outcome = await sending.to(witness, more=more, seconds=seconds)
        assert "timed out" in deferred_at_auth(outcome)
        sending.timeouts = {}
        server.gate.set()  # what was asked then is not asked again
        assert isinstance(await sending.to(witness, more=more), Delivered)
    assert len(server.forms) == 1


async def test_a_router_that_stops_waits_for_no_token(sending: Sending, server: TokenServer) -> None:
    server.gate.clear()
    sending.timeouts = {"auth_s": 0.05}
    with Witness(auth=BY_TOKEN, auth_mechanisms=("XOAUTH2",)) as witness:
        deferred_at_auth(await sending.to(witness, more={"auth": server.auth(), **NO_PASS}))
        assert len(asyncio.all_tasks()) == 2
        await sending.sender.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_token_comes_over_verified_tls(
    sending: Sending, server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        TokenServer(token(TOKEN), tls=server_tls) as server,
        Witness(auth=BY_TOKEN, auth_mechanisms=("XOAUTH2",)) as witness,
    ):
        more = {"auth": server.auth(), **NO_PASS}
        assert "token endpoint: " in deferred_at_auth(await sending.to(witness, more=more))
        assert not server.forms
        monkeypatch.setenv("SSL_CERT_FILE", str(sending.ca))
        fresh = Sending(type(sending.sender)(), sending.ca)
        assert isinstance(await fresh.to(witness, more=more), Delivered)
        await fresh.sender.close()


async def test_a_command_gives_the_token(sending: Sending, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    script = f"open({str(runs)!r}, 'a').write('x'); print({TOKEN!r}); print('more')"
    auth = {"type": "oauthbearer", "token_command": [sys.executable, "-c", script]}
    with Witness(auth=BY_TOKEN, auth_mechanisms=("OAUTHBEARER",)) as witness:
        for _ in range(2):
            outcome = await sending.to(witness, more={"auth": auth, **NO_PASS})
            assert isinstance(outcome, Delivered)
    assert runs.read_text() == "x"


async def test_a_server_that_is_silent_about_a_token_is_not_waited_for_longer_than_told(
    sending: Sending, server: TokenServer
) -> None:
    sending.timeouts = {"auth_s": 0.2}
    with Witness({"auth": HANG}, auth=BY_TOKEN, auth_mechanisms=("XOAUTH2",)) as witness:
        outcome = await sending.to(witness, more={"auth": server.auth(), **NO_PASS})
    assert "timed out" in deferred_at_auth(outcome)
