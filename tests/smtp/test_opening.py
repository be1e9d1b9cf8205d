"""How a connection is opened: when TLS has to be there, and how the router logs in."""

import asyncio
import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from smtp_router import Deferred, Delivered, Stage
from smtp_router.config.load import parse
from smtp_router.core.outcome import OutcomeKind
from smtp_router.smtp.client_tls import ClientContexts
from smtp_router.smtp.opening import Opening
from smtp_router.smtp.verdict import AttemptEnded
from smtp_router.tokens.tokens import Tokens
from tests.running import downstream, one_user
from tests.script import DROP, HANG, Plan, Raw, Then
from tests.smtp.sending import LOGIN, Sending, until
from tests.witness import Witness

# TLS and login


async def test_auto_takes_starttls_where_it_is_offered(
    sending: Sending, server_tls: ssl.SSLContext
) -> None:
    with Witness(tls=server_tls) as witness:
        assert isinstance(await sending.to(witness), Delivered)
    assert witness.deliveries[0].tls
    assert witness.commands[:3] == [b"EHLO router.example", b"STARTTLS", b"EHLO router.example"]


async def test_auto_goes_on_in_clear_where_it_is_not(sending: Sending, w: Witness) -> None:
    assert isinstance(await sending.to(w, more={"tls": "auto"}), Delivered)
    assert not w.deliveries[0].tls


async def test_none_does_not_even_try(sending: Sending, server_tls: ssl.SSLContext) -> None:
    with Witness(tls=server_tls, auth=LOGIN) as witness:
        assert isinstance(await sending.to(witness, more={"tls": "none"}), Delivered)
    assert not witness.deliveries[0].tls
    assert b"STARTTLS" not in witness.commands


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_a_downstream_that_repeats_our_password_gets_it_into_no_outcome(
    sending: Sending, mechanism: str
) -> None:
    def repeat(line: bytes) -> bytes:
        return b"535 5.7.8 " + LOGIN[1].encode() + b" is wrong: " + line

    with Witness({"auth": repeat}, auth=LOGIN, auth_mechanisms=(mechanism,)) as witness:
        outcome = await sending.to(witness)
    assert isinstance(outcome, Deferred)
    assert "*** is wrong: " in str(outcome)
    for secret in (LOGIN[1], base64.b64encode(LOGIN[1].encode()).decode(), *_sent(witness)):
        assert secret not in str(outcome)


def _sent(witness: Witness) -> list[str]:
    """What the witness was sent for a login, in base64."""
    lines = [line.decode().split()[-1] for line in witness.commands if line]
    return [word for word in lines if LOGIN[1] in _decoded(word)]


def _decoded(word: str) -> str:
    try:
        return base64.b64decode(word, validate=True).decode("utf-8", "replace")
    except ValueError:
        return ""


async def test_implicit_speaks_tls_from_the_first_octet(
    sending: Sending, server_tls: ssl.SSLContext
) -> None:
    with Witness(tls=server_tls, implicit_tls=True, auth=LOGIN) as witness:
        assert isinstance(await sending.to(witness), Delivered)
    assert witness.deliveries[0].tls
    assert b"STARTTLS" not in witness.commands


@dataclass(frozen=True)
class Unsafe:
    """A downstream that cannot be talked to safely, and how the router is told to."""

    name: str
    tls: str = "starttls"
    offered: bool = True
    script: Mapping[str, Plan] = field(default_factory=dict)
    more: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


UNSAFE = (
    Unsafe("starttls is not offered", offered=False),
    Unsafe("454", script={"starttls": b"454 4.7.0 not now"}),
    Unsafe("500", script={"starttls": b"500 5.5.1 what?"}),
    Unsafe("garbage", script={"starttls": b"what?"}),
    Unsafe("250 instead of 220", script={"starttls": b"250 2.0.0 ok"}),
    Unsafe("a 220 and silence", script={"starttls": Then(b"220 2.0.0 go", DROP)}),
    Unsafe("a 220 and no TLS", script={"starttls": Then(Raw(b"220 2.0.0 go\r\n250 hi\r\n"), DROP)}),
    Unsafe("auto, 454", tls="auto", script={"starttls": b"454 4.7.0 not now"}),
    Unsafe("auto, garbage", tls="auto", script={"starttls": b"what?"}),
    Unsafe("wrong name", more={"addr": "127.0.0.1"}),
    Unsafe("auto, wrong name", tls="auto", more={"addr": "127.0.0.1"}),
    Unsafe("unknown authority", more={"tls_ca": None}),
    Unsafe("implicit, but it speaks first", tls="implicit", offered=False),
    Unsafe("implicit, a handshake that hangs", tls="implicit", script={"accept": HANG}),
    Unsafe("implicit, a handshake that is cut", tls="implicit", script={"accept": DROP}),
    Unsafe("implicit, wrong name", tls="implicit", more={"addr": "127.0.0.1"}),
    Unsafe("implicit, unknown authority", tls="implicit", more={"tls_ca": None}),
)


