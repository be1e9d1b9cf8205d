"""Answers of a token endpoint, octet by octet; `tests/smtp/test_authentication.py` has its refusals."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.tokens.endpoint import Endpoint, Grant
from smtp_router.tokens.http import MAX_BODY_OCTETS
from smtp_router.tokens.token import Token, TokenError

TOKEN = b'{"access_token": "t", "expires_in": 60}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Raw:
    """A server that says these octets to whoever has sent a whole request, and closes."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.requests: list[bytes] = []

    async def fetch(self, path: str = "/token") -> Token:
        """A token from here."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            grant = Grant(
                token_url=f"http://127.0.0.1:{port}{path}",
                client_id="router",
                client_secret=None,
                refresh_token="r&t=1",
                scope=None,
                lifetime_s=300,
            )
            return await Endpoint(grant, tls).fetch()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        )
        self.requests.append(head + await reader.readexactly(length))
        for piece in self._pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        writer.close()


async def tls() -> ssl.SSLContext:
    """Not used: this is this machine."""
    return ssl.create_default_context()


def with_length(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


RIGHT: Mapping[str, tuple[bytes, ...]] = MappingProxyType(
    {
        "with a length": (with_length(TOKEN),),
        "until it closes": (HEAD + b"\r\n" + TOKEN,),
        "in chunks": (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(TOKEN), TOKEN),
        ),
        "octet by octet": tuple(bytes((octet,)) for octet in with_length(TOKEN)),
        "behind another": (b"HTTP/1.1 103 Early Hints\r\n\r\n" + with_length(TOKEN),),
        "by HTTP/1.0": (with_length(TOKEN).replace(b"1.1", b"1.0"),),
        "with more behind it": (with_length(TOKEN) + b"rubbish",),
    }
)


@pytest.mark.parametrize("how", RIGHT)
async def test_an_answer_is_read_however_it_comes(how: str) -> None:
    token = await Raw(*RIGHT[how]).fetch()
    assert (token.text, token.lifetime_s) == ("t", 60)


async def test_what_is_asked_is_a_form_of_rfc_6749() -> None:
    server = Raw(with_length(TOKEN))
    await server.fetch("/a/token?tenant=b")
    head, _, form = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a/token?tenant=b HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/x-www-form-urlencoded\r\n" in head
    assert form == b"grant_type=refresh_token&client_id=router&refresh_token=r%26t%3D1"


WRONG: Mapping[str, tuple[bytes, ...]] = MappingProxyType(
    {
        "nothing": (),
        "garbage": (b"220 mail.example ESMTP\r\n",),
        "half a head": (HEAD,),
        "half a body": (with_length(TOKEN)[:-5],),
        "an endless head": (HEAD + 100_000 * b"x",),
        "an endless body": (HEAD + b"\r\n" + (MAX_BODY_OCTETS + 1) * b" " + TOKEN,),
        "a code that is none": (b"HTTP/1.1 999 what\r\n\r\n",),
        "two lengths": (with_length(TOKEN).replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n"),),
    }
)


@pytest.mark.parametrize("how", WRONG)
async def test_what_is_no_answer_is_no_token(how: str) -> None:
    with pytest.raises(TokenError, match="token endpoint: "):
        await Raw(*WRONG[how]).fetch()


@pytest.mark.parametrize("host", ["a..example", f"{64 * 'a'}.example"])
async def test_a_name_that_is_none_is_no_token(host: str) -> None:
    grant = Grant(
        token_url=f"https://{host}/",
        client_id="router",
        client_secret=None,
        refresh_token="r",
        scope=None,
        lifetime_s=1,
    )
    with pytest.raises(TokenError, match="token endpoint: "):
        await Endpoint(grant, tls).fetch()


@pytest.mark.parametrize(
    ("expires_in", "lifetime_s"),
    [(60, 60), ("60", 60), (None, 300), ("soon", 300), (-1, 0), (10**40, 86_400), ([], 300)],
)
async def test_a_lifetime_that_is_not_said_is_the_configured_one(
    expires_in: object, lifetime_s: float
) -> None:
    body = json.dumps({"access_token": "t", "expires_in": expires_in}).encode()
    try:
        token = await Raw(with_length(body)).fetch()
    except TokenError as error:
        assert "says what it has to" in str(error)  # noqa: PT017 - either will do for rubbish
    else:
        assert token.lifetime_s == lifetime_s


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
)
KEYS = ("access_token", "token_type", "expires_in", "expires_at", "refresh_token", "scope", "error")


@given(answer=st.dictionaries(st.sampled_from(KEYS), JSON))
def test_whatever_json_comes_it_is_a_token_or_none(answer: dict[str, object]) -> None:
    async def fetch() -> None:
        try:
            token = await Raw(with_length(json.dumps(answer).encode())).fetch()
        except TokenError as error:
            assert "r&t=1" not in str(error)  # noqa: PT017 - the other end is below
        else:
            assert token.text == answer["access_token"]
            assert token.lifetime_s >= 0

    asyncio.run(fetch())
