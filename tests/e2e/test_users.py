"""Who may send: from where without a login, as whom, how often, how many at a time; and every AUTH."""

import base64
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import scramp  # type: ignore[import-untyped]  # it has no types
from click.testing import CliRunner

from smtp_router.cli.commands import commands as main
from smtp_router.credentials import Kind, make
from tests.rawclient import RawClient, RawReply, ehlo_keywords
from tests.running import PASSWORD, USER, Config, Router, config, one_user, user
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
EHLO = b"EHLO client.example"


@pytest.fixture
def witness() -> Iterator[Witness]:
    with Witness() as running:
        yield running


def said(reply: RawReply) -> tuple[int, str]:
    return reply.code, reply.enhanced


def with_user(witness: Witness, **more: object) -> Config:
    return config(user(witness, **more))


# networks


@pytest.mark.parametrize("hello", [EHLO, b"HELO client.example"])
def test_a_client_of_a_users_network_needs_no_login(
    hello: bytes, witness: Witness, tmp_path: Path
) -> None:
    configuration = with_user(witness, networks=["127.0.0.0/8"])
    with Router(configuration, tmp_path) as router, router.connect() as client:
        assert client.command(hello).code == 250
        assert client.transaction(A, [B], HELLO).code == 250
        assert router.log.wait("message")["user"] == USER
    protocol = b"ESMTP" if hello == EHLO else b"SMTP"
    assert b" with %b id " % protocol in witness.deliveries[0].content


def test_a_login_outweighs_the_network(witness: Witness, tmp_path: Path) -> None:
    other = user(witness, email="other@app.example", password="other")
    configuration = config(user(witness, networks=["127.0.0.1"]), other)
    with Router(configuration, tmp_path) as router:
        with router.client("other@app.example", "other") as client:
            assert client.transaction(A, [B], HELLO).code == 250
        assert router.log.wait("message")["user"] == "other@app.example"
    assert b" with ESMTPA id " in witness.deliveries[0].content


def test_another_network_needs_a_login(witness: Witness, tmp_path: Path) -> None:
    configuration = with_user(witness, networks=["127.0.0.0/31", "10.0.0.0/8"])
    configuration["users"][0]["networks"] = ["10.0.0.0/8"]
    with Router(configuration, tmp_path) as router, router.connect() as client:
        assert client.command(EHLO).code == 250
        assert said(client.command(b"MAIL FROM:<a@a.example>")) == (530, "5.7.0")


def test_networks_that_a_reload_changes_count_from_then_on(witness: Witness, tmp_path: Path) -> None:
    with Router(with_user(witness), tmp_path) as router:
        router.configure(with_user(witness, networks=["127.0.0.0/8"]))
        router.log.wait("reloaded")
        with router.connect() as client:
            assert client.command(EHLO).code == 250
            assert client.transaction(A, [B], HELLO).code == 250


# senders


def test_a_sender_of_somebody_else_is_refused(witness: Witness, tmp_path: Path) -> None:
    configuration = with_user(witness, senders=["*@a.example", "only@c.example"])
    with Router(configuration, tmp_path) as router, router.client() as client:
        for address in (b"x@b.example", b"x@c.example", b"x@a.example.b.example"):
            assert said(client.command(b"MAIL FROM:<" + address + b">")) == (553, "5.7.1")
        for address in (b"x@A.example", b"only@c.example", b""):
            assert client.transaction(address, [B], HELLO).code == 250
    assert len(witness.deliveries) == 3


# rate


def test_messages_beyond_the_rate_are_for_later(witness: Witness, tmp_path: Path) -> None:
    """Counted over all sessions; what is refused before does not count."""
    configuration = with_user(witness, rate="3/day", senders=["*@a.example"])
    with Router(configuration, tmp_path) as router, router.client() as one, router.client() as two:
        assert one.transaction(A, [B], HELLO).code == 250
        assert two.transaction(A, [B], HELLO).code == 250
        assert one.command(b"MAIL FROM:<x@b.example>").code == 553
        assert one.command(b"MAIL FROM:x").code == 501
        assert two.transaction(A, [B], HELLO).code == 250
        for client in (one, two):
            assert said(client.command(b"MAIL FROM:<a@a.example>")) == (451, "4.7.1")
    assert len(witness.deliveries) == 3


# connections


def test_a_user_has_so_many_sessions_and_no_more(witness: Witness, tmp_path: Path) -> None:
    other = user(witness, email="other@app.example", password="other")
    with (
        Router(config(user(witness, max_connections=2), other), tmp_path) as router,
        router.client() as one,
        router.client(),
        router.connect() as third,
    ):
        assert third.command(EHLO).code == 250
        assert said(third.login(USER, PASSWORD)) == (421, "4.7.0")
        assert third.at_eof()
        with router.client("other@app.example", "other") as client:
            assert client.command(b"NOOP").code == 250
        assert one.command(b"QUIT").code == 221
        assert one.at_eof()
        with router.client() as fourth:
            assert fourth.command(b"NOOP").code == 250


def test_connections_in_total_are_limited_and_the_one_too_many_is_told(
    witness: Witness, tmp_path: Path
) -> None:
    with (
        Router(one_user(witness, max_connections_per_address=2), tmp_path) as router,
        router.connect() as one,
        router.connect(),
        router.connect(read_banner=False) as third,
    ):
        assert said(third.reply()) == (421, "4.7.0")
        assert third.at_eof()
        assert one.command(b"QUIT").code == 221
        assert one.at_eof()
        with router.connect() as fourth:
            assert fourth.command(EHLO).code == 250


