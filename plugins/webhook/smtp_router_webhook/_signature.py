"""Signatures as Standard Webhooks 1.0 has them: HMAC-SHA256 over id, time and body, in three fields.

The secret is text as `whsec_…`; what follows is Base64 of the key. No error or `repr` shows any of it.
"""

import base64
import hmac
from collections.abc import Mapping

_PREFIX = "whsec_"
_MIN_KEY_OCTETS, _MAX_KEY_OCTETS = 24, 64  # as that specification has it
_HINT = "whsec_ and Base64 of 24 to 64 octets, as of: echo whsec_$(openssl rand -base64 32)"


class Signer:
    """Signs with one key, or with several while a new one is taking an old one's place.

    Args:
        secret: the option, a text or a list of texts.

    Raises:
        ValueError: it is no such secret; does not show it.
    """

    def __init__(self, secret: object) -> None:
        given = secret if isinstance(secret, list) else [secret]
        if not given:
            raise ValueError(f"secret: none is given; {_HINT}")
        places = [f"secret.{i}" if isinstance(secret, list) else "secret" for i in range(len(given))]
        self._keys = tuple(map(_key, places, given))

    def fields(self, ident: str, seconds: int, body: bytes) -> Mapping[str, str]:
        """The header fields of one request.

        Args:
            ident: the same for each try at the same body.
            seconds: the time of this try, since 1970.
            body: what is sent, to the octet.
        """
        signed = b"%s.%d.%s" % (ident.encode(), seconds, body)
        signatures = (base64.b64encode(hmac.digest(key, signed, "sha256")) for key in self._keys)
        return {
            "webhook-id": ident,
            "webhook-timestamp": str(seconds),
            "webhook-signature": " ".join(f"v1,{signature.decode()}" for signature in signatures),
        }


def _key(place: str, secret: object) -> bytes:
    if isinstance(secret, str) and secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except ValueError:
            key = b""
        if _MIN_KEY_OCTETS <= len(key) <= _MAX_KEY_OCTETS:
            return key
    raise ValueError(f"{place}: {_HINT}")
