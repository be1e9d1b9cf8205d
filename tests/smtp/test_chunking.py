"""BDAT (RFC 3030): counted octets, whatever they are, and whatever we think of them."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rawclient import RawClient
from tests.running import Router, one_user
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
MAX = 1000

Running = tuple[Witness, RawClient]


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Witness, Router]]:
    with Witness() as witness:
        limits = {"max_message_bytes": MAX, "max_transactions": 100_000}
        with Router(one_user(witness, **limits), tmp_path_factory.mktemp("router")) as running:
            yield witness, running


@pytest.fixture
def running(router: tuple[Witness, Router]) -> Iterator[Running]:
    """A client that has given an envelope."""
    witness, service = router
    witness.deliveries.clear()
    with service.client() as client:
        assert client.envelope(A, [B]).code == 250
        yield witness, client


def chunk(octets: bytes, *, last: bool = False) -> bytes:
    return b"BDAT %d%b\r\n" % (len(octets), b" LAST" if last else b"") + octets


CONTENTS = {
    "one line": b"hello\r\n",
    "nothing": b"",
    "no line end": b"hello",
    "dots": b".\r\n..\r\n.a\r\n",
    "an end of content": b"a\r\n.\r\nMAIL FROM:<x@x.example>\r\n",
    "commands": b"RSET\r\nQUIT\r\nBDAT 5 LAST\r\n",
    "8-bit": bytes(range(128, 256)),
}


@pytest.mark.parametrize("what", CONTENTS)
@pytest.mark.parametrize("closing", [True, False])
def test_a_chunk_is_content_to_the_octet(running: Running, what: str, *, closing: bool) -> None:
    """`BDAT 0 LAST` ends what the chunks before it held."""
    witness, client = running
    content = CONTENTS[what]
    client.send(chunk(content, last=True) if closing else chunk(content) + chunk(b"", last=True))
    codes = [client.reply().code for _ in range(1 if closing else 2)]
    assert codes == [250] * len(codes)
    end = b"" if not content or content.endswith(b"\r\n") else b"\r\n"
    assert witness.deliveries[-1].body_below_received == content + end


def test_verb_and_last_are_read_in_any_case(running: Running) -> None:
    witness, client = running
    client.send(b"bdat 2\r\nabBdat 3  last\r\ncde")
    assert [client.reply().code for _ in range(2)] == [250, 250]
    assert witness.deliveries[-1].body_below_received == b"abcde\r\n"


@given(data=st.data())
@settings(max_examples=60)
def test_the_same_is_said_however_it_is_cut(router: tuple[Witness, Router], data: st.DataObject) -> None:
    witness, service = router
    content = data.draw(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\r\n.\r\n", b"\xff"])))
    whole = b"".join(content)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    edges = [0, *cuts, len(whole)]
    chunks = [whole[start:stop] for start, stop in pairwise(edges)]
    wire = b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n"
    wire += b"".join(chunk(each) for each in chunks[:-1]) + chunk(chunks[-1], last=True) + b"NOOP\r\n"
    splits = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    with service.client() as client:
        for start, stop in pairwise([0, *splits, len(wire)]):
            client.send(wire[start:stop])
        replies = [client.reply().code for _ in range(2 + len(chunks) + 1)]
    assert replies == [250] * len(replies)
    end = b"" if not whole or whole.endswith(b"\r\n") else b"\r\n"
    assert witness.deliveries[-1].body_below_received == whole + end


@pytest.mark.parametrize(
    ("before", "codes"),
    [
        (b"", [503]),
        (b"EHLO client.example\r\n", [250, 503]),
        (b"EHLO client.example\r\nMAIL FROM:<a@a.example>\r\n", [250, 530, 503]),
    ],
)
@pytest.mark.parametrize("last", [True, False])
def test_a_chunk_nobody_asked_for_is_taken_off_the_wire_and_refused(
    router: tuple[Witness, Router], before: bytes, codes: list[int], *, last: bool
) -> None:
    """Else its content would be commands."""
    witness, service = router
    already = len(witness.deliveries)
    with service.connect() as client:
        client.send(before + chunk(b"QUIT\r\nQUIT\r\n", last=last) + b"NOOP\r\n")
        assert [client.reply().code for _ in range(len(codes) + 1)] == [*codes, 250]
    assert len(witness.deliveries) == already


@pytest.mark.parametrize("last", [True, False])
def test_a_chunk_before_rcpt_is_refused(router: tuple[Witness, Router], *, last: bool) -> None:
    witness, service = router
    with service.client() as client:
        assert client.command(b"MAIL FROM:<a@a.example>").code == 250
        client.send(chunk(HELLO, last=last) + b"RCPT TO:<b@b.example>\r\nDATA\r\n")
        assert [client.reply().code for _ in range(3)] == [503, *([503, 503] if last else [250, 503])]
        assert client.command(b"RSET").code == 250
        assert client.transaction(A, [B], HELLO).code == 250
    assert witness.deliveries[-1].body_below_received == HELLO


@pytest.mark.parametrize(
    ("sizes", "codes"),
    [
        ([MAX], [250]),
        ([MAX + 1], [552]),
        ([MAX - 1, 1], [250, 250]),
        ([MAX, 1], [250, 552]),
        ([MAX, 0], [250, 250]),
        ([500, 501], [250, 552]),
        ([500, 501, 5], [250, 552, 503]),
        ([100_000], [552]),
    ],
)
def test_what_is_too_big_is_swallowed_and_refused(
    running: Running, sizes: list[int], codes: list[int]
) -> None:
    witness, client = running
    *firsts, last = (size * b"x" for size in sizes)
    client.send(b"".join(map(chunk, firsts)) + chunk(last, last=True) + b"NOOP\r\n")
    replies = [client.reply() for _ in range(len(sizes) + 1)]
    assert [reply.code for reply in replies] == [*codes, 250]
    assert {reply.enhanced for reply in replies if reply.code == 552} <= {"5.3.4"}
    assert len(witness.deliveries) == (codes[-1] == 250)
    assert client.transaction(A, [B], HELLO).code == 250  # a LAST, refused or not, ends the transaction


def test_data_does_not_follow_bdat(running: Running) -> None:
    """Not even behind an empty chunk (RFC 3030 3)."""
    _, client = running
    client.send(b"BDAT 0\r\n")
    assert client.reply().code == 250
    assert client.command(b"DATA").code == 503
    assert client.command(b"RSET").code == 250
    assert client.envelope(A, [B]).code == 250
    client.wire(HELLO + b".\r\n")
    assert client.reply().code == 250


def test_rset_between_chunks_forgets_them(running: Running) -> None:
    witness, client = running
    client.send(chunk(b"one") + b"RSET\r\n")
    assert [client.reply().code for _ in range(2)] == [250, 250]
    assert client.envelope(A, [B]).code == 250
    client.send(chunk(b"two", last=True))
    assert client.reply().code == 250
    assert witness.deliveries[-1].body_below_received == b"two\r\n"


@pytest.mark.parametrize("argument", [b"", b" ", b" x", b" -1", b" +1", b" 1.0", b" 5 LASTING", b" 5 5"])
def test_a_length_that_cannot_be_read_ends_the_connection(running: Running, argument: bytes) -> None:
    """What follows could be content or commands: nobody knows."""
    witness, client = running
    client.send(b"BDAT" + argument + b"\r\nRSET\r\nMAIL FROM:<x@x.example>\r\n")
    reply = client.reply()
    assert (reply.code, reply.enhanced) == (501, "5.5.4")
    assert client.at_eof()
    assert not witness.deliveries


def test_a_client_gone_within_a_chunk_has_sent_nothing(running: Running) -> None:
    witness, client = running
    client.send(b"BDAT 20 LAST\r\nhalf")
    client.shutdown_write()
    assert client.at_eof()
    assert not witness.deliveries
