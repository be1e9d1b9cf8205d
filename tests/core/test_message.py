import copy
import dataclasses
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import TLS, Downstream, Health, Message, Session
from smtp_router.core.content import Stuffed, stuff
from smtp_router.core.message import met, on_the_wire, received
from tests.support import CONTENT, make_downstream, make_message


def test_a_message_has_what_the_client_gave_and_defaults_for_the_rest() -> None:
    message = make_message()
    assert message.session == Session(peer="", peer_port=0, ehlo="", esmtp=True, tls=None)
    assert message.mail_parameters == {}
    assert message.rcpt_parameters == ()
    assert message.content == CONTENT
    assert message.size == len(CONTENT)


def test_headers_are_parsed_once() -> None:
    message = make_message()
    assert message.headers["subject"] == "hello"
    assert message.headers is message.headers


def test_with_header_puts_one_field_on_top_and_keeps_all_other_octets() -> None:
    content = b"A: 1\nB: \xff\r2\r\n\r\n.\r\n\0"
    message = make_message(content=content)
    assert message.headers["A"] == "1"
    changed = message.with_header("X-Route", "eu")
    assert changed.content == b"X-Route: eu\r\n" + content
    assert changed.headers["X-Route"] == "eu"
    assert message.content == content
    assert changed.replace(content=content) == message


@pytest.mark.parametrize(("name", "value"), [("A:", "x"), ("A", "x\r\nBcc: y"), ("", "x"), ("A", "\0")])
def test_with_header_takes_no_second_field(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"is no header field name|has a control character in it"):
        make_message().with_header(name, value)


def test_replace_changes_a_copy() -> None:
    message = make_message()
    changed = message.replace(mail_from="", rcpt_tos=("x@y", "z@y"))
    assert (changed.mail_from, changed.rcpt_tos) == ("", ("x@y", "z@y"))
    assert (message.mail_from, message.rcpt_tos) == ("sender@a.example", ("rcpt@b.example",))
    assert changed.headers["subject"] == "hello"


def test_replace_forgets_the_headers_of_other_content() -> None:
    message = make_message()
    assert message.headers["subject"] == "hello"
    assert message.replace(content=b"Subject: bye\r\n\r\n").headers["subject"] == "bye"


def test_replace_refuses_a_field_that_is_none() -> None:
    with pytest.raises(TypeError, match="recipients"):
        make_message().replace(recipients=())


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (make_message(), "content"),
        (make_downstream(), "host"),
        (Health(), "failed"),
        (Session(), "peer"),
        (TLS(version="TLSv1.3", cipher="x"), "version"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_frozen_and_slotted(value: Any, name: str) -> None:  # noqa: ANN401 - any of ours
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)
    assert not hasattr(value, "__dict__")


def test_values_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        Downstream("a", "a.example", 25)  # type: ignore[call-arg]


def test_content_does_not_show_in_the_repr() -> None:
    message = make_message(content=b"Subject: secret\r\n\r\nsecret")
    assert message.headers
    assert "secret" not in repr(message)


