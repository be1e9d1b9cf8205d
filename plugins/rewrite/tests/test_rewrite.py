from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtp_router import Message
from smtp_router.testing import conformance, make_downstream, make_message
from smtp_router_rewrite import Rewrite

ONE, OTHER = make_downstream("one"), make_downstream("other")
BODY = b"\r\nFrom: quoted\r\n.\r\n \xff\0 \n\r\r\n"
CONTENT = (
    b"Received: from x\r\n\tby y; now\r\n"
    b"from :  =?utf-8?q?J=C3=BCrgen?=\r\n <author@a.example> \r\n"
    b"To: b@b.example\r\nX-Id: 1\r\nSubject: gr\xfc\xdf \r\nx-id: 2\r\n" + BODY
)

test_conformance = conformance(
    Rewrite,
    {
        "downstreams": {"d1": {"from": "y@y.example"}},
        "default": {
            "mail_from": "x@x.example",
            "from": "x@x.example",
            "headers": {"remove": ["X-Odd"], "set": {"To": "y@y.example"}, "add": {"X-New": "1"}},
        },
    },
)


def message(content: bytes = CONTENT, mail_from: str = "author@a.example") -> Message:
    return make_message(mail_from=mail_from, content=content)


def rewritten(rules: dict[str, Any], content: bytes = CONTENT) -> bytes:
    changed = Rewrite(default=rules).before_send(message(content), ONE)
    assert changed
    return changed.content


# which rules


def test_a_downstream_without_rules_gets_the_message_as_it_is() -> None:
    assert Rewrite({"one": {"mail_from": "x@x.example"}}).before_send(message(), OTHER) is None


def test_the_rules_of_a_downstream_stand_in_for_the_default_ones() -> None:
    plugin = Rewrite({"one": {"mail_from": "x@x.example"}}, {"headers": {"add": {"X-New": "1"}}})
    one, other = (plugin.before_send(message(), downstream) for downstream in (ONE, OTHER))
    assert one
    assert other
    assert (one.mail_from, one.content) == ("x@x.example", CONTENT)
    assert (other.mail_from, other.content) == ("author@a.example", b"X-New: 1\r\n" + CONTENT)


# the envelope


def test_a_null_reverse_path_stays() -> None:
    plugin = Rewrite(default={"mail_from": "x@x.example"})
    changed = plugin.before_send(message(mail_from=""), ONE)
    assert changed
    assert changed.mail_from == ""


# From


def test_a_new_address_keeps_the_name_and_the_old_from_becomes_reply_to() -> None:
    old = b"from :  =?utf-8?q?J=C3=BCrgen?=\r\n <author@a.example> \r\n"
    new = (
        b"From: =?utf-8?q?J=C3=BCrgen?= <x@x.example>\r\n"
        b"Reply-To:  =?utf-8?q?J=C3=BCrgen?=\r\n <author@a.example> \r\n"
    )
    assert rewritten({"from": "x@x.example"}) == CONTENT.replace(old, new)


def test_a_reply_to_that_is_there_stays() -> None:
    content = b"From: a@a.example\r\nreply-to: r@a.example\r\n" + BODY
    new = b"From: x@x.example\r\nreply-to: r@a.example\r\n" + BODY
    assert rewritten({"from": "x@x.example"}, content) == new


@pytest.mark.parametrize(
    ("author", "old", "new"),
    [
        ("New, Inc. <x@x.example>", b"Old <a@a.example>", None),
        ('"New, Inc." <x@x.example>', b"Old <a@a.example>", b'"New, Inc." <x@x.example>'),
        ("Jürgen <x@x.example>", b"a@a.example", b"=?utf-8?q?J=C3=BCrgen?= <x@x.example>"),
        ("x@x.example", 'Jürgen "J" <a@a.example>'.encode(), '"Jürgen J" <x@x.example>'.encode()),
        ("x@x.example", b"J\xfcrgen <a@a.example>", b'"J\xfcrgen" <x@x.example>'),
        ("x@x.example", b'"A, \\"B\\"" <a@a.example>', b'"A, \\"B\\"" <x@x.example>'),
        ("x@x.example", b"A <a@a.example>, B <b@a.example>", b"x@x.example"),
    ],
)
def test_names_in_from_are_written_as_they_have_to_be(
    author: str, old: bytes, new: bytes | None
) -> None:
    if new is None:
        with pytest.raises(ValueError, match=r"default\.from: "):
            Rewrite(default={"from": author})
        return
    content = rewritten({"from": author}, b"From: " + old + b"\r\n" + BODY)
    assert content == b"From: " + new + b"\r\nReply-To: " + old + b"\r\n" + BODY


def test_a_from_that_is_right_already_stays() -> None:
    assert rewritten({"from": "Author@a.example"}) == CONTENT


def test_several_from_become_one_and_a_missing_one_is_put_on_top() -> None:
    twice = b"A: 1\r\nFrom: a@a.example\r\nB: 2\r\nFrom: b@b.example\r\n" + BODY
    once = b"A: 1\r\nFrom: x@x.example\r\nReply-To: a@a.example\r\nB: 2\r\n" + BODY
    assert rewritten({"from": "x@x.example"}, twice) == once
    assert rewritten({"from": "x@x.example"}, BODY) == b"From: x@x.example\r\n" + BODY


