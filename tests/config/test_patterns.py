"""Regular expressions that nobody's text can hold us with."""

import time

import pytest

from smtp_router.config.patterns import MAX_CHARS, Pattern

LINE = "454 4.7.0 Throttling failure: Daily message quota exceeded"


@pytest.mark.parametrize(
    "source",
    [
        "^454 ",
        "quota",
        "QUOTA",
        "(?-i)Daily",
        r"^454 4\.7\.\d+ .*(quota|limit) exceeded$",
        "x|daily",
        "(?x) daily \\  message",
        " ",
    ],
)
def test_an_expression_fits_anywhere_and_does_not_see_case(source: str) -> None:
    assert Pattern.compile(source).matches(LINE)


@pytest.mark.parametrize(
    "source", ["^455 ", "(?-i)daily", "^quota", "exceeded.", r"4\.7$", "(?-i)z|DAILY"]
)
def test_what_does_not_fit_does_not(source: str) -> None:
    assert not Pattern.compile(source).matches(LINE)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "1 to 500 characters"),
        ("secret" * 100, "1 to 500 characters"),
        ("(secret", "is no regular expression: unclosed group"),
        ("secret{2,1}", "is no regular expression: invalid repetition count range"),
        ("secret[", "is no regular expression: unclosed character class"),
        ("secret(?=x)", "look-around, including look-ahead and look-behind, is not supported"),
        (r"(secret)\1", "backreferences are not supported"),
        (r"(?:secret\w{100}){50}", "repeats too much: its counts, multiplied, may come to 100"),
        ("(?:(?:secret{2,}){3}){,4}x{30}", "repeats too much"),
        ("secret{,101}", "repeats too much"),
        ("(?x)secret{ 1 , 101 }", "repeats too much"),
        ("(?:secret" + r"\w" * 100 + "){100}", "is too big an expression: repeat less"),
        ("secret(?P<a>b)(?P<a>c)", "duplicate"),
        ("secret\\p{Secret}", "Unicode property not found"),
    ],
)
def test_what_is_none_is_refused_and_not_shown(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|must|repeats) ") as raised:
        Pattern.compile(source)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value).lower().replace("{secret}", "")


@pytest.mark.parametrize(
    "source",
    [
        "(a+)+$",
        "(a|a)*$",
        "(a|aa)+$",
        "(.*a){30}!",
        ".*.*.*.*.*.*.*.*!",
        "(x+x+)+y",
        "(?:a?){10}a{10}!",
        "([a-z]*[a-z0-9]*)*!",
        r"\S+x+[ab](?:\w?(?:\d*(?:\wa*){2}\wa{0,5}){1,5})*$",  # the slowest of 400,000: 57 ms
        r"(?:a+[ab]a(?:(?:\wa\w+)?(?:(?:a|b)[^x])*[^x]{0,4})*){20}\S?$",
    ],
)
@pytest.mark.parametrize(
    "text", ["a" * 413 + "?", "ab " * 138, "x" * 414], ids=lambda text: str(text)[:4]
)
def test_no_expression_takes_long_on_a_line(source: str, text: str) -> None:
    pattern = Pattern.compile(source)
    started = time.process_time()
    pattern.matches(text)
    assert time.process_time() - started < 0.2


def test_what_repeats_within_the_bound_is_taken() -> None:
    assert Pattern.compile(r"(?:\w{2,}[ :.]*){5,10}$").matches(LINE)
    assert Pattern.compile("x{0}x{100}").matches("x" * 100)


def test_the_longest_expression_is_taken() -> None:
    assert Pattern.compile("x" * MAX_CHARS).matches("x" * MAX_CHARS)


def test_two_of_the_same_source_are_one() -> None:
    """So a reload sees that a downstream's settings did not change."""
    assert Pattern.compile("a") == Pattern.compile("a")
    assert Pattern.compile("a") != Pattern.compile("b")
    assert hash(Pattern.compile("a")) == hash(Pattern.compile("a"))
    assert str(Pattern.compile("a")) == "a"
