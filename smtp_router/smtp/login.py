"""AUTH on the listening side: PLAIN, LOGIN (RFC 4954, RFC 4616) and SCRAM-SHA-256 (RFC 7677)."""

import binascii
from collections.abc import Awaitable, Callable

from smtp_router.core.reply import Reply
from smtp_router.credentials import SCRAM, Kind, ScramExchange, Verifier

PLAIN = "PLAIN"

SUCCESS = Reply(code=235, enhanced="2.7.0", text="Authentication succeeded")
FAILURE = Reply(code=535, enhanced="5.7.8", text="Authentication credentials invalid")
UNDECODABLE = Reply(code=501, enhanced="5.5.2", text="The response is not base64")

Challenge = Callable[[bytes], Awaitable[bytes | None]]
"""Sends a challenge, gives the decoded response; `None` when it was refused or cancelled, and the
client has been told."""


Check = Callable[[str, str], Awaitable[bool]]
"""Whether a login has a password."""
FindVerifier = Callable[[str], Awaitable[Verifier]]
"""What SCRAM needs for a login, known or not."""


_WITHOUT_SCRAM = (PLAIN, "LOGIN")
_WITH_SCRAM = (*_WITHOUT_SCRAM, SCRAM)
_FOR_SCRAM = frozenset({Kind.PLAIN, Kind.SCRAM})


def mechanisms_for(kinds: frozenset[Kind]) -> tuple[str, ...]:
    """The mechanisms that passwords stored in all of these forms can answer.

    A client takes the strongest one it is offered, before anybody knows whose login it is.
    """
    return _WITH_SCRAM if kinds <= _FOR_SCRAM else _WITHOUT_SCRAM


async def log_in(
    mechanism: str,
    initial: bytes | None,
    challenge: Challenge,
    *,
    check: Check,
    find_verifier: FindVerifier,
) -> str | Reply | None:
    """Take a client through a mechanism.

    Args:
        mechanism: one of those that are offered.
        initial: the initial response as it came, base64; `None` without.
        challenge: asks the client.
        check: whether a login has a password.
        find_verifier: what SCRAM needs for a login.

    Returns:
        The login name; or `FAILURE`, or another reply that ends the exchange; or `None` if that reply
        has been sent.
    """
    if mechanism == SCRAM:
        return await _scram(initial, challenge, find_verifier)
    found = await _credentials(mechanism, initial, challenge)
    if found is None or isinstance(found, Reply):
        return found
    login, password = found
    return login if await check(login, password) else FAILURE


async def _scram(
    initial: bytes | None, challenge: Challenge, find_verifier: FindVerifier
) -> str | Reply | None:
    exchange = ScramExchange()
    try:
        first = await challenge(b"") if initial is None else decode(initial)
        if first is None:
            return None
        login = exchange.read_name(first)
        final = await challenge(exchange.challenge(await find_verifier(login)))
        if final is None:
            return None
        # SMTP cannot send data along with success: it goes as a challenge (RFC 4954 4).
        empty = await challenge(exchange.finish(final))
    except ValueError:
        return FAILURE
    return None if empty is None else login


async def _credentials(
    mechanism: str, initial: bytes | None, challenge: Challenge
) -> tuple[str, str] | Reply | None:
    """Get login and password from the client.

    Args:
        mechanism: PLAIN or LOGIN.
        initial: the initial response as it came, base64; `None` without.
        challenge: asks the client.

    Returns:
        Both, or the reply that ends the exchange, or `None` if that reply has been sent.
    """
    first: bytes | None = None
    if initial is not None:
        try:
            first = decode(initial)
        except ValueError:
            return UNDECODABLE
    if mechanism == PLAIN:
        response = await challenge(b"") if first is None else first
        return None if response is None else _plain(response)
    login = await challenge(b"Username:") if first is None else first
    if login is None:
        return None
    password = await challenge(b"Password:")
    return None if password is None else _text(login, password)


def decode(response: bytes) -> bytes:
    """A base64 response; `=` stands for an empty one (RFC 4954 4).

    Raises:
        ValueError: it is not base64.
    """
    if response == b"=":
        return b""
    try:
        return binascii.a2b_base64(response, strict_mode=True)  # as `base64` does it, in half the time
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _plain(response: bytes) -> tuple[str, str] | Reply:
    """`authzid NUL authcid NUL password`; nobody may act for somebody else."""
    try:
        identity, login, password = response.split(b"\0")
    except ValueError:
        return UNDECODABLE
    if identity not in (b"", login):
        return FAILURE
    return _text(login, password)


def _text(login: bytes, password: bytes) -> tuple[str, str] | Reply:
    try:
        return login.decode(), password.decode()
    except UnicodeDecodeError:
        return FAILURE
