import re
from email.header import Header

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtp_router.core.headers import Headers, count_fields, format_field, header_end


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"\r\nbody", b""),
        (b"\nbody", b""),
        (b"A: 1\r\n\r\nbody", b"A: 1\r\n"),
        (b"A: 1\n\nbody", b"A: 1\n"),
        (b"A: 1\r\n\nbody", b"A: 1\r\n"),
        (b"A: 1\n\r\nbody", b"A: 1\n"),
        (b"A: 1\r\nB: 2\r\n\r\nbody\r\n\r\nmore", b"A: 1\r\nB: 2\r\n"),
        (b"A: 1\r\n", b"A: 1\r\n"),
        (b"A: 1", b"A: 1"),
        (b"A: 1\r\rbody", b"A: 1\r\rbody"),
        (b"A: 1\r\n \r\nB: 2\r\n\r\n", b"A: 1\r\n \r\nB: 2\r\n"),
    ],
)
def test_the_header_ends_before_the_first_empty_line(content: bytes, header: bytes) -> None:
    assert content[: header_end(content)] == header


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"A: 1\r\nB: 2\r\n\r\nC: 3\r\n", [("A", "1"), ("B", "2")], id="body is not read"),
        pytest.param(b"A: 1\nB: 2\n", [("A", "1"), ("B", "2")], id="bare LF"),
        pytest.param(b"A:1\r\nB:\t 2 \r\n", [("A", "1"), ("B", "2")], id="white space around"),
        pytest.param(b"A : 1\r\n", [("A", "1")], id="white space before the colon"),
        pytest.param(b"A:\r\nB: 2\r\n", [("A", ""), ("B", "2")], id="empty value"),
        pytest.param(b"A: 1\r\n  2\r\n\t3\r\nB: 4\r\n", [("A", "1  2\t3"), ("B", "4")], id="folded"),
        pytest.param(b"A: x: y: z\r\n", [("A", "x: y: z")], id="colons in the value"),
        pytest.param(b"A: 1", [("A", "1")], id="no line end"),
        pytest.param(b"A: 1\rB: 2\r\n", [("A", "1\rB: 2")], id="bare CR is no line end"),
        pytest.param(b"no field\r\nB: 2\r\n", [("B", "2")], id="junk line"),
        pytest.param(b" A: 1\r\nB: 2\r\n", [("B", "2")], id="continuation of nothing"),
        pytest.param(b": 1\r\nB: 2\r\n", [("B", "2")], id="no name"),
        pytest.param(b"A B: 1\r\nC: 2\r\n", [("C", "2")], id="space in the name"),
        pytest.param("Ä: 1\r\nB: 2\r\n".encode(), [("B", "2")], id="8-bit name"),
        pytest.param("A: grüße\r\n".encode(), [("A", "grüße")], id="UTF-8"),
        pytest.param(b"A: gr\xfc\xdfe\r\n", [("A", "gr\ufffd\ufffde")], id="8-bit, not UTF-8"),
        pytest.param(b"A: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n", [("A", "grüße")], id="Q"),
        pytest.param(b"A: =?UTF-8?B?Z3LDvMOfZQ==?= x\r\n", [("A", "grüße x")], id="B"),
        pytest.param(b"A: =?iso-8859-1?q?gr=FC=DFe?=\r\n", [("A", "grüße")], id="Latin 1"),
        pytest.param(b"A: =?nonsense?q?x?=\r\n", [("A", "=?nonsense?q?x?=")], id="unknown charset"),
        pytest.param(b"A: =?utf-8?b?A?=\r\n", [("A", "=?utf-8?b?A?=")], id="broken base64"),
        pytest.param(b"A: =?utf-8?q?=FF?=\r\n", [("A", "=?utf-8?q?=FF?=")], id="undecodable octets"),
    ],
)
def test_fields_are_read_as_well_as_they_can_be(content: bytes, fields: list[tuple[str, str]]) -> None:
    assert list(Headers(content)) == fields


def test_a_name_is_found_in_any_case_and_the_first_one_wins() -> None:
    headers = Headers(b"Received: 1\r\nSubject: hi\r\nRECEIVED: 2\r\n\r\n")
    assert headers["received"] == "1"
    assert headers.get("SUBJECT") == "hi"
    assert headers.get_all("Received") == ("1", "2")
    assert "subject" in headers
    assert len(headers) == 3


def test_a_name_that_is_not_there_has_no_value() -> None:
    headers = Headers(b"A: 1\r\n\r\nB: 2\r\n")
    assert headers.get("B") is None
    assert headers.get("B", "none") == "none"
    assert headers.get_all("B") == ()
    assert "B" not in headers
    assert 5 not in headers
    with pytest.raises(KeyError, match=r"^'B'$"):
        headers["B"]