# AUTH


def by_plain(client: RawClient, login: str, password: str) -> RawReply:
    return client.login(login, password)


def by_login(client: RawClient, login: str, password: str) -> RawReply:
    assert client.command(b"AUTH LOGIN").code == 334
    assert client.command(base64.b64encode(login.encode())).code == 334
    return client.command(base64.b64encode(password.encode()))


def by_scram(client: RawClient, login: str, password: str) -> RawReply:
    scram = scramp.ScramClient(["SCRAM-SHA-256"], login, password)

    def say(text: str, verb: bytes = b"") -> RawReply:
        return client.command(verb + base64.b64encode(text.encode()))

    def heard(reply: RawReply) -> str:
        return base64.b64decode(reply.lines[0]).decode()

    reply = say(scram.get_client_first(), b"AUTH SCRAM-SHA-256 ")
    assert reply.code == 334
    scram.set_server_first(heard(reply))
    reply = say(scram.get_client_final())
    if reply.code != 334:
        return reply
    scram.set_server_final(heard(reply))  # which proves that the router knows the password
    return client.command(b"")


WAYS = {"PLAIN": by_plain, "LOGIN": by_login, "SCRAM-SHA-256": by_scram}


@pytest.mark.parametrize("kind", Kind)
def test_each_mechanism_that_is_offered_works_and_refuses(
    kind: Kind, witness: Witness, tmp_path: Path
) -> None:
    configuration = with_user(witness, password=make(kind, PASSWORD))
    with Router(configuration, tmp_path) as router:
        with router.connect() as client:
            offered = ehlo_keywords(client.command(EHLO))["AUTH"].split()
            assert said(client.command(b"AUTH SCRAM-SHA-1")) == (504, "5.5.4")
        expected = ["PLAIN", "LOGIN"] + ["SCRAM-SHA-256"] * (kind is not Kind.ARGON2)
        assert offered == expected
        for name in offered:
            with router.connect() as client:
                assert client.command(EHLO).code == 250
                assert said(WAYS[name](client, USER, "wrong")) == (535, "5.7.8")
                assert said(WAYS[name](client, USER, PASSWORD)) == (235, "2.7.0")
                assert client.transaction(A, [B], HELLO).code == 250
            with router.connect() as client:
                assert client.command(EHLO).code == 250
                assert said(WAYS[name](client, "nobody", PASSWORD)) == (535, "5.7.8")
        assert not [entry for entry in router.log.entries if PASSWORD in str(entry)]


def test_guesses_from_one_address_end_in_a_421_and_a_line_for_fail2ban(
    witness: Witness, tmp_path: Path
) -> None:
    with Router(one_user(witness, auth_failures=1), tmp_path) as router:
        for expected in ((535, "5.7.8"), (535, "5.7.8"), (421, "4.7.0")):
            with router.connect() as client:
                assert client.command(EHLO).code == 250
                assert said(client.login(USER, "wrong")) == expected
        entry = router.log.find("login failed")
        assert [one["peer"] for one in entry] == 2 * ["127.0.0.1"]
        with router.connect() as client:  # also with the right one
            assert client.command(EHLO).code == 250
            assert said(client.login(USER, PASSWORD)) == (421, "4.7.0")
            assert client.at_eof()


def test_a_slow_hash_does_not_hold_up_the_others(witness: Witness, tmp_path: Path) -> None:
    """Eight guesses at the same time, and a session goes on before they are answered."""
    configuration = config(user(witness, password=make(Kind.ARGON2, PASSWORD)), auth_failures=100)
    with Router(configuration, tmp_path) as router, router.client() as other:
        guesses = [router.connect() for _ in range(8)]
        for guess in guesses:
            assert guess.command(EHLO).code == 250
        for guess in guesses:
            guess.send(b"AUTH PLAIN AGEAYg==\r\n")
        assert other.transaction(A, [B], HELLO).code == 250
        assert any(map(_is_silent, guesses))
        for guess in guesses:
            guess.sock.settimeout(10)
            assert guess.reply().code == 535
            guess.close()


def _is_silent(client: RawClient) -> bool:
    client.sock.settimeout(0)
    try:
        return not client.sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True


# hash-password


@pytest.mark.parametrize("scheme", ["argon2", "scram"])
def test_what_hash_password_says_is_what_the_configuration_takes(
    scheme: str, witness: Witness, tmp_path: Path
) -> None:
    done = CliRunner().invoke(main, ["hash-password", "--scheme", scheme], input=f"{PASSWORD}\nmore\n")
    assert done.exit_code == 0, done.output
    stored = done.stdout.strip()
    assert re.match(r"\$argon2id\$|SCRAM-SHA-256\$", stored)
    with Router(with_user(witness, password=stored), tmp_path) as router, router.client() as client:
        assert client.transaction(A, [B], HELLO).code == 250


@pytest.mark.parametrize(("scheme", "typed"), [("argon2", "\n"), ("argon2", ""), ("scram", "\u0221\n")])
def test_a_password_that_cannot_be_one_is_refused(scheme: str, typed: str) -> None:
    done = CliRunner().invoke(main, ["hash-password", "--scheme", scheme], input=typed)
    assert done.exit_code == 2
    assert not done.stdout
    assert "password" in done.stderr
