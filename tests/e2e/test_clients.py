"""Mail clients as people have them: swaks, msmtp, curl and the standard library's."""

import shutil
import smtplib
import subprocess
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from tests.running import PASSWORD, USER, Router, one_user
from tests.witness import Delivery, Witness

FROM, TO = "sender@a.example", ["rcpt@b.example", "other@c.example"]


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


MAIL = mail()


def run(program: str, *arguments: str, text: bytes = b"", cwd: Path | None = None) -> None:
    """Run a client that has to succeed; skip where it is not installed."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run(  # noqa: S603 - the clients that this file is about
        [path, *arguments], input=text, capture_output=True, timeout=30, check=False, cwd=cwd
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")


def check(delivery: Delivery, content: bytes = MAIL) -> None:
    """The mail arrived as it was sent."""
    assert delivery.mail_from == FROM.encode()
    assert delivery.rcpt_tos == tuple(to.encode() for to in TO)
    assert delivery.body_below_received == content


@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_smtplib(mechanism: str, tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        with smtplib.SMTP("127.0.0.1", router.port, timeout=10) as client:
            client.ehlo()
            client.user, client.password = USER, PASSWORD
            client.auth(mechanism.upper(), getattr(client, f"auth_{mechanism}"))
            assert client.sendmail(FROM, TO, MAIL, mail_options=["BODY=8BITMIME"]) == {}
            assert client.sendmail(FROM, TO, MAIL) == {}
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


def test_smtplib_hears_a_wrong_password(tmp_path: Path) -> None:
    with (
        Witness() as a,
        Router(one_user(a), tmp_path) as router,
        smtplib.SMTP("127.0.0.1", router.port, timeout=10) as client,
        pytest.raises(smtplib.SMTPAuthenticationError) as refused,
    ):
        client.login(USER, "wrong")
    assert refused.value.smtp_code == 535


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks(mechanism: str, tmp_path: Path) -> None:
    file = tmp_path / "mail.eml"
    file.write_bytes(MAIL)
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        run(
            "swaks",
            *("--server", f"127.0.0.1:{router.port}", "--auth", mechanism),
            *("--auth-user", USER, "--auth-password", PASSWORD),
            *("--from", FROM, "--to", ",".join(TO), "--data", f"@{file}"),
        )
        (delivery,) = a.deliveries
        assert delivery.rcpt_tos == tuple(to.encode() for to in TO)
        # swaks ends the content with an empty line of its own.
        assert delivery.body_below_received.rstrip() == MAIL.rstrip()


def test_swaks_attaches_a_file(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_msmtp(mechanism: str, tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        run(
            "msmtp",
            *("--host=127.0.0.1", f"--port={router.port}", f"--auth={mechanism}", "--tls=off"),
            *(f"--user={USER}", f"--passwordeval=echo '{PASSWORD}'", f"--from={FROM}"),
            *TO,
            text=MAIL.replace(b"\r\n", b"\n"),
        )
        check(a.deliveries[0])


def test_curl(tmp_path: Path) -> None:
    file = tmp_path / "mail.eml"
    file.write_bytes(MAIL)
    with Witness() as a, Router(one_user(a), tmp_path) as router:
        run(
            "curl",
            *("--silent", "--show-error", "--max-time", "20", f"smtp://127.0.0.1:{router.port}"),
            *("--user", f"{USER}:{PASSWORD}", "--mail-from", FROM),
            *(word for to in TO for word in ("--mail-rcpt", to)),
            *("--upload-file", str(file)),
        )
        check(a.deliveries[0])
