import hashlib

import pytest

from smtp_router.core.content import stuff
from smtp_router.core.fingerprint import fingerprint, outline
from smtp_router.core.message import Session, received
from tests.support import make_message

CONTENT = b"Message-ID: <1@a.example>\r\n\r\n.hello\r\n"


@pytest.mark.parametrize(
    "change",
    [
        {"user": "other@example.com"},
        {"mail_from": ""},
        {"rcpt_tos": ("rcpt@b.example", "more@b.example")},
        {"rcpt_tos": ("rcpt@b.exampl",)},
        {"rcpt_tos": ()},
        {"mail_parameters": {"BODY": "8BITMIME"}},
        {"mail_parameters": {"BODY": None}},
        {"rcpt_parameters": ({"NOTIFY": "NEVER"},)},
        {"content": CONTENT.replace(b"1@", b"2@")},
        {"content": CONTENT.replace(b"hello", b"hallo")},
    ],
)
def test_what_differs_in_login_envelope_or_content_is_another_message(change: dict[str, object]) -> None:
    message = make_message(content=CONTENT)
    assert fingerprint(message.replace(**change)).key != fingerprint(message).key


def test_what_is_not_the_clients_makes_no_difference() -> None:
    message = make_message(content=CONTENT)
    again = message.replace(id="message-2", session=Session(peer="192.0.2.7", peer_port=7))
    assert fingerprint(again) == fingerprint(message)
    assert outline(again) == outline(message)


def test_pieces_make_no_difference() -> None:
    message = make_message(content=CONTENT)
    fields = {
        name: getattr(message, name) for name in ("id", "user", "mail_from", "rcpt_tos", "received_at")
    }
    wire = stuff(CONTENT)
    (whole,) = wire.pieces
    for cut in range(1, len(whole)):
        pieces = type(wire)((whole[:cut], whole[cut:]), wire.size)
        assert fingerprint(received(pieces, **fields)) == fingerprint(message)


def test_recipients_cannot_be_moved_into_the_sender() -> None:
    one = make_message(mail_from="a@x", rcpt_tos=("b@x", "c@x"))
    two = make_message(mail_from="a@xb@x", rcpt_tos=("c@x",))
    assert fingerprint(one).key != fingerprint(two).key


def test_a_parameter_that_is_not_given_is_none_that_is_empty() -> None:
    plain = make_message()
    assert fingerprint(plain) == fingerprint(plain.replace(rcpt_parameters=({},)))


def test_the_digest_is_that_of_the_content_as_it_came() -> None:
    assert fingerprint(make_message(content=b"a\r\nb\r\n")).digest == (
        hashlib.sha256(b"a\r\nb\r\n").hexdigest()
    )
