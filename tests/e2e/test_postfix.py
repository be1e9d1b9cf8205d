"""Postfix as the upstream: it relays through the router, keeps what was deferred, and tries again."""

import os
import re
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from pathlib import Path

import pytest
import trustme

from smtp_router.config.types import HostPort
from tests.certificates import write_certificate
from tests.clients import SCRAM, Mode
from tests.delivery import Delivery
from tests.docs.pages import all_blocks
from tests.postfix import Postfix, require_sasl
from tests.running import PASSWORD, USER, Config, Router, one_user
from tests.script import DROP, NORMAL, Action
from tests.witness import OFFER, Witness

FROM, TO = "sender@a.example", "rcpt@b.example"

_RECEIVED_BY_POSTFIX = re.compile(
    rb"Received: from client\.example [^\r\n]*\r\n(?:\t[^\r\n]*\r\n)*", re.IGNORECASE
)


def mail(text: str = "Grüße aus Köln\n.\n..dots\n", subject: str = "hello") -> bytes:
    """A message that lacks nothing that Postfix would add."""
    message = EmailMessage(policy=SMTP.clone(cte_type="8bit"))
    message["From"], message["To"], message["Subject"] = FROM, TO, subject
    message["Date"] = "Tue, 03 Feb 2026 04:05:06 +0000"
    message["Message-ID"] = f"<{subject}@a.example>"
    message.set_content(text, cte="8bit")
    return message.as_bytes()


MAIL = mail()


def sent_content(delivery: Delivery) -> bytes:
    """What Postfix was given: below one `Received` of the router and one of Postfix."""
    below = delivery.body_below_received
    received = _RECEIVED_BY_POSTFIX.match(below)
    assert received, below[:200]
    return below[received.end() :]