# headers


def test_remove_takes_all_fields_of_a_name_in_any_case_and_nothing_else() -> None:
    gone = CONTENT.replace(b"X-Id: 1\r\n", b"").replace(b"x-id: 2\r\n", b"")
    assert rewritten({"headers": {"remove": ["X-ID"]}}) == gone
    folded = CONTENT.replace(b"Received: from x\r\n\tby y; now\r\n", b"")
    assert rewritten({"headers": {"remove": ["received"]}}) == folded


def test_set_stands_where_the_first_field_stood() -> None:
    there = CONTENT.replace(b"X-Id: 1\r\n", b"X-ID: new\r\n").replace(b"x-id: 2\r\n", b"")
    assert rewritten({"headers": {"set": {"X-ID": "new"}}}) == there
    assert rewritten({"headers": {"set": {"X-New": "ü"}}}) == b"X-New: =?utf-8?b?w7w=?=\r\n" + CONTENT


def test_add_puts_fields_on_top_in_their_order() -> None:
    added = b"X-Id: a\r\nX-Id: b\r\nX-Tag: c\r\n" + CONTENT
    assert rewritten({"headers": {"add": {"X-Id": ["a", "b"], "X-Tag": "c"}}}) == added


def test_headers_come_after_from_so_the_reply_to_can_be_another_or_none() -> None:
    content = b"From: a@a.example\r\n" + BODY
    new = {"from": "x@x.example", "headers": {"set": {"Reply-To": "r@x.example"}}}
    assert rewritten(new, content) == b"From: x@x.example\r\nReply-To: r@x.example\r\n" + BODY
    none = {"from": "x@x.example", "headers": {"remove": ["Reply-To"]}}
    assert rewritten(none, content) == b"From: x@x.example\r\n" + BODY


@given(
    pieces=st.lists(
        st.sampled_from(
            [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"A", b"B: ", b"\0", b"\xff", b"X-No: "]
        )
    )
)
@example(pieces=[])
@example(pieces=[b"\n", b"B: ", b"\n"])
def test_whatever_the_content_no_other_octet_changes(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    rules = {"headers": {"remove": ["X-Absent"], "add": {"X-Tag": "1"}}}
    assert rewritten(rules, content) == b"X-Tag: 1\r\n" + content


# options


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        ("text", "default: a mapping"),
        ({"mailfrom": "a@a.example"}, "default.mailfrom: is no rule; there are mail_from"),
        ({"mail_from": ""}, "default.mail_from: is no address"),
        ({"mail_from": "a"}, "default.mail_from: is no address"),
        ({"mail_from": "a@a.example\r\n"}, "default.mail_from: is no address"),
        ({"mail_from": 7}, "default.mail_from: is no address"),
        ({"from": 7}, "default.from: an address"),
        ({"from": "A <a>"}, "default.from: is no address"),
        ({"from": "a@a.example, b@b.example"}, "default.from: one address"),
        ({"from": "A\r\nBcc: x <a@a.example>"}, "default.from: the value of From has a control"),
        ({"headers": []}, "default.headers: a mapping"),
        ({"headers": {"replace": {}}}, "default.headers.replace: is no rule"),
        ({"headers": {"remove": "X-Id"}}, "default.headers.remove: a list"),
        ({"headers": {"remove": ["X Id"]}}, "default.headers.remove: 'X Id' is no header field name"),
        ({"headers": {"remove": [7]}}, "default.headers.remove: 7 is no header field name"),
        ({"headers": {"remove": ["From"]}}, "default.headers.remove: From has a rule of its own"),
        ({"headers": {"set": []}}, "default.headers.set: a mapping"),
        ({"headers": {"set": {"from": "x"}}}, "default.headers.set: From has a rule of its own"),
        ({"headers": {"set": {"X:": "x"}}}, "default.headers.set: 'X:' is no header field name"),
        ({"headers": {"set": {"X": "a\nb"}}}, "default.headers.set.X: the value of X has a control"),
        ({"headers": {"set": {"X": 7}}}, "default.headers.set.X: a text that is not empty"),
        ({"headers": {"set": {"X": ["a", "b"]}}}, "default.headers.set.X: one text"),
        ({"headers": {"set": {"X": []}}}, "default.headers.set.X: one text"),
        ({"headers": {"set": {"X": "1"}, "remove": ["x"]}}, "default.headers: X is in both"),
        ({"headers": {"add": {"X": ["a", ""]}}}, "default.headers.add.X: a text that is not empty"),
        ({"headers": {"add": {"X": "a", "x": "b"}}}, "default.headers.add: has a name twice"),
    ],
)
def test_options_that_are_wrong_are_named(rules: Any, error: str) -> None:  # noqa: ANN401 - anything
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - its text is looked at
        Rewrite(default=rules)
    assert str(raised.value).startswith(error)
    with pytest.raises(ValueError, match=r"^downstreams\.one[.:]"):
        Rewrite({"one": rules})


def test_a_plugin_without_rules_is_refused() -> None:
    with pytest.raises(ValueError, match="takes rules for downstreams, or default ones, or both"):
        Rewrite()
