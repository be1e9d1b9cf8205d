import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtp_router.core.reply import MAX_TEXT_OCTETS, Reply, plain_reply, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("as it is", "as it is"),
        ("", ""),
        ("  many \t blanks  ", "many blanks"),
        ("two\r\nlines", "two lines"),
        ("250 ok\r\n250 forged", "250 ok 250 forged"),
        ("nul\0bell\x07escape\x1b[31m", "nul?bell?escape?[31m"),
        ("grüße", "gr??e"),
        ("line\u2028separator\u0085", "line separator"),
        ("\udcff", "?"),
        ("x" * 500, "x" * MAX_TEXT_OCTETS),
        ("x" * (MAX_TEXT_OCTETS - 1) + " y", "x" * (MAX_TEXT_OCTETS - 1)),
    ],
)
def test_text_is_one_line_of_printable_ascii(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert Reply(code=250, text=text).text == shown


@given(st.text())
def test_no_text_can_split_a_line_or_outgrow_it(text: str) -> None:
    line = str(Reply(code=550, enhanced="5.7.1", text=text))
    assert all(" " <= character <= "~" for character in line)
    assert len(line) <= 510


@pytest.mark.parametrize("code", [-1, 0, 99, 100, 199, 600, 1000])
def test_a_code_that_smtp_does_not_have_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=f"^a reply code is 200 to 599, not {code}$"):
        Reply(code=code)


@pytest.mark.parametrize(
    ("code", "enhanced"),
    [
        (250, "4.0.0"),
        (450, "5.1.1"),
        (550, "2.0.0"),
        (354, "3.0.0"),
        (550, "5.1"),
        (550, "5"),
        (550, "5.1.1.1"),
        (550, "5.1234.1"),
        (550, " 5.1.1"),
        (550, "5.1.1\r\n"),
        (550, "5.1.x"),
        (550, "5.1.\u0661"),
    ],
)
def test_an_enhanced_code_has_three_parts_and_the_class_of_the_code(code: int, enhanced: str) -> None:
    with pytest.raises(ValueError, match="is no enhanced status code for"):
        Reply(code=code, enhanced=enhanced)


@pytest.mark.parametrize(
    ("code", "positive", "transient", "permanent"),
    [
        (200, True, False, False),
        (250, True, False, False),
        (299, True, False, False),
        (354, False, False, False),
        (400, False, True, False),
        (421, False, True, False),
        (499, False, True, False),
        (500, False, False, True),
        (599, False, False, True),
    ],
)
def test_the_first_digit_says_what_follows(
    code: int, *, positive: bool, transient: bool, permanent: bool
) -> None:
    reply = Reply(code=code)
    assert (reply.is_positive, reply.is_transient, reply.is_permanent) == (
        positive,
        transient,
        permanent,
    )


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (Reply(code=250), "250"),
        (Reply(code=250, enhanced="2.0.0"), "250 2.0.0"),
        (Reply(code=250, text="ok"), "250 ok"),
        (Reply(code=451, enhanced="4.4.1", text="later"), "451 4.4.1 later"),
    ],
)
def test_a_reply_prints_as_its_line(reply: Reply, line: str) -> None:
    assert str(reply) == line


@pytest.mark.parametrize(
    ("code", "text", "enhanced", "kept"),
    [
        (250, "ok", "", "ok"),
        (250, "", "", ""),
        (250, "2.0.0 ok", "2.0.0", "ok"),
        (250, "2.0.0", "2.0.0", ""),
        (250, "2.0.0\tok", "2.0.0", "ok"),
        (550, "5.1.1 no\n5.1.1 such\n5.1.1 user", "5.1.1", "no such user"),
        (550, "5.1.1 no\nsuch user", "5.1.1", "no such user"),
        (550, "no\n5.1.1 such user", "5.1.1", "no such user"),
        (550, "5.1.1 no\n5.7.1 such user", "5.1.1", "no such user"),
        (550, "4.2.1 of another class", "", "4.2.1 of another class"),
        (450, "4.2.1ok", "", "4.2.1ok"),
        (450, "5.6.7.8 is blocked", "", "5.6.7.8 is blocked"),
        (450, "4.6.7.8 is blocked", "", "4.6.7.8 is blocked"),
        (550, "\r\n\x00gr\u00fc\u00dfe", "", "?gr??e"),
    ],
)
def test_a_downstreams_enhanced_code_is_taken_off_its_text(
    code: int, text: str, enhanced: str, kept: str
) -> None:
    assert Reply.parse(code, text) == Reply(code=code, enhanced=enhanced, text=kept)


@pytest.mark.parametrize("code", [-1, 0, 999])
def test_a_downstreams_code_that_is_none_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match="a reply code is"):
        Reply.parse(code, "whatever")


PARTS = ("2.0.0", "2.0.0", "5.1.1", " ", " ", "  ", "\t", "ok", "\n", "\r", "é", ".", "1", "22", "~")


@given(
    st.sampled_from([200, 250, 250, 250, 299, 354, 450, 550]),
    st.lists(st.sampled_from(PARTS), max_size=8).map("".join) | st.text(),
)
@example(250, "2.0.0 " + (MAX_TEXT_OCTETS - 12) * "x")
@example(250, "2.0.0 " + MAX_TEXT_OCTETS * "x")
@example(250, (MAX_TEXT_OCTETS - 6) * "x" + " " + 6 * "y")
@example(250, "2.0.0 2.0.0 ok")
@example(250, "two  blanks")
def test_a_plain_reply_is_as_the_long_way_has_it(code: int, text: str) -> None:
    plain = plain_reply(f"{code} {text}\r\n".encode())
    assert plain is None or plain == Reply.parse(code, text)


@pytest.mark.parametrize("text", ["ok", "2.0.0 ok", "2.0.0 Ok: queued as <4F1A2@b.example> (1)"])
def test_what_a_delivery_says_is_plain(text: str) -> None:
    assert plain_reply(f"250 {text}\r\n".encode()) == Reply.parse(250, text)


@pytest.mark.parametrize(
    "line", [b"250 ok", b"250 ok\n", b"250-ok\r\n", b"250\r\n", b"354 ok\r\n", b"250 ok\r\n250 ok\r\n"]
)
def test_what_is_no_single_positive_line_is_not_plain(line: bytes) -> None:
    assert plain_reply(line) is None


@given(st.integers(200, 599), st.text())
def test_no_downstreams_text_breaks_the_reading(code: int, text: str) -> None:
    assert Reply.parse(code, text).code == code


@given(st.text(st.sampled_from(" \t\r\n\0\x7f\x85\xa0é\u2028ab"), max_size=20) | st.text())
def test_text_that_needs_no_change_is_as_the_long_way_has_it(text: str) -> None:
    for longer in (text, text + "x" * (MAX_TEXT_OCTETS - len(text)), text + "x y" * MAX_TEXT_OCTETS):
        words = " ".join(longer.split())
        by_letter = "".join(one if " " <= one <= "~" else "?" for one in words)
        assert printable(longer) == by_letter[:MAX_TEXT_OCTETS].rstrip()
