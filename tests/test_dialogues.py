r"""Dialogues that a postmaster can read: one file, one rule, in clear text and under both kinds of TLS.

    # what is shown, and which RFC says so
    ! max_recipients: 2             a setting of the router
    S: 220 router.example ESMTP*    a reply; * at the end stands for any text
    C: EHLO client.example          a line; lines one below the other go out together
    S: 250-SIZE*                    a line somewhere in the reply ...
    S: 250 *                        ... whose last line is this
    T:                              the TLS handshake; a file that says STARTTLS runs as it stands
    E:                              the connection ends
    D: 1                            the downstream has so many messages by now

`\n`, `\r`, `\0`, `\xff` and `\\` in a line stand for that octet.
"""

import codecs
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
import yaml

from tests.certificates import trusting, write_certificate
from tests.rawclient import RawClient
from tests.running import Config, Router, one_user
from tests.witness import Witness

FILES = sorted((Path(__file__).parent / "dialogues").glob("*.txt"))
MODES = ("clear", "starttls", "implicit")


def modes_of(file: Path) -> tuple[str, ...]:
    return ("as written",) if "\nC: STARTTLS\n" in file.read_text() else MODES


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def steps(file: Path) -> Iterator[tuple[str, str]]:
    """The lines that are no comment: what they are, and their text."""
    for number, line in enumerate(file.read_text().splitlines(), 1):
        kind, _, text = line.partition(" ")
        if line and not line.startswith("#"):
            assert kind in {"!", "C:", "S:", "T:", "E:", "D:"}, f"{file.name}:{number}: {line!r}"
            yield kind, text


def settings(file: Path) -> Config:
    """What stands in its `!` lines."""
    lines = "\n".join(text for kind, text in steps(file) if kind == "!")
    return yaml.safe_load(lines) or {}


def fits(pattern: str, line: str) -> bool:
    return line.startswith(pattern[:-1]) if pattern.endswith("*") else line == pattern


class Dialogue:
    """One run of a file."""

    def __init__(self, client: RawClient, witness: Witness, context: ssl.SSLContext) -> None:
        self.client, self.witness, self.context = client, witness, context
        self._to_send = b""
        self._inside: list[str] = []

    def step(self, kind: str, text: str) -> None:
        if kind == "C:":
            octets = codecs.escape_decode(text.encode())[0]
            self._to_send += octets + b"\r\n"
            return
        if self._to_send:
            self.client.send(self._to_send)
            self._to_send = b""
        match kind:
            case "S:" if text[3:4] == "-":
                self._inside.append(text)
            case "S:":
                self.reply(text)
            case "T:":
                self.client.sock = self.context.wrap_socket(
                    self.client.sock, server_hostname="localhost"
                )
            case "E:":
                assert self.client.at_eof()
            case _:
                assert len(self.witness.deliveries) == int(text)

    def reply(self, last: str) -> None:
        reply = self.client.reply()
        *before, end = [f"{reply.code} {line.decode('ascii')}" for line in reply.lines]
        assert fits(last, end), f"{end!r} is not {last!r}"
        for pattern in self._inside:
            wanted = pattern.replace("-", " ", 1)
            assert any(fits(wanted, line) for line in (*before, end)), f"no {pattern!r} in {reply}"
        self._inside = []


@pytest.mark.parametrize(
    ("file", "mode"),
    [pytest.param(file, mode, id=f"{file.stem}-{mode}") for file in FILES for mode in modes_of(file)],
)
def test_dialogue(file: Path, mode: str, ca: trustme.CA, tmp_path: Path) -> None:
    write_certificate(ca, tmp_path / "cert.pem")
    listen: Config = {"addr": "127.0.0.1:0"}
    if mode != "clear":
        tls = "implicit" if mode == "implicit" else "starttls"
        listen |= {"tls": tls, "tls_cert": "cert.pem"}
    context = trusting(ca)
    with Witness() as witness:
        configuration = one_user(witness, listen=[listen], **settings(file))
        with Router(configuration, tmp_path) as router:
            client = router.connect(read_banner=False)
            with client:
                if mode == "implicit":
                    client.sock = context.wrap_socket(client.sock, server_hostname="localhost")
                lines = [(kind, text) for kind, text in steps(file) if kind != "!"]
                dialogue = Dialogue(client, witness, context)
                if mode == "starttls":
                    dialogue.step(*lines.pop(0))
                    assert client.starttls(context).code == 220
                for kind, text in lines:
                    dialogue.step(kind, text)
            assert not [entry for entry in router.log.entries if entry["level"] == "error"]


def test_every_dialogue_says_what_it_shows() -> None:
    assert len(FILES) >= 25
    assert not [file.name for file in FILES if not file.read_text().startswith("# ")]