class Upstream:
    """Makes a router, and a Postfix that sends everything there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ca = trustme.CA()
        ca.cert_pem.write_to_path(folder / "ca.pem")
        self._certificate = str(write_certificate(ca, folder / "router.pem"))

    def router(self, *downstreams: Witness | Config, tls: Mode = "none", **more: object) -> Router:
        """A router that listens with this kind of TLS."""
        listener: Config = {"addr": "127.0.0.1:0", "tls": tls}
        if tls != "none":
            listener |= {"tls_cert": self._certificate}
        if tls == "starttls":
            listener |= {"require_tls": True}
        return Router(one_user(*downstreams, listen=[listener], **more), self._folder)

    @staticmethod
    def relayhost(router: Router) -> str:
        """Where the router listens, as Postfix writes it: by the name that is in the certificate."""
        (listener,) = router.addresses
        assert isinstance(listener, HostPort)
        return f"[localhost]:{listener.port}"

    def postfix(self, router: Router, password: str = PASSWORD, **settings: str) -> Postfix:
        """A Postfix with this router as its relay host."""
        require_sasl(settings.get("smtp_sasl_mechanism_filter", "PLAIN"))
        host = self.relayhost(router)
        return Postfix(
            **{
                "relayhost": host,
                "smtp_sasl_auth_enable": "yes",
                "smtp_sasl_password_maps": f"inline:{{{{{host} = {USER}:{password}}}}}",
                "smtp_sasl_security_options": "noanonymous",
                "smtp_tls_CAfile": str(self._folder / "ca.pem"),
                "smtp_tls_loglevel": "1",
                **settings,
            }
        )


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path)


TLS_SETTINGS: dict[Mode, dict[str, str]] = {
    "none": {"smtp_tls_security_level": "none"},
    "starttls": {"smtp_tls_security_level": "verify"},
    "implicit": {"smtp_tls_security_level": "verify", "smtp_tls_wrappermode": "yes"},
}


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", SCRAM])
@pytest.mark.parametrize("tls", TLS_SETTINGS)
def test_postfix_relays_through_the_router(tls: Mode, mechanism: str, upstream: Upstream) -> None:
    with (
        Witness() as a,
        upstream.router(a, tls=tls) as router,
        upstream.postfix(router, smtp_sasl_mechanism_filter=mechanism, **TLS_SETTINGS[tls]) as postfix,
    ):
        postfix.submit(FROM, [TO], MAIL, options=["BODY=8BITMIME"])
        postfix.wait("removed")
        assert postfix.queue() == []
        (delivery,) = a.deliveries
        assert (delivery.mail_from, delivery.rcpt_tos) == (FROM.encode(), (TO.encode(),))
        assert b"BODY=8BITMIME" in delivery.mail_line.split()
        assert sent_content(delivery) == MAIL
        protocol = b"ESMTPA" if tls == "none" else b"ESMTPSA"
        assert b" with %b id " % protocol in delivery.content
        if tls != "none":
            postfix.wait("Verified TLS connection established to localhost")


def test_postfix_relays_with_the_settings_of_the_documentation(
    upstream: Upstream, tmp_path: Path
) -> None:
    (block,) = all_blocks("text", "postfix")
    settings = dict(line.split(" = ", 1) for line in block.text.splitlines())
    documented, passwords = settings.pop("relayhost"), tmp_path / "router_password"
    assert settings["smtp_sasl_password_maps"] == "texthash:/etc/postfix/router_password"
    settings["smtp_sasl_password_maps"] = f"texthash:{passwords}"
    with Witness() as a, upstream.router(a, tls="starttls") as router:
        relayhost = upstream.relayhost(router)
        (line,) = [one.text for one in all_blocks("text") if one.text.startswith(f"{documented} ")]
        login = line.replace(documented, relayhost).replace(
            "app@example.com:password", f"{USER}:{PASSWORD}"
        )
        passwords.write_text(login)
        os.utime(passwords, (0, 0))  # one that might be being written just now is read again and again
        authority = str(tmp_path / "ca.pem")
        with Postfix(relayhost=relayhost, smtp_tls_CAfile=authority, **settings) as postfix:
            postfix.submit(FROM, [TO, "other@b.example"], MAIL)
            postfix.wait("removed")
        assert [sent_content(delivery) for delivery in a.deliveries] == [MAIL, MAIL]
        assert b" with ESMTPSA id " in a.deliveries[0].content


def test_postfix_sends_nothing_to_a_router_that_it_does_not_trust(
    upstream: Upstream, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with (
        Witness() as a,
        upstream.router(a, tls="starttls") as router,
        upstream.postfix(
            router, smtp_tls_CAfile=str(tmp_path / "other.pem"), **TLS_SETTINGS["starttls"]
        ) as postfix,
    ):
        postfix.submit(FROM, [TO], MAIL)
        (kept,) = postfix.wait_deferred(1)
        assert "certificate not verified" in str(kept)
        assert not a.commands


def test_mail_waits_in_postfix_until_the_password_is_right(upstream: Upstream) -> None:
    with (
        Witness() as a,
        upstream.router(a) as router,
        upstream.postfix(router, password="not yet", **TLS_SETTINGS["none"]) as postfix,
    ):
        postfix.submit(FROM, [TO], MAIL)
        (kept,) = postfix.wait_deferred(1)
        assert "535 5.7.8" in str(kept)
        changed = one_user(a)
        changed["users"][0]["password"] = "not yet"
        router.configure(changed)
        router.reload()
        router.log.wait("reloaded")
        postfix.flush()
        postfix.wait("removed")
        assert [sent_content(delivery) for delivery in a.deliveries] == [MAIL]


def test_every_recipient_gets_it_once(upstream: Upstream) -> None:
    """More than Postfix puts into one transaction."""
    wanted = [f"rcpt-{number}@b.example" for number in range(120)]
    with Witness() as a, upstream.router(a) as router, upstream.postfix(router) as postfix:
        postfix.submit(FROM, wanted, MAIL)
        postfix.wait("removed")
        assert all(sent_content(delivery) == MAIL for delivery in a.deliveries)
        reached = [to.decode() for delivery in a.deliveries for to in delivery.rcpt_tos]
        assert sorted(reached) == sorted(wanted)
        assert sorted(len(delivery.rcpt_tos) for delivery in a.deliveries) == [20, 50, 50]


@pytest.mark.parametrize(("limit", "arrives"), [(50, []), (1, ["b@b.example", "c@b.example"])])
def test_one_bad_recipient_and_what_becomes_of_the_others(
    limit: int, arrives: list[str], upstream: Upstream
) -> None:
    """All or nothing per transaction: Postfix can be told to make one for each recipient."""
    with (
        Witness({"rcpt:bad@b.example": b"550 5.1.1 nobody here"}) as a,
        upstream.router(a) as router,
        upstream.postfix(router, smtp_destination_recipient_limit=str(limit)) as postfix,
    ):
        postfix.submit(FROM, ["b@b.example", "bad@b.example", "c@b.example"], MAIL)
        postfix.wait("removed", times=2)  # the message, and the one that says what became of it
        assert postfix.queue() == []
        *mails, report = sorted(a.deliveries, key=lambda delivery: delivery.mail_from == b"")
        assert sorted(to.decode() for one in mails for to in one.rcpt_tos) == arrives
        assert (report.mail_from, report.rcpt_tos) == (b"", (FROM.encode(),))
        refused = re.findall(rb"Final-Recipient: rfc822; (\S+)", report.content)
        bad = {b"b@b.example", b"bad@b.example", b"c@b.example"} - {to.encode() for to in arrives}
        assert set(refused) == bad
        assert b"550 5.1.1" in report.content


def test_delivery_status_parameters_arrive_to_the_letter(upstream: Upstream) -> None:
    with (
        Witness(offer=(*OFFER, "DSN")) as a,
        upstream.router(a) as router,
        upstream.postfix(router) as postfix,
    ):
        postfix.submit(
            FROM,
            [TO],
            MAIL,
            options=["RET=HDRS", "ENVID=Qq314+2Bx"],
            rcpt_options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Other+2Btag@b.example"],
        )
        postfix.wait("removed")
        (delivery,) = a.deliveries
        assert {b"RET=HDRS", b"ENVID=Qq314+2Bx"} < set(delivery.mail_line.split())
        assert delivery.rcpt_lines == (
            b"RCPT TO:<rcpt@b.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Other+2Btag@b.example",
        )


def test_utf8_addresses(upstream: Upstream) -> None:
    message = EmailMessage(policy=SMTPUTF8)
    message["From"], message["To"], message["Subject"] = "jürgen@a.example", "用户@例え.example", "☃"
    message["Date"] = "Tue, 03 Feb 2026 04:05:06 +0000"
    message["Message-ID"] = "<utf8@a.example>"
    message.set_content("☃\n", cte="8bit")
    content = message.as_bytes()
    with Witness() as a, upstream.router(a) as router, upstream.postfix(router) as postfix:
        postfix.submit(
            "jürgen@a.example", ["用户@例え.example"], content, options=["SMTPUTF8", "BODY=8BITMIME"]
        )
        postfix.wait("removed")
        (delivery,) = a.deliveries
        assert delivery.mail_from == "jürgen@a.example".encode()
        assert delivery.rcpt_tos == ("用户@例え.example".encode(),)
        assert b"SMTPUTF8" in delivery.mail_line.split()
        assert sent_content(delivery) == content


def test_a_big_message(upstream: Upstream) -> None:
    big = mail(150_000 * "0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnopqrs\n")
    assert len(big) > 10_000_000
    with (
        Witness() as a,
        upstream.router(a, tls="starttls") as router,
        upstream.postfix(router, message_size_limit="20000000", **TLS_SETTINGS["starttls"]) as postfix,
    ):
        postfix.submit(FROM, [TO], big)
        postfix.wait("removed")
        (delivery,) = a.deliveries
        assert sent_content(delivery) == big


@pytest.mark.parametrize("tls", ["none", "starttls"])
def test_many_messages_over_kept_connections(tls: Mode, upstream: Upstream) -> None:
    contents = [mail(subject=f"number-{number}") for number in range(100)]
    with (
        Witness() as a,
        upstream.router(a, tls=tls) as router,
        upstream.postfix(
            router,
            smtp_connection_cache_destinations="$relayhost",
            smtp_tls_connection_reuse="yes",
            **TLS_SETTINGS[tls],
        ) as postfix,
    ):
        postfix.submit(FROM, [TO], *contents)
        postfix.wait("removed", times=len(contents))
        assert postfix.queue() == []
        assert sorted(map(sent_content, a.deliveries)) == sorted(contents)
        reused = [line for line in postfix.process.lines if "conn_use=" in line]
        assert len(reused) > len(contents) // 2


LATER: dict[str, tuple[str, list[Action], list[str]]] = {
    "greylisted": ("rcpt", [b"451 4.7.1 come again", NORMAL], ["451 4.7.1"]),
    "going down": ("mail", [b"421 4.3.2 going down", NORMAL], ["451 4.3.2"]),
    "twice": (
        "final",
        [b"451 4.3.0 later", b"452 4.3.1 no room", NORMAL],
        ["451 4.3.0", "452 4.3.1"],
    ),
    "in doubt": ("final", [DROP, NORMAL], ["451 4.4.2"]),
}


@pytest.mark.parametrize("why", LATER)
def test_what_was_deferred_is_tried_again_and_arrives_once(why: str, upstream: Upstream) -> None:
    stage, plan, answers = LATER[why]
    with Witness({stage: plan}) as a, upstream.router(a) as router, upstream.postfix(router) as postfix:
        postfix.submit(FROM, [TO], MAIL)
        for answer in answers:
            postfix.wait(f"status=deferred .*{answer}")
            (kept,) = postfix.wait_deferred(1)
            assert kept["sender"] == FROM
            postfix.flush()
        postfix.wait("removed")
        assert postfix.queue() == []
        assert [sent_content(delivery) for delivery in a.deliveries] == [MAIL]


def test_postfix_tries_again_by_itself_until_all_have_arrived_once(upstream: Upstream) -> None:
    contents = [mail(subject=f"number-{number}") for number in range(10)]
    # Not within a second: a message that is still in somebody's hands would be laid aside for good.
    soon = {"minimal_backoff_time": "2s", "maximal_backoff_time": "2s", "queue_run_delay": "1s"}
    with (
        Witness({"final": [*5 * (b"451 4.3.0 later", NORMAL), NORMAL]}) as a,
        upstream.router(a) as router,
        upstream.postfix(router, **soon) as postfix,
    ):
        postfix.submit(FROM, [TO], *contents)
        postfix.wait("removed", times=len(contents))
        assert postfix.queue() == []
        assert len(a.refused) == 5
        assert sorted(map(sent_content, a.deliveries)) == sorted(contents)


def test_mail_waits_in_postfix_while_there_is_no_downstream(upstream: Upstream) -> None:
    contents = [mail(subject=f"number-{number}") for number in range(3)]
    with (
        Witness() as a,
        upstream.router(a) as router,
        upstream.postfix(router) as postfix,
    ):
        a.stop()
        postfix.submit(FROM, [TO], *contents)
        for kept in postfix.wait_deferred(3):
            assert "451 4.4.1" in str(kept)
        a.start()
        postfix.flush()
        postfix.wait("removed", times=3)
        assert postfix.queue() == []
        assert sorted(map(sent_content, a.deliveries)) == sorted(contents)