def test_values_do_not_show_in_the_repr() -> None:
    assert repr(Headers(b"Subject: secret\r\nTo: a@b\r\n")) == "<Headers Subject, To>"


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "content",
    [
        b"A" * 300_000,
        b"A: " + b"x" * 300_000,
        b"A: 1\r\n " * 40_000,
        b"A: 1\r\n" * 40_000,
        b"A:" * 150_000,
        b"A:\r" * 100_000,
        b"A" + b" " * 300_000,
        b"A: " + b"=?" * 20_000,
        b"A: " + b"=?utf-8?q?x?= " * 5_000,
        b"\r" * 300_000,
        b"\n \n" * 100_000,
    ],
    ids=range(11),
)
def test_odd_headers_cost_no_more_than_their_length(content: bytes) -> None:
    Headers(content)
    count_fields(content[: header_end(content)], b"Received")


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a"])).map(b"".join))
def test_the_header_ends_where_its_definition_says(content: bytes) -> None:
    empty_line = re.search(rb"\n\r?\n", b"\n" + content)
    assert header_end(content) == (empty_line.start() if empty_line else len(content))


PIECES = b"A,Subject,:, ,\t,\r\n,\n,\r,\0,\xff,\xc3\xbc,?=,=FF,QQ=,=0A,=?,=?utf-8?q?,=?utf-8?b?,=?x?q?"
header_octets = st.one_of(
    st.binary(max_size=80),
    st.lists(st.sampled_from(PIECES.split(b",")), max_size=20).map(b"".join),
)


@given(header_octets)
@example(b"A: =?utf-8?b?A?=")
@example(b"A: =?idna?q?xn--?=")
@example(b"A: =?unicode_escape?q?=5Cx?=")
@example(b"A: =?rot13?q?x?=")
@example(b"A: =?hex?q?zz?=")
@example(b"A: =?zlib?b?eA==?=")
@example(b"A: =?\0?q?x?=")
@example(b"A: =?utf-8?q?x?= =?utf-16?b?QUI=?=")
def test_no_content_breaks_the_reading(content: bytes) -> None:
    headers = Headers(content)
    for name, value in headers:
        assert headers.get(name) is not None
        assert isinstance(value, str)
    assert len(headers) == len(list(headers))
    assert 0 <= header_end(content) <= len(content)
    assert count_fields(content[: header_end(content)], b"Subject") >= 0


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (b"Received: 1\r\nreceived: 2\r\nRECEIVED : 3\r\n\r\nReceived: body\r\n", 3),
        (b"X-Received: 1\r\nA: Received: 2\r\n Received: 3\r\n\r\n", 0),
        (b"Received: 1\nReceived: 2\n\nReceived: 3\n", 2),
        (b"", 0),
    ],
)
def test_fields_are_counted_in_the_header_only(content: bytes, count: int) -> None:
    assert count_fields(content[: header_end(content)], b"Received") == count


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("X-Route", "eu", b"X-Route: eu\r\n"),
        ("X-Route", "", b"X-Route: \r\n"),
        ("X-Route", "grüße", b"X-Route: =?utf-8?b?Z3LDvMOfZQ==?=\r\n"),
        ("x", "a\tb", b"x: a\tb\r\n"),
    ],
)
def test_a_field_is_formatted_as_one(name: str, value: str, field: bytes) -> None:
    assert format_field(name, value) == field


@pytest.mark.parametrize("name", ["", " ", "A B", "A:", "A\r\n", "Ä", "A\0", "A\n"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no header field name"):
        format_field(name, "value")


@pytest.mark.parametrize("value", ["a\r\nBcc: b", "a\nb", "a\rb", "a\0", "a\x7f", "a\x1b[0m", "\n"])
def test_a_value_with_a_control_character_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"^the value of X-Route has a control character in it$"):
        format_field("X-Route", value)


@given(st.text(max_size=300))
@example("a" * 200)
@example("word " * 60)
@example(" " * 200)
@example("a" + " " * 200 + "b")
@example("ü" * 200)
@example("line\u2028separator")
@example("next\u0085line")
@example("\t" * 100)
def test_a_formatted_field_is_one_field_and_leaves_the_header_whole(value: str) -> None:
    rest = b"Subject: x\r\n"
    try:
        field = format_field("X-Route", value)
    except ValueError:
        assert re.search(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]", value)
        return
    assert field.endswith(b"\r\n")
    assert field.isascii()
    assert re.fullmatch(rb"X-Route: [^\r\n]*(\r\n[ \t]+[^\s][^\r\n]*)*\r\n", field)
    content = field + rest + b"\r\nbody"
    assert header_end(content) == len(field + rest)
    assert [name for name, _ in Headers(content)] == ["X-Route", "Subject"]


@given(st.text(st.characters(min_codepoint=0x21, exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"])))
def test_a_formatted_value_reads_back(value: str) -> None:
    if "=?" not in value:
        assert Headers(format_field("X-Route", value))["x-route"] == value


NAMES = st.from_regex(re.compile(r"[!-9;-~]{1,70}"), fullmatch=True)
VALUES = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=90)


@given(NAMES, VALUES)
@example("X-Route", "a  b")
@example("X-Route", " a ")
@example("X-Route", "")
@example("X-Route", "=?utf-8?q?x?=")
@example("X" * 70, "1234")
@example("X" * 70, "12345")
def test_a_short_plain_field_is_written_as_the_email_package_writes_it(name: str, value: str) -> None:
    folded = Header(value, None, maxlinelen=76, header_name=name).encode(linesep="\r\n")
    assert format_field(name, value) == f"{name}: {folded}\r\n".encode()
