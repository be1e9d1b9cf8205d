"""What of MAIL's and RCPT's parameters a downstream gets, and which one can take the message at all."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import example, given
from hypothesis import strategies as st

from smtp_router.smtp.parameters import Peer, envelope
from smtp_router.smtp.verdict import AttemptEnded
from tests.certificates import accepting, trusting, write_certificate
from tests.rawclient import RawReply
from tests.running import PASSWORD, USER, Config, Router, downstream, one_user
from tests.support import make_message
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
EIGHT_BIT = b"Subject: hello\r\n\r\ngr\xfc\xdfe\r\n"
UTF8_HEADER = "Subject: grüße\r\n\r\nhello\r\n".encode()
ALL = ("8BITMIME", "SMTPUTF8", "DSN", "REQUIRETLS", "AUTH PLAIN")


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def send(
    router: Router,
    mail: bytes,
    rcpts: tuple[bytes, ...] = (b"<b@b.example>",),
    content: bytes = HELLO,
    context: ssl.SSLContext | None = None,
) -> RawReply:
    """Hand in a message with these arguments of MAIL and RCPT, encrypted if there is a context."""
    with router.connect() as client:
        assert client.command(b"EHLO client.example").code == 250
        if context:
            assert client.starttls(context).code == 220
            assert client.command(b"EHLO client.example").code == 250
        assert client.login(USER, PASSWORD).code == 235
        for line in (b"MAIL FROM:" + mail, *(b"RCPT TO:" + rcpt for rcpt in rcpts)):
            reply = client.command(line)
            if reply.code != 250:
                return reply
        client.wire(content + b".\r\n")
        return client.reply()


@pytest.mark.parametrize(
    ("offer", "mail", "content", "said"),
    [
        # BODY (RFC 6152)
        (ALL, b" BODY=8BITMIME", EIGHT_BIT, b" BODY=8BITMIME"),
        (ALL, b" body=8bitmime", EIGHT_BIT, b" BODY=8BITMIME"),
        (ALL, b" BODY=7BIT", HELLO, b""),
        (ALL, b"", EIGHT_BIT, b""),
        ((), b" BODY=8BITMIME", HELLO, b""),
        ((), b"", EIGHT_BIT, b""),
        # SMTPUTF8 (RFC 6531)
        (ALL, b" SMTPUTF8", UTF8_HEADER, b" SMTPUTF8"),
        ((), b" SMTPUTF8", HELLO, b""),
        ((), b" SMTPUTF8", EIGHT_BIT, b""),
        # DSN (RFC 3461)
        (ALL, b" RET=hdrs ENVID=Ab+2Bc+3Dd", HELLO, b" RET=hdrs ENVID=Ab+2Bc+3Dd"),
        ((), b" RET=FULL ENVID=x", HELLO, b""),
        # AUTH (RFC 4954 5)
        (ALL, b" AUTH=<>", HELLO, b" AUTH=<>"),
        (ALL, b" AUTH=a+2Bb@a.example", HELLO, b" AUTH=<>"),
        ((), b" AUTH=<>", HELLO, b""),
        # SIZE (RFC 1870)
        (("SIZE 1000",), b" SIZE=5", HELLO, b" SIZE=%d"),
        (("SIZE",), b"", HELLO, b" SIZE=%d"),
        ((), b" SIZE=5", HELLO, b""),
        (ALL, b" RET=FULL AUTH=<> BODY=8BITMIME", EIGHT_BIT, b" BODY=8BITMIME AUTH=<> RET=FULL"),
    ],
)
def test_mail_says_what_the_downstream_offers(
    offer: tuple[str, ...], mail: bytes, content: bytes, said: bytes, tmp_path: Path
) -> None:
    with Witness(offer=offer) as witness, Router(one_user(witness), tmp_path) as router:
        assert send(router, b"<a@a.example>" + mail, content=content).code == 250
    (delivery,) = witness.deliveries
    size = b"%d" % len(delivery.content)
    assert delivery.mail_line == b"MAIL FROM:<a@a.example>" + said.replace(b"%d", size)
    assert delivery.body_below_received == content


@pytest.mark.parametrize("offer", [("DSN",), ()])
def test_each_rcpt_says_its_own_dsn_parameters_to_the_letter(
    offer: tuple[str, ...], tmp_path: Path
) -> None:
    parameters = (
        b" NOTIFY=success,Failure ORCPT=rfc822;B+2Bc@b.example",
        b"",
        b" NOTIFY=NEVER",
        b" ORCPT=utf-8;b@b.example",
    )
    rcpts = tuple(b"<b%d@b.example>" % number + each for number, each in enumerate(parameters))
    with Witness(offer=offer) as witness, Router(one_user(witness), tmp_path) as router:
        assert send(router, b"<>", rcpts).code == 250
    expected = tuple(
        b"RCPT TO:<b%d@b.example>" % number + (each if offer else b"")
        for number, each in enumerate(parameters)
    )
    assert witness.deliveries[0].rcpt_lines == expected


@pytest.mark.parametrize(
    ("mail", "code", "enhanced"),
    [
        (b" RET=SOME", 501, "5.5.4"),
        (b" RET", 501, "5.5.4"),
        (b" ENVID=" + 101 * b"x", 501, "5.5.4"),
        (b" ENVID=a+2bc", 501, "5.5.4"),
        (b" ENVID=a+zz", 501, "5.5.4"),
        (b" AUTH=", 501, "5.5.4"),
        (b" SMTPUTF8=yes", 501, "5.5.4"),
        (b" RET=FULL RET=HDRS", 501, "5.5.4"),
        (b" REQUIRETLS", 530, "5.7.10"),
        (b" NOTIFY=NEVER", 555, "5.5.4"),
        (b" MT-PRIORITY=3", 555, "5.5.4"),
    ],
)
def test_what_is_malformed_or_not_known_is_refused(
    mail: bytes, code: int, enhanced: str, tmp_path: Path
) -> None:
    with Witness() as witness, Router(one_user(witness), tmp_path) as router:
        reply = send(router, b"<a@a.example>" + mail)
    assert (reply.code, reply.enhanced) == (code, enhanced)
    assert not witness.connections


@pytest.mark.parametrize(
    "rcpt",
    [
        b" NOTIFY=NEVER,SUCCESS",
        b" NOTIFY=",
        b" NOTIFY=SOMETIMES",
        b" ORCPT=b@b.example",
        b" ORCPT=rfc822;" + 500 * b"x",
        b" ORCPT=rfc822;a+2b",
    ],
)
def test_malformed_parameters_of_rcpt_are_refused(rcpt: bytes, tmp_path: Path) -> None:
    with Witness() as witness, Router(one_user(witness), tmp_path) as router:
        reply = send(router, b"<a@a.example>", (b"<b@b.example>" + rcpt,))
    assert (reply.code, reply.enhanced) == (501, "5.5.4")


# A downstream that lacks what the message needs

NEEDS = [
    (b"<a@a.example> BODY=8BITMIME", b"<b@b.example>", EIGHT_BIT, "8BITMIME", "5.6.3"),
    (b"<a@a.example> SMTPUTF8", b"<b@b.example>", UTF8_HEADER, "SMTPUTF8", "5.6.7"),
    ("<ä@a.example> SMTPUTF8".encode(), b"<b@b.example>", HELLO, "SMTPUTF8", "5.6.7"),
    (b"<a@a.example> SMTPUTF8", "<ü@b.example>".encode(), HELLO, "SMTPUTF8", "5.6.7"),
]


@pytest.mark.parametrize(("mail", "rcpt", "content", "extension", "enhanced"), NEEDS)
def test_the_next_downstream_may_have_it(
    mail: bytes, rcpt: bytes, content: bytes, extension: str, enhanced: str, *, tmp_path: Path
) -> None:
    with (
        Witness(offer=()) as lacks,
        Witness(offer=(extension,), name="b") as has,
        Router(one_user(lacks, has), tmp_path) as router,
    ):
        assert send(router, mail, (rcpt,), content).code == 250
        attempt = router.log.find("attempt", downstream="a")[0]
        assert enhanced in attempt["reply"]
    assert not [command for command in lacks.commands if command.startswith(b"MAIL")]
    assert has.deliveries[0].body_below_received == content


@pytest.mark.parametrize(("mail", "rcpt", "content", "extension", "enhanced"), NEEDS)
def test_if_none_has_it_the_message_is_refused_for_good(
    mail: bytes, rcpt: bytes, content: bytes, extension: str, enhanced: str, *, tmp_path: Path
) -> None:
    with (
        Witness(offer=()) as a,
        Witness(offer=("DSN",), name="b") as b,
        Router(one_user(a, b), tmp_path) as router,
    ):
        reply = send(router, mail, (rcpt,), content)
    assert (reply.code, reply.enhanced) == (550, enhanced)
    assert extension.encode() in reply.lines[0]


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize(
    ("other", "enhanced"),
    [({"accept": b""}, "4.4.1"), ({"mail": b"450 4.2.1 busy"}, "4.2.1")],
)
def test_while_another_one_may_have_it_the_refusal_is_transient(
    order: str, other: dict[str, bytes], enhanced: str, tmp_path: Path
) -> None:
    with Witness(offer=()) as lacks, Witness(other, offer=ALL, name="b") as down:
        if "accept" in other:
            down.stop()
        witnesses = (lacks, down) if order == "last" else (down, lacks)
        with Router(one_user(*witnesses), tmp_path) as router:
            reply = send(router, b"<a@a.example> BODY=8BITMIME", content=EIGHT_BIT)
    assert (reply.code // 100, reply.enhanced) == (4, enhanced)


def test_what_one_message_needs_says_nothing_of_a_downstreams_health(tmp_path: Path) -> None:
    (tmp_path / "tell.py").write_text(
        "from smtp_router import hookimpl\n\n\n"
        "@hookimpl\ndef before_send(message, downstream):\n"
        "    return message.with_header('X-Failed', str(downstream.health.failed))\n"
    )
    with Witness(offer=()) as witness:
        configuration = one_user(witness)
        configuration["users"][0]["plugins"] = ["./tell.py"]
        with Router(configuration, tmp_path) as router:
            assert send(router, b"<a@a.example> BODY=8BITMIME", content=EIGHT_BIT).code == 550
            assert send(router, b"<a@a.example>").code == 250
    assert b"X-Failed: 0\r\n" in witness.deliveries[0].content


# REQUIRETLS (RFC 8689)


@pytest.fixture
def tls_router(ca: trustme.CA, tmp_path: Path) -> Callable[..., Router]:
    write_certificate(ca, tmp_path / "cert.pem")
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def make(*downstreams: Config) -> Router:
        listen = [{"addr": "127.0.0.1:0", "tls": "starttls", "tls_cert": "cert.pem"}]
        return Router(one_user(*downstreams, listen=listen), tmp_path)

    return make


def over_tls(witness: Witness, **more: object) -> Config:
    """A witness as a downstream whose certificate can be verified."""
    return downstream(witness, addr=f"localhost:{witness.port}", **({"tls_ca": "ca.pem"} | more))


REQUIRE = ("REQUIRETLS",)


@pytest.mark.parametrize("implicit", [False, True])
def test_requiretls_goes_over_verified_tls(
    implicit: bool,  # noqa: FBT001 - a parameter
    ca: trustme.CA,
    tls_router: Callable[..., Router],
) -> None:
    with Witness(offer=REQUIRE, tls=accepting(ca), implicit_tls=implicit) as witness:
        kind = "implicit" if implicit else "starttls"
        with tls_router(over_tls(witness, tls=kind)) as router:
            reply = send(router, b"<a@a.example> REQUIRETLS", context=trusting(ca))
    assert reply.code == 250
    (delivery,) = witness.deliveries
    assert delivery.tls
    assert delivery.mail_line == b"MAIL FROM:<a@a.example> REQUIRETLS"


@pytest.mark.parametrize(
    ("offer", "encrypted", "more"),
    [
        (REQUIRE, False, {}),
        ((), True, {}),
        (REQUIRE, True, {"tls_verify": False}),
        (REQUIRE, True, {"tls": "none"}),
    ],
)
def test_requiretls_goes_nowhere_else(
    offer: tuple[str, ...],
    encrypted: bool,  # noqa: FBT001 - a parameter
    more: Config,
    ca: trustme.CA,
    tls_router: Callable[..., Router],
) -> None:
    with (
        Witness(offer=offer, tls=accepting(ca) if encrypted else None) as lacks,
        Witness(offer=REQUIRE, tls=accepting(ca), name="b") as has,
    ):
        with tls_router(over_tls(lacks, **more)) as router:
            reply = send(router, b"<a@a.example> REQUIRETLS", context=trusting(ca))
        assert (reply.code, reply.enhanced) == (550, "5.7.30")
        with tls_router(over_tls(lacks, **more), over_tls(has)) as router:
            assert send(router, b"<a@a.example> REQUIRETLS", context=trusting(ca)).code == 250
    assert not lacks.deliveries
    assert len(has.deliveries) == 1


def test_a_certificate_that_cannot_be_verified_is_transient(
    ca: trustme.CA, tls_router: Callable[..., Router]
) -> None:
    with (
        Witness(offer=REQUIRE, tls=accepting(trustme.CA())) as witness,
        tls_router(over_tls(witness)) as router,
    ):
        reply = send(router, b"<a@a.example> REQUIRETLS", context=trusting(ca))
    assert (reply.code, reply.enhanced) == (451, "4.7.5")
    assert not witness.deliveries


# The commands


def test_every_command_of_an_envelope_is_a_line() -> None:
    message = make_message(rcpt_tos=("b@b.example", "c@c.example"))
    sized = Peer(extensions=frozenset({"size"}))
    assert envelope(sized, message, 5) == (
        "MAIL FROM:<sender@a.example> SIZE=5\r\nRCPT TO:<b@b.example>\r\nRCPT TO:<c@c.example>\r\n"
    )


DSN = Peer(extensions=frozenset({"dsn", "smtputf8"}))


@pytest.mark.parametrize("end", ["\r\nRCPT TO:<x@x.example", "\n", "\r", "\0", "\x7f"])
@pytest.mark.parametrize("where", ["mail_from", "rcpt_tos", "mail_parameters", "rcpt_parameters"])
def test_no_control_character_gets_into_a_command_wherever_a_plugin_puts_it(
    where: str, end: str
) -> None:
    changes: dict[str, Any] = {
        "mail_from": f"a@a.example{end}",
        "rcpt_tos": ("b@b.example", f"c@c.example{end}"),
        "mail_parameters": {"ENVID": f"1{end}"},
        "rcpt_parameters": ({"ORCPT": f"rfc822;b{end}"},),
    }
    with pytest.raises(ValueError, match="control character"):
        envelope(DSN, make_message(**{where: changes[where]}), 5)


def test_an_address_may_have_characters_that_cannot_be_seen() -> None:
    message = make_message(rcpt_tos=("b\u00a0b@b.example",))
    assert "RCPT TO:<b\u00a0b@b.example>\r\n" in envelope(DSN, message, 5)


ADDRESSES = st.sampled_from(
    ["a@a.example", "", "b\u00a0b@b.example", "ü@b.example", "c@c.example\r\nX", "\x7f"]
)
NOTIFY = {"NOTIFY": "NEVER"}


def said(peer: Peer, rcpts: int, changes: dict[str, Any]) -> list[str] | None:
    """The lines to so many times the same recipient; `None`: it is refused."""
    each = {name: rcpts * changes[name] for name in ("rcpt_tos", "rcpt_parameters")}
    try:
        return envelope(peer, make_message(**changes | each), 5).split("\r\n")
    except (ValueError, AttemptEnded):
        return None


@given(
    extensions=st.frozensets(st.sampled_from(["size", "dsn", "smtputf8", "8bitmime"])),
    mail_from=ADDRESSES,
    rcpt_to=ADDRESSES,
    mail_parameters=st.sampled_from([{}, {"SIZE": "1"}, {"RET": "FULL"}, {"BODY": "8BITMIME"}]),
    rcpt_parameters=st.sampled_from([(), ({},), (NOTIFY,)]),
)
@example(frozenset({"size", "dsn"}), "a@a.example", "b@b.example", {}, (NOTIFY,))
@example(frozenset({"size", "smtputf8"}), "a@a.example", "ü@b.example", {}, ())
@example(frozenset({"size"}), "a@a.example", "b@b.example", {"BODY": "8BITMIME"}, ())
def test_a_single_recipient_gets_what_each_of_several_gets(
    extensions: frozenset[str],
    mail_from: str,
    rcpt_to: str,
    mail_parameters: dict[str, str],
    rcpt_parameters: tuple[dict[str, str], ...],
) -> None:
    """As it nearly always is a single one, its lines are made at once."""
    changes: dict[str, Any] = {
        "mail_from": mail_from,
        "rcpt_tos": (rcpt_to,),
        "mail_parameters": mail_parameters,
        "rcpt_parameters": rcpt_parameters,
    }
    peer = Peer(extensions=extensions)
    one, two = said(peer, 1, changes), said(peer, 2, changes)
    assert one == (two and [*two[:1], *two[2:]])
