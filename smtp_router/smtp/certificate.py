"""Certificates with their keys, in files that change: a listener's, and those we show to downstreams."""

import logging
import ssl
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from smtp_router.config.key_path import KeyPath
from smtp_router.config.load import Loaded
from smtp_router.core.errors import Problem
from smtp_router.disk import Watch

log = logging.getLogger(__name__)

_NO_PASSPHRASE = ""
"""Without one, OpenSSL would ask for it on the terminal."""


class Certificate:
    """A certificate with its key in a context; it is replaced in place when the files change."""

    def __init__(self, cert: Path, key: Path | None, make: Callable[[], ssl.SSLContext]) -> None:
        """Load the certificate.

        Args:
            cert: the file of the certificate and its chain (PEM).
            key: that of its private key, without a passphrase; `None`: in the same file.
            make: gives a context without one.

        Raises:
            OSError: certificate and key cannot be used, or not together.
        """
        self._cert = cert
        self._key = key
        self._make = make
        self._watches = [Watch(path) for path in (cert, key) if path is not None]
        self._look()
        self.context = self._load(make())

    def refresh(self) -> None:
        """Take up a certificate that has changed; one that cannot be used changes nothing."""
        if not any(watch.changed() for watch in self._watches):
            return
        self._look()
        fields = {"tls_cert": str(self._cert)}
        try:
            self._load(self._make())  # a pair that does not fit would break the live context
            self._load(self.context)
        except OSError as error:
            fields["error"] = str(error)
            log.error(  # noqa: TRY400 - the error says it all
                "certificate not reloaded, the old one stays", extra={"fields": fields}
            )
        else:
            self._replaced()
            log.info("certificate reloaded", extra={"fields": fields})

    def _replaced(self) -> None:
        """There is another one in the context; to be extended."""

    def _look(self) -> None:
        for watch in self._watches:
            watch.look()

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.load_cert_chain(self._cert, self._key, password=_NO_PASSPHRASE)
        return context


def certificate_problems(loaded: Loaded) -> list[Problem]:
    """What is wrong with the certificates of a configuration."""
    look = cache(_problem)  # many downstreams may have the same one
    found = ((path, look(cert, key)) for path, cert, key in _certificates(loaded))
    problems = [(path, message) for path, message in found if message]
    return loaded.problems(problems) if problems else []


def _certificates(loaded: Loaded) -> Iterator[tuple[KeyPath, Path, Path | None]]:
    for index, listener in enumerate(loaded.settings.listen):
        if listener.tls_cert is not None:
            yield ("listen", index, "tls_cert"), listener.tls_cert, listener.tls_key
    for index, user in enumerate(loaded.settings.users):
        for position, downstream in enumerate(user.downstreams):
            if downstream.tls_client_cert is not None:
                path = ("users", index, "downstreams", position, "tls_client_cert")
                yield path, downstream.tls_client_cert, downstream.tls_client_key


def _problem(cert: Path, key: Path | None) -> str:
    try:
        Certificate(cert, key, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    except OSError as error:  # ssl.SSLError is one
        return f"cannot be used with its key: {error.strerror or error}"
    return ""
