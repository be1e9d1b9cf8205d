"""What is found again is what would be read anew."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtp_router.smtp.commands import plain_ehlo, plain_mail
from smtp_router.smtp.recall import MOST, Recall

SENDERS = [b"a@a.example", b"b.c@a.example", b"A@a.example", b"", b"a..b@c", b"a@b>x", b"a@" + b"y" * 64]
GIVEN = [
    b"",
    b" SIZE=1",
    b" size=22",
    b" BODY=8BITMIME",
    b" SIZE=1 body=7bit",
    b" SIZE=",
    b" X",
    b">",
    b" ",
]
MAILS = st.builds(
    lambda verb, sender, given, end: verb + b"<" + sender + b">" + given + end,
    st.sampled_from([b"MAIL FROM:", b"mail FROM:", b"MAIL FROM: ", b"RCPT TO:"]),
    st.sampled_from(SENDERS),
    st.sampled_from(GIVEN),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"", b"\r\n\r\n"]),
)
EHLOS = st.builds(
    lambda verb, name, end: verb + name + end,
    st.sampled_from([b"EHLO ", b"EHLO ", b"ehlo ", b"EHLO  ", b"HELO "]),
    st.sampled_from([b"a.example", b"A.example", b"_", b"", b"-", b"x y", b"[127.0.0.1]", b"[1.2]"]),
    st.sampled_from([b"\r\n", b"\r\n", b"", b"\n", b" \r\n"]),
)


@given(st.lists(MAILS, max_size=20))
@example([b"MAIL FROM:<a@b>\r\n", b"MAIL FROM:<a@b", b"MAIL FROM:<a@b>", b"MAIL FROM:<a@b> SIZE=1\r\n"])
@example([b"MAIL FROM:<a@b> SIZE=1\r\n", b"MAIL FROM:<a@b>\r\n", b"MAIL FROM:<a@b> SIZE=2\r\n"])
def test_mail_says_the_same_the_first_time_and_later(lines: list[bytes]) -> None:
    recall = Recall()
    for line in lines:
        expected = plain_mail(line)
        assert recall.mails.get(line) in (None, expected)
        assert recall.mail(line) == expected
    for line, meaning in recall.mails.items():
        assert meaning == plain_mail(line)


@given(st.lists(EHLOS, max_size=20))
def test_ehlo_says_the_same_the_first_time_and_later(lines: list[bytes]) -> None:
    recall = Recall()
    for line in lines:
        name = plain_ehlo(line)
        expected = None if name is None else name.decode()
        assert recall.names.get(line) in (None, expected)
        assert recall.name(line) == expected


@pytest.mark.parametrize("line", [b"EHLO a\r\n", b"ehlo a.example\r\n", b"ehlo [127.0.1.1]\r\n"])
def test_the_name_of_a_usual_client_is_kept(line: bytes) -> None:
    recall = Recall()
    assert recall.name(line)
    assert line in recall.names


def test_who_has_sent_before_is_found_whatever_the_size() -> None:
    recall = Recall()
    first = recall.mail(b"MAIL FROM:<a@b> SIZE=1\r\n")
    assert first
    for line in (b"MAIL FROM:<a@b>\r\n", b"MAIL FROM:<a@b> SIZE=2 BODY=7BIT\r\n"):
        again = recall.mails.get(line) or recall.mail(line)
        assert again
        assert again[0] is first[0]


def test_only_so_many_are_known() -> None:
    recall = Recall()
    for number in range(2 * MOST + 1):
        recall.name(b"EHLO n%d\r\n" % number)
        recall.mail(b"MAIL FROM:<a%d@b> SIZE=1\r\n" % number)
        assert 0 < len(recall.names) <= MOST
        assert 0 < len(recall.mails) <= MOST