def test_messages_compare_by_what_they_hold() -> None:
    parsed = make_message()
    assert parsed.headers
    assert parsed == make_message()
    assert hash(parsed) == hash(make_message())
    assert parsed != make_message(received_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert len({make_message(), make_message(), make_message(id="2")}) == 2


def test_parameters_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        make_message().mail_parameters["SIZE"] = "1"  # type: ignore[index]
    with pytest.raises(TypeError):
        make_downstream().options["weight"] = 3  # type: ignore[index]


def test_how_a_downstream_fares_is_not_who_it_is() -> None:
    well, ill = make_downstream(), make_downstream(health=Health(failed=3, consecutive_failures=3))
    assert well == ill
    assert hash(well) == hash(ill)
    assert well != make_downstream(port=26)
    assert make_downstream(options={"weight": 1}) != make_downstream(options={"weight": 2})


# Content that came over the wire


class Sealed(Stuffed):
    """Content that is not to be un-stuffed: whoever only passes it on need not."""

    def content(self) -> bytes:
        pytest.fail("un-stuffed")


WIRE = b"Subject: hello\r\n..\r\n\r\n..\r\nbody\r\n"
WRITTEN = b"Subject: hello\r\n.\r\n\r\n.\r\nbody\r\n"


def came(content: Stuffed) -> Message:
    """The message of `make_message`, as if this content had come over the wire."""
    message = make_message()
    fields = {
        field.name: getattr(message, field.name)
        for field in dataclasses.fields(message)
        if field.init and field.name != "content"
    }
    return received(content, **fields)


def sealed() -> Message:
    return came(Sealed((WIRE[:20], WIRE[20:]), len(WRITTEN)))


def test_a_session_is_what_its_client_has_said() -> None:
    tls = TLS(version="TLSv1.3", cipher="any")
    session = met(("192.0.2.1", 4), "client.example", tls, esmtp=False, authenticated=False)
    assert type(session) is Session
    assert session == Session(
        peer="192.0.2.1",
        peer_port=4,
        ehlo="client.example",
        esmtp=False,
        tls=tls,
        authenticated=False,
    )


def test_a_message_that_came_over_the_wire_has_all_that_it_was_given() -> None:
    given: dict[str, Any] = {
        "id": "1",
        "user": "u@a.example",
        "mail_from": "",
        "rcpt_tos": ("b@b.example", "c@c.example"),
        "session": Session(peer="192.0.2.1"),
        "received_at": datetime(2026, 2, 3, tzinfo=UTC),
        "mail_parameters": {"SIZE": "1"},
        "rcpt_parameters": ({"NOTIFY": "NEVER"}, {}),
    }
    message = received(stuff(WRITTEN), **given)
    assert message == Message(content=WRITTEN, **given)
    assert message.with_header("A", "b") == Message(content=b"A: b\r\n" + WRITTEN, **given)
    assert repr(message) == repr(Message(content=WRITTEN, **given))


def test_a_message_that_is_passed_on_is_not_unstuffed() -> None:
    message = sealed()
    changed = message.replace(mail_from="", rcpt_tos=("x@y",)).replace(id="2")
    assert changed.size == message.size == len(WRITTEN)
    assert (changed.mail_from, changed.id) == ("", "2")
    assert on_the_wire(changed) is on_the_wire(message)
    assert repr(changed)


def test_headers_of_a_message_are_read_without_its_body() -> None:
    class Body(bytes):
        def replace(self, *_: object) -> bytes:
            pytest.fail("looked through")

    message = came(Sealed((b"Subject: hello\r\n", b"\r\n", Body(b"..\r\n")), 21))
    assert message.headers["subject"] == "hello"
    assert message.replace(mail_from="").headers["subject"] == "hello"


def test_with_header_goes_on_top_of_what_came_over_the_wire() -> None:
    before = sealed()
    assert before.headers["subject"] == "hello"  # read before, and not for the other one
    message = before.with_header("X-Route", "eu")
    assert message.replace(content=b"") == before.replace(content=b"")
    field = b"X-Route: eu\r\n"
    assert on_the_wire(message).pieces == (field, WIRE[:20], WIRE[20:])
    assert message.size == len(field + WRITTEN)
    assert message.headers["X-Route"] == "eu"
    assert message.headers["subject"] == "hello"
    assert message.content == field + WRITTEN


WRITTEN_CONTENT = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"a: b"])).map(b"".join)


@given(WRITTEN_CONTENT)
def test_content_reads_the_same_wherever_it_comes_from(content: bytes) -> None:
    ended = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
    wired, written = came(stuff(content)), make_message(content=ended)
    assert list(wired.headers) == list(written.headers)
    assert wired.size == written.size == len(ended)
    assert wired == written
    assert hash(wired) == hash(written)
    assert wired.content == ended
    assert wired.content is wired.content
    assert on_the_wire(wired) == stuff(content)
    assert b"".join(on_the_wire(written).pieces) == b"".join(stuff(content).pieces)


def test_other_content_takes_the_place_of_what_came() -> None:
    message = sealed().replace(content=b".new")
    assert message.content == b".new"
    assert message.size == 4
    assert on_the_wire(message) == Stuffed((b"..new\r\n",), 6)
    assert "new" not in message.headers


@pytest.mark.parametrize("is_read", [True, False])
def test_messages_can_be_copied_and_pickled(*, is_read: bool) -> None:
    message = came(stuff(WRITTEN)).replace(mail_parameters={"SIZE": "1"})
    if is_read:
        assert message.content
        assert message.headers
    for again in (copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):  # noqa: S301 - ours
        assert again == message
        assert again.content == WRITTEN
        assert again.headers["subject"] == "hello"
        assert on_the_wire(again).content() == WRITTEN


def test_there_are_no_other_attributes_than_these() -> None:
    with pytest.raises(AttributeError, match="'Message' object has no attribute 'subject'"):
        came(stuff(WRITTEN)).subject  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(dataclasses.FrozenInstanceError):
        came(stuff(WRITTEN)).content = b""  # type: ignore[misc]
