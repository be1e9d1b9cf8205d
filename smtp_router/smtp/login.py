"""AUTH PLAIN and LOGIN on the listening side (RFC 4954, RFC 4616)."""

import base64
import binascii
from collections.abc import Awaitable, Callable

from smtp_router.core.reply import Reply

MECHANISMS = ("PLAIN", "LOGIN")

SUCCESS = Reply(code=235, enhanced="2.7.0", text="Authentication succeeded")
FAILURE = Reply(code=535, enhanced="5.7.8", text="Authentication credentials invalid")
UNDECODABLE = Reply(code=501, enhanced="5.5.2", text="The response is not base64")

Challenge = Callable[[str], Awaitable[bytes | None]]
"""Sends a challenge, gives the decoded response; `None` when it was refused or cancelled, and the
client has been told."""


async def credentials(
    mechanism: str, initial: bytes | None, challenge: Challenge
) -> tuple[str, str] | Reply | None:
    """Get login and password from the client.

    Args:
        mechanism: one of `MECHANISMS`.
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
    if mechanism == "PLAIN":
        response = await challenge("") if first is None else first
        return None if response is None else _plain(response)
    login = await challenge("Username:") if first is None else first
    if login is None:
        return None
    password = await challenge("Password:")
    return None if password is None else _text(login, password)


def decode(response: bytes) -> bytes:
    """A base64 response; `=` stands for an empty one (RFC 4954 4).

    Raises:
        ValueError: it is not base64.
    """
    if response == b"=":
        return b""
    try:
        return base64.b64decode(response, validate=True)
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
