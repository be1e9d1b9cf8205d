"""A client that goes away behind each octet of a session: closed, reset and half-closed."""

import base64
from pathlib import Path

import pytest

from smtp_router.testing import ScriptedDownstream
from tests.rawclient import RawClient
from tests.running import PASSWORD, USER, Router
from tests.underload import evenly

LEAVE = {
    "close": RawClient.close,
    "reset": RawClient.reset,
    "half-close": RawClient.shutdown_write,
}
LOGIN = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
CONTENT = b"Subject: hello\r\n\r\n..hello\r\nbye\r\n"


def session(sender: bytes) -> bytes:
    """All that a client says for one message."""
    return (
        b"EHLO client.example\r\nAUTH PLAIN " + LOGIN + b"\r\n"
        b"MAIL FROM:<"
        + sender
        + b">\r\nRCPT TO:<rcpt@b.example>\r\nDATA\r\n"
        + CONTENT
        + b".\r\nQUIT\r\n"
    )


@pytest.mark.parametrize("leave", LEAVE)
def test_wherever_a_client_leaves_a_message_is_delivered_whole_and_once_or_not_at_all(
    leave: str, tmp_path: Path
) -> None:
    whole = session(b"000@a.example")
    dot = whole.index(b"\r\n.\r\n") + 5
    with (
        ScriptedDownstream() as downstream,
        Router(evenly(downstream), tmp_path) as router,
    ):
        for cut in range(len(whole) + 1):
            with router.connect() as client:
                client.send(session(b"%03d@a.example" % cut)[:cut])
                LEAVE[leave](client)
                if leave == "half-close":
                    client.drain()
        with router.connect() as client:  # others notice nothing
            client.send(session(b"end@a.example"))
            client.drain()
        router.stop()
        router.ended()  # no session, task or connection is left, or this would not end
        taken = {message.mail_from: message for message in downstream.delivered}
        assert len(taken) == len(downstream.messages)
        assert "end@a.example" in taken
        for message in downstream.delivered:
            assert message.below_received == CONTENT.replace(b"\r\n..", b"\r\n.")
            assert message.mail_from == "end@a.example" or int(message.mail_from[:3]) >= dot
        assert not router.log.find("session failed")
        assert not router.log.find("routing failed")
