"""Sessions as they might come: right, nearly right and wrong, and the segments they come in.

    sessions()          octets of a whole session, mostly with a login at its start
    segments(octets)    the same octets, cut somewhere

Lines are made whole and then, now and then, damaged; so all that follows is read in some other way
than it was meant, which is what has to be survived.
"""

import base64
from collections.abc import Iterable
from itertools import pairwise

from hypothesis import strategies as st

from tests.fuzz.rig import BAD_SENDER, BUSY_SENDER, PASSWORD, USER

EHLO = b"EHLO client.example\r\n"


def b64(text: str) -> bytes:
    """As AUTH has it."""
    return base64.b64encode(text.encode())


RIGHT = b64(f"\0{USER}\0{PASSWORD}")
LOGIN = b"AUTH PLAIN " + RIGHT + b"\r\n"

# Content: whatever is, or looks like, the end of a line or of content.

PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0", b"\x0b", b"\xc2\x85", b"\xff"),
        *(
            b".",
            b".",
            b"..",
            b"\r\n.",
            b"\r\n..\r\n",
            b"\n.\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r\n.\r",
            b"\r.\r",
        ),
        *(b"a", b" ", b"Subject: x\r\n", b"Received: x\r\n", b"QUIT\r\n", b"BDAT 3\r\n", b"RSET\r\n"),
        b"MAIL FROM:<smuggled@a.example>\r\n",
    ]
)
LINE_ENDS = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0", b"\r\0\n", b"\x0b", b"\xc2\x85", b""]
)
NEARLY_ENDS = st.builds(lambda before, after: before + b"." + after, LINE_ENDS, LINE_ENDS)
BODIES = st.lists(PIECES | NEARLY_ENDS, max_size=12).map(b"".join)

# Commands.

SENDERS = st.sampled_from(
    [
        *(
            b"a@a.example",
            b"",
            BUSY_SENDER.encode(),
            BAD_SENDER.encode(),
            b'"a b"@a.example',
            b"a@[192.0.2.1]",
        ),
        *(
            b"a@[IPv6:::1]",
            "ü@ü.example".encode(),
            b'">"@a.example',
            b"postmaster",
            b"@b.example:a@a.example",
        ),
        *(b"a", b"a@", b"a@-a", b"<a@a.example>", 250 * b"a" + b"@a.example", b"a\xff@a.example"),
    ]
)
PARAMETERS = st.sampled_from(
    [
        *(
            b"SIZE=1",
            b"SIZE=99999999",
            b"size=30",
            b"BODY=8BITMIME",
            b"BODY=7bit",
            b"SMTPUTF8",
            b"RET=HDRS",
        ),
        *(
            b"ENVID=a+2Bb",
            b"AUTH=<>",
            b"AUTH=a+40b",
            b"REQUIRETLS",
            b"NOTIFY=NEVER",
            b"NOTIFY=SUCCESS,DELAY",
        ),
        *(
            b"ORCPT=rfc822;b@b.example",
            b"SIZE",
            b"SIZE=",
            b"SIZE=x",
            b"X",
            b"RET=ALL",
            b"=",
            b"SMTPUTF8=1",
        ),
    ]
)


def _path(verb: bytes, keyword: bytes) -> st.SearchStrategy[bytes]:
    parameters = st.lists(PARAMETERS, max_size=2).map(
        lambda words: b"".join(b" " + word for word in words)
    )
    return st.tuples(SENDERS, st.just(b"") | parameters).map(
        lambda parts: b"%b %b:<%b>%b\r\n" % (verb, keyword, *parts)
    )


ENVELOPE = b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n"
DATA = BODIES.map(lambda body: b"DATA\r\n" + body + b"\r\n.\r\n")


def _chunk(octets: bytes, last: bytes, wrong: int) -> bytes:
    return b"BDAT %d%b\r\n%b" % (max(len(octets) + wrong, 0), last, octets)


CHUNKS = st.lists(
    st.builds(_chunk, BODIES, st.sampled_from([b"", b" LAST"]), st.sampled_from([0, 0, 0, 0, 1, -1])),
    min_size=1,
    max_size=3,
).map(b"".join)


