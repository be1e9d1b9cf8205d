"""Signs messages with DKIM (RFC 6376), with the keys of the domain in `From`.

It is that domain, and not the envelope's, since DMARC asks for a signature of the domain that a
reader sees (RFC 7489 3.1.1).
"""

import asyncio

from smtp_router import Defer, Message, hookimpl
from smtp_router_dkim import _keys, _signature

__all__ = ["Dkim"]

_INLINE_OCTETS = 64 * 1024
"""Up to here the body's hash takes less than a millisecond, and a thread would win nothing: what is
left is one RSA operation, which keeps the interpreter's lock wherever it runs."""


class Dkim:
    """Adds a `DKIM-Signature` for each key of the domain in `From`.

    Args:
        keys: domain → `{selector, key}` or `{selector, key_file}`, or a list of them; `key` is a key's
            text, as of `${file:./key.pem}`, and `key_file` an absolute path.
        required: whether a message that cannot be signed is deferred; else it goes as it is.
        unsigned: names of fields to leave out of the signature, because the downstream changes them.

    Raises:
        ValueError: an option is not valid; the text names it, and holds no key.
    """

    def __init__(
        self, keys: object, *, required: bool = False, unsigned: list[str] | tuple[str, ...] = ()
    ) -> None:
        self._keys = _keys.read(keys)
        self._fields = _signature.Fields.without(unsigned)
        given: object = required
        if not isinstance(given, bool):
            raise ValueError("required: true or false")
        self._required = required

    def __repr__(self) -> str:
        """The domains only."""
        return f"<Dkim {', '.join(self._keys)}>"

    @hookimpl
    async def before_send(self, message: Message) -> Message | None:
        """Sign the message.

        What is long is signed in a thread: its body is hashed in pieces there, and the event loop has
        its turn between them.

        Raises:
            Defer: there is no key for its domain, or it cannot be signed, and `required` is set.
        """
        if message.size > _INLINE_OCTETS:
            signatures = await asyncio.to_thread(self._sign, message)
        else:
            signatures = self._sign(message)
        if not signatures:
            if self._required:
                raise Defer("The message cannot be signed")
            return None
        for signature in signatures:
            message = message.with_header("DKIM-Signature", signature)
        return message

    def _sign(self, message: Message) -> list[str]:
        return _signature.sign(message.content, self._keys, self._fields)
