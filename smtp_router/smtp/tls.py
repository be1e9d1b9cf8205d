"""TLS contexts for the sender, made once and shared: making one costs more than a message does."""

import asyncio
import ssl
from pathlib import Path


class ClientContexts:
    """One context for each way that certificates are verified."""

    def __init__(self) -> None:
        """None is made yet."""
        self._made: dict[tuple[bool, Path | None], ssl.SSLContext] = {}

    async def get(self, *, verify: bool, ca: Path | None) -> ssl.SSLContext:
        """The context to use; TLS 1.2 and up, the standard library's ciphers.

        Args:
            verify: whether the certificate and the host's name are verified.
            ca: CA certificates to trust instead of the system's.

        Raises:
            OSError: the file of CA certificates cannot be used.
        """
        key = (verify, ca)
        if key not in self._made:
            self._made[key] = await asyncio.to_thread(_make, verify=verify, ca=ca)
        return self._made[key]


def _make(*, verify: bool, ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
