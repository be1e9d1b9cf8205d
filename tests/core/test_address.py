import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtp_router.core.address import (
    MAX_PATH_OCTETS,
    AddressError,
    check_path,
    is_ehlo_name,
    is_loopback,
    split_path,
)


def read(data: bytes) -> tuple[str, bytes]:
    """As MAIL and RCPT do it: the address, and what follows the path."""
    path, rest = split_path(data)
    return check_path(path), rest


@pytest.mark.parametrize(
    "address",
    [
        b"",
        b"a@b",
        b"first.last@b.example",
        b"UPPER.lower@B.Example",
        b"!#$%&'*+-/=?^_`{|}~@b.example",
        b"user+tag@b.example",
        b"a@b-c.example",
        b"a@1.example",
        b"a@xn--bcher-kva.example",
        b'"quoted local part"@b.example',
        b'"a@b"@c.example',
        b'"o>dd"@b.example',
        b'""@b.example',
        rb'"es\"cap\\ed"@b.example',
        b"a@[192.0.2.1]",
        b"a@[IPv6:2001:db8::1]",
        b"a@[ipv6:::1]",
        b"postmaster",
        b"PostMaster",
        "grüße@bücher.example".encode(),
        '"größer als"@b.example'.encode(),
        b"x" * 64 + b"@b.example",
        b"bounces+" + b"x" * 120 + b"=c.example@b.example",
    ],
)
def test_an_address_of_the_grammar_is_taken_octet_by_octet(address: bytes) -> None:
    assert read(b"<" + address + b"> SIZE=5") == (address.decode(), b" SIZE=5")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "malformed address"),
        (b"a@b.example", "malformed address"),
        (b"<a@b.example", "malformed address"),
        (b"a@b.example>", "malformed address"),
        (b" <a@b.example>", "malformed address"),
        (b"<<a@b.example>>", "malformed address"),
        (b"Name <a@b.example>", "malformed address"),
        (b"<a>", "malformed address"),
        (b"<a@>", "malformed address"),
        (b"<@b.example>", "malformed address"),
        (b"<a@@b.example>", "malformed address"),
        (b"<a@b@c.example>", "malformed address"),
        (b"<.a@b.example>", "malformed address"),
        (b"<a.@b.example>", "malformed address"),
        (b"<a..b@c.example>", "malformed address"),
        (b"<a b@c.example>", "malformed address"),
        (b"<a @b.example>", "malformed address"),
        (b"<a@b .example>", "malformed address"),
        (b"<a@b.example >", "malformed address"),
        (b"<a(comment)@b.example>", "malformed address"),
        (b"<a,b@c.example>", "malformed address"),
        (b"<a@b..example>", "malformed address"),
        (b"<a@.example>", "malformed address"),
        (b"<a@b.example.>", "malformed address"),
        (b"<a@-b.example>", "malformed address"),
        (b"<a@b-.example>", "malformed address"),
        (b"<a@b_c.example>", "malformed address"),
        (b"<a@b.example\r\n>", "malformed address"),
        (b"<a\nb@c.example>", "malformed address"),
        (b"<a\0@b.example>", "malformed address"),
        (b"<a\t@b.example>", "malformed address"),
        (b"<a\x7f@b.example>", "malformed address"),
        (b'<"a@b.example>', "malformed address"),
        (b'<"a"b@c.example>', "malformed address"),
        (b'<"a\nb"@c.example>', "malformed address"),
        (b'<"a\\\nb"@c.example>', "malformed address"),
        (b'<"a\0b"@c.example>', "malformed address"),
        (b'<"a\\"@c.example>', "malformed address"),
        (b"<a@[192.0.2.1>", "malformed address"),
        (b"<a@[]>", "malformed address"),
        (b"<a@[999.0.2.1]>", "malformed address literal"),
        (b"<a@[192.0.2]>", "malformed address literal"),
        (b"<a@[2001:db8::1]>", "malformed address literal"),
        (b"<a@[IPv6:192.0.2.1]>", "malformed address literal"),
        (b"<a@[IPv6:fe80::1%eth0]>", "malformed address literal"),
        (b"<a@[X400:whatever]>", "malformed address literal"),
        (b"<a@" + b"x" * 64 + b".example>", "domain too long"),
        (b"<" + b"a" * 250 + b"@b.example>", "address longer than 256 octets"),
        (b"<\xff@b.example>", "address is not UTF-8"),
        (b"<a@b\xc3.example>", "address is not UTF-8"),
        (b"<a\xc0\x80@b.example>", "address is not UTF-8"),
        ("<a\u0085b@c.example>".encode(), "address has characters that cannot be printed"),
        ("<a\u2028b@c.example>".encode(), "address has characters that cannot be printed"),
        ("<a@b\u202e.example>".encode(), "address has characters that cannot be printed"),
        ("<a\u200bb@c.example>".encode(), "address has characters that cannot be printed"),
    ],
)
def test_what_the_grammar_does_not_know_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(AddressError, match=rf"^{why}$") as caught:
        read(data)
    assert not caught.value.source_route


