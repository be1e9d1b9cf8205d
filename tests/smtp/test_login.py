"""AUTH PLAIN and LOGIN, exchange by exchange (RFC 4954, RFC 4616)."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import Reply
from smtp_router.credentials import Verifier
from smtp_router.smtp.login import FAILURE, UNDECODABLE, decode, log_in


def b64(text: str | bytes) -> bytes:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode())


async def credentials(
    mechanism: str, initial: bytes | None, client: "Client"
) -> tuple[str, str] | str | Reply | None:
    """What is checked in the end, or how the exchange ended before that."""
    checked: list[tuple[str, str]] = []

    async def check(login: str, password: str) -> bool:
        checked.append((login, password))
        return True

    async def no_verifier(login: str) -> Verifier:
        raise NotImplementedError(login)

    result = await log_in(mechanism, initial, client, check=check, find_verifier=no_verifier)
    return checked[0] if checked else result


class Client:
    """Answers challenges, one after the other; `None` stands for `*` or what is no base64."""

    def __init__(self, *responses: bytes | None) -> None:
        self.responses = list(responses)
        self.challenges: list[bytes] = []

    async def __call__(self, challenge: bytes) -> bytes | None:
        self.challenges.append(challenge)
        return self.responses.pop(0)


@pytest.mark.parametrize(
    ("response", "result"),
    [
        (b"\0user\0word", ("user", "word")),
        (b"user\0user\0word", ("user", "word")),
        ("\0ü\0wörd ☃".encode(), ("ü", "wörd ☃")),
        (b"\0user\0", ("user", "")),
        (b"\0\0", ("", "")),
        (b"other\0user\0word", FAILURE),  # nobody may act for somebody else
        (b"user\0\0word", FAILURE),
        (b"\0user\0\xff", FAILURE),
        (b"\0\xff\0word", FAILURE),
        (b"", UNDECODABLE),
        (b"user", UNDECODABLE),
        (b"user\0word", UNDECODABLE),
        (b"\0user\0wo\0rd", UNDECODABLE),
    ],
)
async def test_plain(response: bytes, result: tuple[str, str] | Reply) -> None:
    asked, at_once = Client(response), Client()
    assert await credentials("PLAIN", None, asked) == result
    assert asked.challenges == [b""]
    assert await credentials("PLAIN", b64(response) or b"=", at_once) == result
    assert at_once.challenges == []


async def test_login_asks_twice() -> None:
    client = Client(b"user", b"word")
    assert await credentials("LOGIN", None, client) == ("user", "word")
    assert client.challenges == [b"Username:", b"Password:"]


async def test_login_with_the_name_at_once_asks_for_the_password() -> None:
    client = Client(b"word")
    assert await credentials("LOGIN", b64("user"), client) == ("user", "word")
    assert client.challenges == [b"Password:"]


async def test_login_is_utf8_or_refused() -> None:
    assert await credentials("LOGIN", None, Client("ü".encode(), "☃".encode())) == ("ü", "☃")
    assert await credentials("LOGIN", None, Client(b"user", b"\xff")) == FAILURE


@pytest.mark.parametrize(
    ("mechanism", "responses"),
    [("PLAIN", [None]), ("LOGIN", [None]), ("LOGIN", [b"user", None])],
)
async def test_a_client_that_gives_up_has_been_told(
    mechanism: str, responses: list[bytes | None]
) -> None:
    client = Client(*responses)
    assert await credentials(mechanism, None, client) is None
    assert not client.responses


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize(
    "initial", [b"*", b"!", b"a", b"YQ", b"YQ=", b"YQ==x", b"Y Q=", b"\xff\xff\xff\xff"]
)
async def test_an_initial_response_that_is_no_base64_is_refused(mechanism: str, initial: bytes) -> None:
    client = Client()
    assert await credentials(mechanism, initial, client) == UNDECODABLE
    assert client.challenges == []


@given(st.binary())
def test_base64_is_decoded(octets: bytes) -> None:
    assert decode(b64(octets) or b"=") == octets
