"""The paths of MAIL and RCPT, read strictly and on bytes.

Every octet is matched against the grammar of RFC 5321 4.1.2 and kept as it came: nothing is decoded,
unquoted, folded or trimmed, so what a client gave is what a downstream gets. What the grammar does not
know (controls, spaces outside quotes, encoded words, a missing bracket) is refused, not repaired.
"""

import ipaddress
import re

MAX_PATH_OCTETS = 256
"""With the brackets (RFC 5321 4.5.3.1.3)."""
MAX_DOMAIN_OCTETS = 255
"""RFC 5321 4.5.3.1.2."""
# The 64 octets of a local part (4.5.3.1.1) are what everybody must accept, not a limit to enforce:
# bounce addresses (VERP, SRS) are longer, and they are real.

_ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]+"
_QUOTED = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\x20-\x7e])*"'
_LABEL = rb"[A-Za-z0-9\x80-\xff](?:[A-Za-z0-9\x80-\xff-]*[A-Za-z0-9\x80-\xff])?"
_LITERAL = rb"\[[\x21-\x5a\x5e-\x7e]+\]"
_PATH = re.compile(
    rb"<(?:(?P<local>" + _ATOM + rb"(?:\." + _ATOM + rb")*|" + _QUOTED + rb")"
    rb"@(?P<domain>" + _LABEL + rb"(?:\." + _LABEL + rb")*|" + _LITERAL + rb"))?>"
)
_POSTMASTER = re.compile(rb"<(?P<local>postmaster)>", re.IGNORECASE)
_SOURCE_ROUTE = re.compile(rb"<@[^:>]*:")
_EHLO_NAME = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?|" + _LITERAL)
_MAX_LABEL_OCTETS = 63  # RFC 1035 2.3.4
_LONG_LABEL = re.compile(rb"[^@.>]{%d}" % (_MAX_LABEL_OCTETS + 1))
_LOOPBACK = re.compile(r"127(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}", re.ASCII)


class AddressError(ValueError):
    """A path that is not one.

    Args:
        text: what is wrong, without echoing the address.
        source_route: it is `<@a,@b:c@d>`, which is obsolete (RFC 5321 appendix C) and refused.
    """

    def __init__(self, text: str, *, source_route: bool = False) -> None:
        """See the class."""
        super().__init__(text)
        self.source_route = source_route


def split_path(data: bytes) -> tuple[bytes, bytes]:
    """Split the argument of MAIL FROM: or RCPT TO: behind its path.

    Args:
        data: what follows the colon.

    Returns:
        The path with its brackets, and the rest (parameters, with the space before them).

    Raises:
        AddressError: no path stands there.
    """
    match = _PATH.match(data) or _POSTMASTER.match(data)
    if match is None:
        if _SOURCE_ROUTE.match(data):
            text = "source routes are not accepted"
            raise AddressError(text, source_route=True)
        text = "malformed address"
        raise AddressError(text)
    return match[0], data[match.end() :]


def check_path(path: bytes) -> str:
    """Check what a pattern cannot say, and give the address between the brackets.

    Args:
        path: as `split_path` returned it.

    Returns:
        The address: `""` for the null path `<>`. Its UTF-8 encoding is the octets of `path`.

    Raises:
        AddressError: too long, a bad address literal, a bad label, or text that is not UTF-8 or has
            characters that cannot be printed.
    """
    if len(path) > MAX_PATH_OCTETS:
        text = f"address longer than {MAX_PATH_OCTETS} octets"
        raise AddressError(text)
    if path.endswith(b"]>"):
        match = _PATH.fullmatch(path)
        assert match is not None
        _check_literal(match["domain"][1:-1])
    elif len(path) > _MAX_LABEL_OCTETS and _LONG_LABEL.search(path, path.rfind(b"@")):
        text = "domain too long"
        raise AddressError(text)
    try:
        address = path[1:-1].decode()
    except UnicodeDecodeError:
        text = "address is not UTF-8"
        raise AddressError(text) from None
    if not address.isascii() and not address.isprintable():
        text = "address has characters that cannot be printed"
        raise AddressError(text)
    return address


def is_address(address: object) -> bool:
    """Whether this may stand in MAIL or RCPT, without brackets; the null reverse-path is no text."""
    if not isinstance(address, str):
        return False
    try:
        path, rest = split_path(f"<{address}>".encode())
        return not rest and check_path(path) == address
    except ValueError:  # not an address, or not even text that can be encoded
        return False


def is_ehlo_name(name: bytes) -> bool:
    """Whether this may follow EHLO or HELO.

    A domain or an address literal (RFC 5321 4.1.1.1); underscores are let through, as host names of
    real clients have them.
    """
    return len(name) <= MAX_DOMAIN_OCTETS and _EHLO_NAME.fullmatch(name) is not None


def is_loopback(address: str) -> bool:
    """Whether an IP address is this very machine, also as IPv4 mapped into IPv6; other text is not."""
    if address == "127.0.0.1":  # as nearly always, if it is
        return True
    if ":" in address:
        address = unmapped(address)
        if address == "::1":
            return True
    return _LOOPBACK.fullmatch(address) is not None


def unmapped(address: str) -> str:
    """An IP address in the one form that limits and networks know: IPv4 mapped into IPv6 is IPv4."""
    if ":" not in address:  # to parse it would take longer than all else that a new client costs
        return address
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or parsed)


def _check_literal(literal: bytes) -> None:
    """IPv4, or `IPv6:` and IPv6 (RFC 5321 4.1.3); no other tag is registered."""
    text = literal.decode("ascii")
    try:
        if text[:5].upper() == "IPV6:":
            if "%" in text:
                raise ValueError(text)
            ipaddress.IPv6Address(text[5:])
        else:
            ipaddress.IPv4Address(text)
    except ValueError:
        error = "malformed address literal"
        raise AddressError(error) from None
