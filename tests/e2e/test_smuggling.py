"""No content ever becomes a second message: by DATA and by BDAT, rejected or passed on.

Whatever looks like an end of content and is not (RFC 5321 2.3.8, 4.1.1.4) is content, or a refusal; the
downstream never holds more than the one message. CVE-2023-51764 and its kin.
"""

import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rawclient import RawClient, RawReply
from tests.running import Router, one_user
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
ENDS = {
    "CRLF": b"\r\n",
    "LF": b"\n",
    "CR": b"\r",
    "CRCRLF": b"\r\r\n",
    "LFCR": b"\n\r",
    "NUL": b"\0",
    "VT": b"\v",
    "FF": b"\f",
    "NEL": b"\xc2\x85",
    "LS": b"\xe2\x80\xa8",
    "RS": b"\x1e",
    "none": b"",
}
BARE = {"LF", "CR", "CRCRLF", "LFCR", "NUL"}
SMUGGLED = b"MAIL FROM:<x@x.example>\r\nRCPT TO:<y@y.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n"
HEAD = b"Subject: one\r\n\r\none"
END = b"\r\n.\r\n"

Running = tuple[Witness, RawClient]


@pytest.fixture(scope="module", params=["reject", "accept"])
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def running(policy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with (
        Witness() as witness,
        Router(
            one_user(witness, bare_newlines=policy, max_transactions=100_000),
            tmp_path_factory.mktemp("router"),
        ) as router,
        router.client() as client,
    ):
        yield witness, client


def by_data(client: RawClient, content: bytes) -> RawReply:
    """Send these very octets, and the end of content behind them."""
    client.wire(content + END)
    return client.reply()


def by_bdat(client: RawClient, content: bytes) -> RawReply:
    """Send these octets in two chunks, cut in the middle."""
    first, last = content[: len(content) // 2], content[len(content) // 2 :]
    client.send(b"BDAT %d\r\n" % len(first) + first + b"BDAT %d LAST\r\n" % len(last) + last)
    assert client.reply().code == 250
    return client.reply()


WAYS: dict[str, Callable[[RawClient, bytes], RawReply]] = {"DATA": by_data, "BDAT": by_bdat}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("before", "after"), list(itertools.product(ENDS, repeat=2)))
def test_there_is_one_message_or_a_refusal(
    running: Running, policy: str, way: str, before: str, after: str
) -> None:
    witness, client = running
    already = len(witness.deliveries)
    inside = ENDS[before] + b"." + ENDS[after]
    if way == "DATA" and END in inside:
        return  # which is the end of content, and what follows are commands
    content = HEAD + inside + SMUGGLED
    assert client.envelope(A, [B]).code == 250
    reply = WAYS[way](client, content)
    bare = bool({before, after} & BARE)
    if policy == "reject" and bare:
        assert (reply.code, reply.enhanced) == (550, "5.6.0")
        assert len(witness.deliveries) == already
    else:
        assert reply.code == 250
        assert len(witness.deliveries) == already + 1
        arrived = witness.deliveries[-1].body_below_received
        expected = content.replace(b"\r\n.", b"\r\n") + b"\r\n" if way == "DATA" else content
        assert arrived == expected
    assert client.command(b"NOOP").code == 250
    assert not [line for line in witness.commands if b"x.example" in line]


PIECES = st.lists(
    st.sampled_from([*ENDS.values(), b".", b"\r\n.\r\n", b"a", SMUGGLED]), max_size=12
).map(b"".join)


@given(content=PIECES)
@settings(max_examples=80)
def test_no_content_by_bdat_is_more_than_one_message(
    running: Running, policy: str, content: bytes
) -> None:
    witness, client = running
    already = len(witness.deliveries)
    assert client.envelope(A, [B]).code == 250
    reply = by_bdat(client, content)
    assert client.command(b"NOOP").code == 250
    if policy == "accept":
        assert reply.code == 250
    assert len(witness.deliveries) == already + (reply.code == 250)
    if reply.code == 250:
        end = b"" if not content or content.endswith(b"\r\n") else b"\r\n"
        assert witness.deliveries[-1].body_below_received == content + end
    assert not [line for line in witness.commands if b"x.example" in line]
