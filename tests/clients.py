"""Mail clients as people have them: how each one is told to send a message.

Rules:
1. A client that is not installed, or is built without what a test needs, skips the test and says so.
2. No client reads a configuration of this machine, and each verifies the certificate it is shown.
"""

from __future__ import annotations

import functools
import os
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import pytest

TIMEOUT_S: Final = 30
SCRAM: Final = "SCRAM-SHA-256"

Mode: TypeAlias = Literal["none", "starttls", "implicit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How a client gets to the router and logs in there."""

    port: int  # at localhost, the name that is in the certificate
    tls: Mode
    ca: Path
    mechanism: str
    user: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What a client is to send; `content` has CRLF at its line ends, the last one too."""

    mail_from: str
    rcpt_tos: Sequence[str]
    content: bytes


class ClientError(Exception):
    """A client did not succeed; carries what it said about that."""


def run(program: str, *arguments: str, text: bytes = b"") -> str:
    """Run a client; what it said.

    Raises:
        ClientError: it ended with another code than 0.
    """
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run(  # noqa: S603 - the clients that this file is about
        [path, *arguments],
        input=text,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        env=os.environ | {"LC_ALL": "C"},
    )
    said = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode != 0:
        raise ClientError(said)
    return said


@functools.cache
def described(program: str, flag: str) -> str:
    """What a client says about how it was built."""
    return run(program, flag)


def swaks(account: Account, mail: Mail) -> None:
    """Send with swaks, which ends the content with a line end of its own."""
    if account.tls != "none" and "TLS supported" not in described("swaks", "--support"):
        pytest.skip("swaks has no TLS here: it takes Perl's Net::SSLeay")
    flags: dict[Mode, list[str]] = {"none": [], "starttls": ["--tls"], "implicit": ["--tls-on-connect"]}
    run(
        "swaks",
        *("--server", f"localhost:{account.port}", "--ehlo", "client.example"),
        *(*flags[account.tls], "--tls-verify", "--tls-ca-path", str(account.ca)),
        *("--auth", account.mechanism, "--auth-user", account.user),
        *("--auth-password", account.password),
        *("--from", mail.mail_from, "--to", ",".join(mail.rcpt_tos), "--data", "-"),
        text=mail.content.removesuffix(b"\r\n"),
    )


def msmtp(account: Account, mail: Mail) -> None:
    """Send with msmtp, which takes lines as this machine has them."""
    mechanism = account.mechanism.lower()
    if mechanism not in described("msmtp", "--version").split():
        pytest.skip(f"msmtp is built without {account.mechanism}")
    flags = {
        "none": ["--tls=off"],
        "starttls": ["--tls=on", "--tls-starttls=on"],
        "implicit": ["--tls=on", "--tls-starttls=off"],
    }[account.tls]
    run(
        "msmtp",
        *("--host=localhost", f"--port={account.port}", "--domain=client.example"),
        *(*flags, f"--tls-trust-file={account.ca}", f"--auth={mechanism}"),
        *(f"--user={account.user}", f"--passwordeval=echo '{account.password}'"),
        *(f"--from={mail.mail_from}", *mail.rcpt_tos),
        text=mail.content.replace(b"\r\n", b"\n"),
    )


def curl(account: Account, mail: Mail) -> None:
    """Send with curl."""
    if account.mechanism == SCRAM and "gsasl" not in described("curl", "--version"):
        pytest.skip(f"curl is built without gsasl, and so without {SCRAM}")
    scheme = "smtps" if account.tls == "implicit" else "smtp"
    run(
        "curl",
        *("--disable", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(TIMEOUT_S)),
        *(["--ssl-reqd"] if account.tls == "starttls" else []),
        *(f"{scheme}://localhost:{account.port}/client.example", "--cacert", str(account.ca)),
        *("--user", f"{account.user}:{account.password}"),
        *("--login-options", f"AUTH={account.mechanism}", "--mail-from", mail.mail_from),
        *(word for to in mail.rcpt_tos for word in ("--mail-rcpt", to)),
        *("--upload-file", "-"),
        text=mail.content,
    )


def by_smtplib(account: Account, mail: Mail) -> None:
    """Send with the standard library."""
    trust = ssl.create_default_context(cafile=account.ca)
    try:
        with (
            smtplib.SMTP_SSL("localhost", account.port, timeout=TIMEOUT_S, context=trust)
            if account.tls == "implicit"
            else smtplib.SMTP("localhost", account.port, timeout=TIMEOUT_S)
        ) as client:
            if account.tls == "starttls":
                client.starttls(context=trust)
            client.ehlo("client.example")
            client.user, client.password = account.user, account.password
            client.auth(account.mechanism, getattr(client, f"auth_{account.mechanism.lower()}"))
            assert client.sendmail(mail.mail_from, mail.rcpt_tos, mail.content) == {}
    except (smtplib.SMTPException, OSError) as error:
        raise ClientError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Client:
    """A client, and what there is to know about it."""

    send: Callable[[Account, Mail], None]
    mechanisms: tuple[str, ...]
    wrong_password: str
    """What it says, as a pattern, when the login is refused."""
    wrong_certificate: str
    """What it says when it does not trust the certificate."""


CLIENTS: Final = {
    "swaks": Client(swaks, ("PLAIN", "LOGIN"), "535 5.7.8", "TLS startup failed"),
    "msmtp": Client(msmtp, ("PLAIN", "LOGIN", SCRAM), "535 5.7.8", "TLS certificate verif"),
    "curl": Client(curl, ("PLAIN", "LOGIN", SCRAM), "(67)", "(60)"),
    "smtplib": Client(by_smtplib, ("PLAIN", "LOGIN"), "535", "CERTIFICATE_VERIFY_FAILED"),
}
