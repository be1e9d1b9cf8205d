"""The options, checked when the plugin is made. No error shows a secret, or a URL's path."""

import ipaddress
import re
import ssl
from collections.abc import Callable

import httpx

from smtp_router import Deferred, Delivered, InDoubt, Rejected

_KINDS = tuple(str(outcome.kind) for outcome in (Delivered, Deferred, Rejected, InDoubt))
_HOST = re.compile(rb"[a-z0-9_.-]+|[0-9a-f:.]+")  # httpx takes more than there is


def url(given: object, *, allow_http: bool) -> httpx.URL:
    """The option `url`.

    Raises:
        ValueError: no URL, not `https`, or with a login in it.
    """
    try:
        found = httpx.URL(given if isinstance(given, str) else "")
    except httpx.InvalidURL:
        found = httpx.URL("")
    if found.scheme not in {"http", "https"} or not _HOST.fullmatch(found.raw_host):
        raise ValueError("url: is no URL, as https://example.com/hook")
    if found.userinfo:
        raise ValueError("url: a login in it would be logged by others; the signature is the login")
    if found.scheme == "http" and not (allow_http or _is_loopback(found.host)):
        raise ValueError("url: http shows the mail's envelopes to others: https, or allow_http: true")
    return found.copy_with(fragment=None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def events(given: object) -> frozenset[str]:
    """The option `events`.

    Raises:
        ValueError: not a list of outcomes.
    """
    if given is None:
        return frozenset(_KINDS)
    kinds = given if isinstance(given, list) else []
    if not kinds or any(kind not in _KINDS for kind in kinds):
        raise ValueError(f"events: a list of any of {', '.join(_KINDS)}, not {given!r}")
    return frozenset(kinds)


def number(name: str, given: object, least: float, most: float) -> float:
    """A number within bounds.

    Raises:
        ValueError: it is none.
    """
    if isinstance(given, bool) or not isinstance(given, int | float) or not least <= given <= most:
        raise ValueError(f"{name}: a number from {least:g} to {most:g}, not {given!r}")
    return given


def whole(name: str, given: object, least: int, most: int) -> int:
    """A whole number within bounds.

    Raises:
        ValueError: it is none.
    """
    if type(given) is not int or not least <= given <= most:
        raise ValueError(f"{name}: a whole number from {least} to {most}, not {given!r}")
    return given


def truth(name: str, given: object) -> bool:
    """`true` or `false`.

    Raises:
        ValueError: neither.
    """
    if not isinstance(given, bool):
        raise ValueError(f"{name}: true or false, not {given!r}")
    return given


def tls(ca_file: object) -> Callable[[], ssl.SSLContext]:
    """Makes what verifies the other side: with the system's authorities, or with those of a file.

    Raises:
        ValueError: the file is no path, or has no certificate.
    """
    if ca_file is None:
        return ssl.create_default_context
    if not isinstance(ca_file, str) or not ca_file.startswith("/"):
        raise ValueError(f"ca_file: an absolute path, not {ca_file!r}")
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        reason = "has no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"ca_file: {reason}") from None
    return lambda: context