@pytest.mark.parametrize("unsafe", UNSAFE, ids=str)
async def test_where_tls_fails_neither_login_nor_mail_goes_out_in_clear(
    sending: Sending, unsafe: Unsafe, server_tls: ssl.SSLContext
) -> None:
    tls = server_tls if unsafe.offered else None
    implicit = unsafe.tls == "implicit" and unsafe.offered
    sending.timeouts = {"tls_s": 1, "banner_s": 1}
    script = dict(unsafe.script)
    with Witness(script, auth=LOGIN, tls=tls, implicit_tls=implicit) as witness:
        more = {"tls": unsafe.tls} | dict(unsafe.more)
        if "addr" in more:
            more["addr"] = witness.addr
        outcome = await sending.to(witness, more=more)
        await sending.sender.close()
        await until(witness, lambda: witness.open_now == 0)
    assert isinstance(outcome, Deferred)
    assert outcome.stage is (Stage.TLS if unsafe.offered or unsafe.tls != "implicit" else outcome.stage)
    assert set(witness.commands) <= {b"EHLO router.example", b"STARTTLS", b"QUIT"}
    assert not witness.deliveries


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_tls_verify_false_takes_any_certificate(
    sending: Sending, mode: str, server_tls: ssl.SSLContext
) -> None:
    with Witness(tls=server_tls, implicit_tls=mode == "implicit", auth=LOGIN) as witness:
        more = {"tls": mode, "tls_verify": False, "tls_ca": None, "addr": witness.addr}
        outcome = await sending.to(witness, more=more)
    assert isinstance(outcome, Delivered)
    assert witness.deliveries[0].tls


async def test_what_came_in_clear_behind_starttls_counts_for_nothing(
    sending: Sending, server_tls: ssl.SSLContext
) -> None:
    """RFC 3207 4.2: nor does what EHLO offered before it."""
    injected = Raw(b"220 2.0.0 go\r\n250-evil\r\n250 AUTH LOGIN\r\n")
    with Witness({"starttls": injected}, tls=server_tls) as witness:
        outcome = await sending.to(witness, more={"user": "u", "pass": "p"})
    assert outcome.stage is Stage.AUTH
    assert not [line for line in witness.commands if line.startswith(b"AUTH")]


class Elsewhere(Opening):
    """A connection whose far end is not this machine, as far as the decision goes."""

    def _is_local(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("policy", "login", "goes_on"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("none", True, True),  # who says so wants it so
        ("starttls", False, False),
    ],
)
async def test_stripped_starttls_stops_a_login_elsewhere(
    policy: str, *, login: bool, goes_on: bool
) -> None:
    with Witness(auth=LOGIN) as witness:
        entry = downstream(witness, tls=policy)
        if not login:
            del entry["user"], entry["pass"]
        settings = parse(json.dumps(one_user(entry)).encode(), Path("config.yaml")).settings
        end = asyncio.get_running_loop().time() + 5
        connection = Elsewhere(
            settings.users[0].downstreams[0], settings.timeouts, settings.hostname, end
        )
        try:
            if goes_on:
                await connection.open(ClientContexts(), Tokens(asyncio.get_running_loop()))
            else:
                with pytest.raises(AttemptEnded) as ended:
                    await connection.open(ClientContexts(), Tokens(asyncio.get_running_loop()))
                assert ended.value.outcome.stage is Stage.TLS
        finally:
            connection.abort()
        sent = [line.split()[0] for line in witness.commands]
    assert sent == ([b"EHLO", b"AUTH"] if goes_on and login else [b"EHLO"])


@pytest.mark.parametrize(
    ("offered", "used"),
    [
        (("PLAIN", "LOGIN"), b"PLAIN"),
        (("LOGIN", "PLAIN"), b"PLAIN"),
        (("LOGIN",), b"LOGIN"),
        (("PLAIN",), b"PLAIN"),
        (("CRAM-MD5", "LOGIN"), b"LOGIN"),
        (("CRAM-MD5",), b"CRAM-MD5"),
        (("CRAM-MD5", "PLAIN", "LOGIN", "SCRAM-SHA-256"), b"SCRAM-SHA-256"),
        (("GSSAPI", "XOAUTH2", "SCRAM-SHA-256-PLUS"), None),
        ((), None),
    ],
)
async def test_the_mechanism_is_one_that_is_offered(
    sending: Sending, offered: tuple[str, ...], used: bytes | None
) -> None:
    with Witness(auth=LOGIN, auth_mechanisms=offered) as witness:
        outcome = await sending.to(witness)
    tried = [line.split()[1] for line in witness.commands if line.upper().startswith(b"AUTH ")]
    if used is None:
        assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.AUTH)
        assert not tried
    else:
        assert isinstance(outcome, Delivered)
        assert [name.upper() for name in tried] == [used]
        assert witness.deliveries[0].login == LOGIN[0].encode()


@pytest.mark.parametrize("reply", [b"535 5.7.8 no", b"504 5.5.4 not that", b"454 4.7.0 later"])
async def test_one_failed_login_is_not_followed_by_another(sending: Sending, reply: bytes) -> None:
    """Three of them lock an account."""
    with Witness({"auth": reply}, auth=LOGIN) as witness:
        outcome = await sending.to(witness)
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.AUTH)
    assert len([line for line in witness.commands if line.startswith(b"AUTH")]) == 1
    assert not [line for line in witness.commands if line.startswith(b"MAIL")]


async def test_a_login_demanded_at_mail_is_a_fault_of_the_session(sending: Sending) -> None:
    """530 is about the router's configuration, so the message is not refused for good."""
    with Witness({"mail": b"530 5.7.0 login first"}) as witness:
        outcome = await sending.to(witness)
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.MAIL)


@pytest.mark.parametrize("login", [("ünï", "pässwörd ☃"), ("a b", "=*&%$#@!"), ("u", "x" * 500)])
async def test_any_login_gets_through(sending: Sending, login: tuple[str, str]) -> None:
    for mechanism in ("PLAIN", "LOGIN"):
        with Witness(auth=login, auth_mechanisms=(mechanism,)) as witness:
            assert isinstance(await sending.to(witness), Delivered)