def _repeated(pieces: list[bytes], octets: int) -> bytes:
    piece = b"".join(pieces)
    return piece * (octets // len(piece) + 1)


BIG_BODIES = st.builds(
    _repeated,
    st.lists(PIECES | st.sampled_from([b"\r\n..", b"..\r\n"]), min_size=1, max_size=3),
    st.sampled_from([32_700, 59_990, 59_999, 100_000]),
)
BIG_TRANSACTIONS = st.one_of(
    BIG_BODIES.map(lambda body: ENVELOPE + b"DATA\r\n" + body + b"\r\n.\r\n"),
    st.builds(
        lambda body, at: ENVELOPE + _chunk(body[:at], b"", 0) + _chunk(body[at:], b" LAST", 0),
        BIG_BODIES,
        st.integers(0, 60_000),
    ),
)

RESPONSES = st.sampled_from(
    [
        *(
            b64(USER),
            b64(PASSWORD),
            b64("wrong"),
            RIGHT,
            b64(f"\0{USER}\0wrong"),
            b64(f"root\0{USER}\0{PASSWORD}"),
        ),
        *(
            b"*",
            b"=",
            b"",
            b"!",
            b"YQ",
            b" * ",
            b64("n,,n=a,r=b"),
            b64("n,a=x,n=a,r=b"),
            b64("c=biws,r=b,p=cA=="),
        ),
        *(b64(USER) + b"\n" + b64(PASSWORD), b"\xff", b"*\r", b"\n", b"NOOP"),
    ]
)
EXCHANGES = st.builds(
    lambda mechanism, initial, responses: b"AUTH " + mechanism + initial + b"\r\n" + b"".join(responses),
    st.sampled_from([b"PLAIN", b"LOGIN", b"login", b"SCRAM-SHA-256", b"CRAM-MD5", b""]),
    st.just(b"") | RESPONSES.map(lambda response: b" " + response),
    st.lists(RESPONSES.map(lambda response: response + b"\r\n"), max_size=3),
)

SMALL = st.sampled_from(
    [
        *(
            EHLO,
            EHLO,
            b"HELO client.example\r\n",
            b"EHLO [192.0.2.1]\r\n",
            b"EHLO\r\n",
            b"EHLO a b\r\n",
            LOGIN,
        ),
        *(
            b"RSET\r\n",
            b"RSET\r\n",
            b"RSET x\r\n",
            b"NOOP\r\n",
            b"noop x\r\n",
            b"VRFY a\r\n",
            b"EXPN a\r\n",
        ),
        *(
            b"HELP\r\n",
            b"STARTTLS\r\n",
            b"STARTTLS x\r\n",
            b"TURN\r\n",
            b"DATA x\r\n",
            b"DATA\r\n",
            b".\r\n",
        ),
        *(
            b"\r\n",
            b" \r\n",
            b"BDAT\r\n",
            b"BDAT x LAST\r\n",
            b"bdat 0 last\r\n",
            ENVELOPE,
            ENVELOPE,
            ENVELOPE,
        ),
    ]
)
MANY = st.sampled_from([120 * b"NOOP\r\n", 101 * b"HELP\r\n", 250 * b"X " + b"\r\n"])
ENDS = st.sampled_from([b"QUIT\r\n", b"QUIT x\r\n", b"GET / HTTP/1.1\r\n", 20 * b"X\r\n"])
LONG = st.sampled_from([510, 511, 1190, 1191, 1346, 1347, 12_286, 12_287, 25_000]).flatmap(
    lambda length: st.sampled_from(
        [b"NOOP ", b"MAIL FROM:<", b"RCPT TO:<", b"AUTH PLAIN ", b"", b"\r"]
    ).map(lambda start: start + (length - len(start)) * b"x" + b"\r\n")
)
GARBAGE = st.binary(max_size=30) | BODIES

RIGHT_ITEMS = st.one_of(
    SMALL,
    _path(b"MAIL", b"FROM"),
    _path(b"RCPT", b"TO"),
    EXCHANGES,
    DATA,
    CHUNKS,
    DATA.map(ENVELOPE.__add__),
)

# Damage.

NOISE = st.sampled_from(
    [b"", b"\r", b"\n", b"\0", b"\t", b" ", b"<", b">", b":", b"@", b"\\", b'"', b"=", b"\xff", b"."]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An item with one octet, or a few, replaced by another, or by none."""
    item: bytes = draw(RIGHT_ITEMS)
    at = draw(st.integers(0, len(item)))
    return item[:at] + draw(NOISE) + item[at + draw(st.integers(0, 2)) :]


@st.composite
def sessions(draw: st.DrawFn) -> bytes:
    """A session: mostly greeted and logged in, mostly complete."""
    start = draw(st.sampled_from([b"", EHLO, EHLO, EHLO + LOGIN, EHLO + LOGIN + ENVELOPE]))
    start += draw(DATA | CHUNKS if start.endswith(ENVELOPE) else st.just(b""))
    items = st.one_of(RIGHT_ITEMS, RIGHT_ITEMS, damaged(), GARBAGE, LONG, MANY)
    octets = start + b"".join(draw(st.lists(items, max_size=10))) + draw(st.just(b"") | ENDS)
    return octets[: len(octets) - draw(st.sampled_from([0, 0, 0, 1, 2, 3, 20]))]


def cut(octets: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Octets cut at these offsets."""
    edges = [0, *sorted({at for at in cuts if 0 < at < len(octets)}), len(octets)]
    return [octets[start:end] for start, end in pairwise(edges)]


def segments(octets: bytes) -> st.SearchStrategy[list[bytes]]:
    """These octets, cut anywhere; most of all where lines and content end."""
    ends = [at for at, octet in enumerate(octets) if octet in b"\r\n."]
    places = st.integers(0, len(octets))
    if ends:
        places |= st.sampled_from(ends).flatmap(lambda at: st.sampled_from([at, at + 1]))
    return st.lists(places, max_size=12).map(lambda cuts: cut(octets, cuts))


def singly(octets: bytes) -> list[bytes]:
    """One octet at a time; a few, where that would take long."""
    step = len(octets) // 2000 + 1
    return [octets[start : start + step] for start in range(0, len(octets), step)]
