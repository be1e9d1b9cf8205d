"""Mail clients as people have them, with every mechanism and every kind of TLS that each can do."""

import re
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import get_args

import pytest
import trustme

from smtp_router.config.types import HostPort
from smtp_router.credentials import Kind, make
from tests.certificates import write_certificate
from tests.clients import CLIENTS, SCRAM, Account, Client, ClientError, Mail, Mode, run
from tests.delivery import Delivery
from tests.running import PASSWORD, USER, Router, config, one_user, user
from tests.witness import Witness

FROM, TO = "sender@a.example", ["rcpt@b.example", "other@c.example"]
MODES: tuple[Mode, ...] = get_args(Mode)


def mail() -> bytes:
    """HTML with an attachment, and an 8-bit body."""
    message = EmailMessage(policy=SMTP.clone(cte_type="8bit"))
    message["From"] = f"Jürgen <{FROM}>"
    message["To"] = ", ".join(TO)
    message["Subject"] = "Grüße ☃"
    message["Date"] = "Tue, 03 Feb 2026 04:05:06 +0000"
    message["Message-ID"] = "<1@a.example>"
    message.set_content("Grüße aus Köln\n.\n..dots\n" + "lang " * 150 + "\n", cte="8bit")
    message.add_alternative("<p>Grüße aus <b>Köln</b></p>\n", subtype="html", cte="8bit")
    message.add_attachment(
        bytes(range(256)) * 8, maintype="application", subtype="octet-stream", filename="ä.bin"
    )
    return message.as_bytes()


MAIL = Mail(mail_from=FROM, rcpt_tos=TO, content=mail())


def check(delivery: Delivery) -> None:
    """The mail arrived as it was sent."""
    assert delivery.mail_from == FROM.encode()
    assert delivery.rcpt_tos == tuple(to.encode() for to in TO)
    assert delivery.body_below_received == MAIL.content


# Every client, every mechanism, every mode of TLS, every form in which a password can be stored.


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A router with a listener for each mode of TLS, and its downstream."""

    witness: Witness
    router: Router
    ca: Path

    def account(self, mode: Mode, mechanism: str, **changes: object) -> Account:
        """The login of its user."""
        listener = self.router.addresses[MODES.index(mode)]
        assert isinstance(listener, HostPort)
        values = {"user": USER, "password": PASSWORD, "ca": self.ca} | changes
        return Account(port=listener.port, tls=mode, mechanism=mechanism, **values)  # type: ignore[arg-type]  # as above


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Kind, Site]]:
    """A site for each form in which its user's password can be stored."""
    folder = tmp_path_factory.mktemp("sites")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    certificate = str(write_certificate(ca, folder / "router.pem"))
    listeners = [
        {"addr": "127.0.0.1:0", "tls": mode} | ({} if mode == "none" else {"tls_cert": certificate})
        for mode in MODES
    ]
    with ExitStack() as stack:
        running = {}
        for kind in Kind:
            witness = stack.enter_context(Witness())
            its_user = user(witness, password=make(kind, PASSWORD))
            (folder / kind.value).mkdir()
            router = Router(config(its_user, listen=listeners, auth_failures=1000), folder / kind.value)
            stack.enter_context(router)
            running[kind] = Site(witness=witness, router=router, ca=folder / "ca.pem")
        yield running


def ways(*kinds: Kind) -> pytest.MarkDecorator:
    """Every client with every mechanism it knows, where passwords stored so can answer it."""
    return pytest.mark.parametrize(
        ("client", "mechanism", "kind"),
        [
            pytest.param(client, mechanism, kind, id=f"{name}-{mechanism}-{kind.value}")
            for name, client in CLIENTS.items()
            for mechanism in client.mechanisms
            for kind in kinds
            if (mechanism, kind) != (SCRAM, Kind.ARGON2)
        ],
    )


@pytest.mark.parametrize("mode", MODES)
@ways(*Kind)
def test_mail_arrives_byte_for_byte(
    sites: dict[Kind, Site], client: Client, mechanism: str, kind: Kind, mode: Mode
) -> None:
    site = sites[kind]
    already = len(site.witness.deliveries)
    client.send(site.account(mode, mechanism), MAIL)
    (delivery,) = site.witness.deliveries[already:]
    check(delivery)
    protocol = b"ESMTPA" if mode == "none" else b"ESMTPSA"
    assert b" with %b id " % protocol in delivery.content


@ways(Kind.SCRAM)
def test_a_client_hears_that_its_password_is_wrong(
    sites: dict[Kind, Site], client: Client, mechanism: str, kind: Kind
) -> None:
    site = sites[kind]
    already = len(site.witness.deliveries)
    with pytest.raises(ClientError, match=re.escape(client.wrong_password)):
        client.send(site.account("starttls", mechanism, password="wrong"), MAIL)
    assert len(site.witness.deliveries) == already


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_a_client_that_does_not_trust_the_router_sends_nothing(
    sites: dict[Kind, Site], client: Client, mode: Mode, tmp_path: Path
) -> None:
    """So the certificate is verified where mail arrives in a test above."""
    site = sites[Kind.PLAIN]
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    already = len(site.witness.deliveries)
    with pytest.raises(ClientError, match=re.escape(client.wrong_certificate)):
        client.send(site.account(mode, "PLAIN", ca=tmp_path / "ca.pem"), MAIL)
    assert len(site.witness.deliveries) == already


# What one of them does beyond that.


def test_smtplib_declares_8_bit_content_and_sends_twice(tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        with smtplib.SMTP("127.0.0.1", router.port, timeout=10) as client:
            client.login(USER, PASSWORD)
            assert client.sendmail(FROM, TO, MAIL.content, mail_options=["BODY=8BITMIME"]) == {}
            assert client.sendmail(FROM, TO, MAIL.content) == {}
        first, second = a.deliveries
        assert b"BODY=8BITMIME" in first.mail_line
        for delivery in (first, second):
            check(delivery)


def test_smtplib_with_utf8_addresses(tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        message = EmailMessage()
        message["From"], message["To"] = "jürgen@a.example", "用户@例え.example"
        message["Subject"] = "Grüße"
        message.set_content("☃\n")
        with smtplib.SMTP("127.0.0.1", router.port, timeout=10) as client:
            client.login(USER, PASSWORD)
            assert client.send_message(message) == {}
        (delivery,) = a.deliveries
        assert delivery.mail_from == "jürgen@a.example".encode()
        assert delivery.rcpt_tos == ("用户@例え.example".encode(),)
        assert b"SMTPUTF8" in delivery.mail_line.split()


def test_swaks_attaches_a_file_and_pipelines(tmp_path: Path) -> None:
    attachment = tmp_path / "page.html"
    attachment.write_text("<p>Grüße</p>", encoding="utf-8")
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        run(
            "swaks",
            *("--server", f"127.0.0.1:{router.port}", "--auth", "PLAIN"),
            *("--auth-user", USER, "--auth-password", PASSWORD, "--pipeline"),
            *("--from", FROM, "--to", TO[0], "--attach-type", "text/html"),
            *("--attach", f"@{attachment}"),
        )
        assert b"text/html" in a.deliveries[0].content