RELAY_HOLE = b"<=?utf-8?q?a=0d=0ag:victim=40evil.com?=@good.com>"
"""Decoded (as `email.utils` does it) it is an address elsewhere, with a line break in it."""


def test_an_encoded_word_in_an_address_is_not_decoded() -> None:
    with pytest.raises(AddressError, match="malformed"):
        split_path(RELAY_HOLE)
    harmless = b"<=?utf-8?q?a=0d=0ag=40evil.com?=@good.com>"  # atoms only: the same octets go on
    assert read(harmless) == (harmless[1:-1].decode(), b"")


@pytest.mark.parametrize(
    "data", [b"<@a.example:b@c.example>", b"<@a.example,@b.example:c@d.example>", b"<@a:b@c> SIZE=1"]
)
def test_a_source_route_is_refused_as_one(data: bytes) -> None:
    with pytest.raises(AddressError, match=r"^source routes are not accepted$") as caught:
        split_path(data)
    assert caught.value.source_route


def test_a_refusal_does_not_echo_the_address() -> None:
    with pytest.raises(AddressError) as caught:
        read(b"<secret\r\n@b.example>")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "rest", [b"", b" SIZE=1", b" BODY=8BITMIME SMTPUTF8", b"SIZE=1", b" >", b">", b"\r\nDATA", b" \0"]
)
def test_what_follows_the_path_is_left_as_it_is(rest: bytes) -> None:
    assert split_path(b"<a@b.example>" + rest) == (b"<a@b.example>", rest)


def test_a_path_may_have_256_octets_with_its_brackets() -> None:
    fits = b"<" + b"a" * (MAX_PATH_OCTETS - len(b"<@b.example>")) + b"@b.example>"
    assert len(fits) == MAX_PATH_OCTETS
    assert check_path(fits) == fits[1:-1].decode()


def test_a_label_may_have_63_octets() -> None:
    address = "a@" + "x" * 63 + ".example"
    assert check_path(f"<{address}>".encode()) == address


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "data",
    [
        b"<" + b"a" * 100_000,
        b"<" + b"a." * 50_000,
        b"<a@" + b"b" * 100_000,
        b"<a@" + b"b-" * 50_000,
        b"<a@" + b"b." * 50_000,
        b'<"' + b"\\a" * 50_000,
        b"<a@[" + b"1" * 100_000,
        b"<@" + b"a" * 100_000,
    ],
)
def test_an_endless_address_costs_no_more_than_its_length(data: bytes) -> None:
    with pytest.raises(AddressError):
        split_path(data)


PIECES = b'a,Z,.,@,",\\,<,>,[,],:,-, ,\r\n,\n,\0,\x7f,\xff,\xc3\xbc,\xc2\x85,1.2.3.4,IPv6:,=?utf-8?q?'
octets = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(st.sampled_from(PIECES.split(b",")), max_size=14).map(b"".join),
)


@given(octets, st.binary(max_size=10))
@example(RELAY_HOLE[1:-1], b"")
@example(b"a@b", b"")
@example(b'"a b"@[1.2.3.4]', b" SIZE=1")
def test_what_is_accepted_is_the_same_octets_and_has_no_controls(inner: bytes, rest: bytes) -> None:
    data = b"<" + inner + b">" + rest
    try:
        path, left = split_path(data)
        address = check_path(path)
    except AddressError:
        return
    assert b"<" + address.encode() + b">" == path
    assert path + left == data
    assert not any(unicodedata.category(character).startswith("C") for character in address)
    assert "\u2028" not in address
    assert "\u2029" not in address


domains = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z]{1,5}){0,3}", fullmatch=True)
locals_ = st.one_of(
    st.from_regex(r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z]+)*", fullmatch=True),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(
        lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    ),
)


@given(locals_, domains)
def test_every_mailbox_of_the_grammar_is_accepted(local: str, domain: str) -> None:
    address = f"{local}@{domain}"
    if len(address) <= 254:
        assert read(f"<{address}>".encode()) == (address, b"")


@pytest.mark.parametrize(
    "name",
    [
        b"a",
        b"mail.example.com",
        b"MAIL-1",
        b"host_name.local",
        b"1.2.3.4",
        b"[192.0.2.1]",
        b"[IPv6:::1]",
    ],
)
def test_a_name_or_an_address_literal_may_follow_ehlo(name: bytes) -> None:
    assert is_ehlo_name(name)


@pytest.mark.parametrize(
    "name",
    [b"", b" ", b"a b", b"a\r\n", b"a\0", b"-a", b"a-", b".a", "ü".encode(), b"<a>", b"[a", b"a" * 256],
)
def test_nothing_else_may_follow_ehlo(name: bytes) -> None:
    assert not is_ehlo_name(name)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("128.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:192.0.2.1", False),
        ("localhost", False),
        ("", False),
        ("/run/router.sock", False),
    ],
)
def test_loopback_is_this_machine_and_nothing_else(address: str, *, loopback: bool) -> None:
    assert is_loopback(address) is loopback
