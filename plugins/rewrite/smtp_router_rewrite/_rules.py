"""The rules for one downstream: read and checked when the plugin is made, applied to each message.

The order is: envelope, From (with Reply-To), then `remove`, `set` and `add` of `headers`.
"""

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.charset import Charset

from smtp_router import Message
from smtp_router_rewrite._header import Header, make_field

_ATOMS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOMS}@{_LABEL}(?:\.{_LABEL})*")
_MAX_ADDRESS_OCTETS = 254  # RFC 5321 4.5.3.1.3, without brackets
_FOLD = re.compile(r"\r?\n(?=[ \t])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is done to a message.

    Args:
        mail_from: the new reverse-path; `None` to keep it.
        name: the new display name; `""` to keep it.
        address: the new address in From; `""` to keep From as it is.
        remove: names of fields.
        set: name → new field.
        add: new fields.
    """

    mail_from: str | None = None
    name: str = ""
    address: str = ""
    remove: tuple[str, ...] = ()
    set: Mapping[str, bytes] = field(default_factory=dict)
    add: tuple[bytes, ...] = ()

    def apply(self, message: Message) -> Message:
        """The message as the rules have it.

        A null reverse-path stays: what has one must not be answered (RFC 5321 4.5.5).
        """
        if self.mail_from is not None and message.mail_from:
            message = message.replace(mail_from=self.mail_from)
        if not (self.address or self.remove or self.set or self.add):
            return message
        header = Header.of(message.content)
        if self.address:
            self._set_from(header)
        for name in self.remove:
            header.remove(name)
        for name, new in self.set.items():
            header.set(name, new)
        header.fields[:0] = self.add
        return message.replace(content=header.content())

    def _set_from(self, header: Header) -> None:
        """Put the new author in; who answers still reaches the old one."""
        old = header.values("From")
        pairs = email.utils.getaddresses([_unfolded(value) for value in old])
        authors = [pair for pair in pairs if "@" in pair[1]]
        if [address.lower() for _, address in authors] == [self.address.lower()] and not self.name:
            return
        name = self.name or (authors[0][0] if len(authors) == 1 else "")
        new = [_from(name, self.address)]
        if authors and not header.values("Reply-To"):
            new.append(b"Reply-To:" + old[0].rstrip(b"\r\n") + b"\r\n")
        header.set("From", *new)


def read(place: str, given: object) -> Rules:
    """The rules that stand at this place of the options.

    Raises:
        ValueError: they are not valid; the text names the option.
    """
    rules = _mapping(place, given, "mail_from", "from", "headers")
    headers = _mapping(f"{place}.headers", rules.get("headers", {}), "remove", "set", "add")
    name, address = "", ""
    if "from" in rules:
        name, address = _author(f"{place}.from", rules["from"])
    remove = headers.get("remove", [])
    if not isinstance(remove, list):
        raise ValueError(f"{place}.headers.remove: a list of field names")
    for one in remove:
        _check_name(f"{place}.headers.remove", one)
    fields = {part: _fields(f"{place}.headers.{part}", headers.get(part, {})) for part in ("set", "add")}
    for one, made in fields["set"].items():
        if len(made) != 1:
            raise ValueError(f"{place}.headers.set.{one}: one text; several go to add")
        if one.lower() in {other.lower() for other in remove}:
            raise ValueError(f"{place}.headers: {one} is in both remove and set")
    return Rules(
        mail_from=_address(f"{place}.mail_from", rules["mail_from"]) if "mail_from" in rules else None,
        name=name,
        address=address,
        remove=tuple(remove),
        set={one: made[0] for one, made in fields["set"].items()},
        add=tuple(new for made in fields["add"].values() for new in made),
    )


def _mapping(place: str, given: object, *known: str) -> Mapping[str, object]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{place}: a mapping of any of {', '.join(known)}")
    for name in given:
        if name not in known:
            raise ValueError(f"{place}.{name}: is no rule; there are {', '.join(known)}")
    return given


def _address(place: str, given: object) -> str:
    if isinstance(given, str) and len(given) <= _MAX_ADDRESS_OCTETS and _ADDRESS.fullmatch(given):
        return given
    raise ValueError(f"{place}: is no address such as bounces@example.com")


def _author(place: str, given: object) -> tuple[str, str]:
    """Display name and address of `NAME <ADDRESS>` or `ADDRESS`."""
    if not isinstance(given, str):
        raise ValueError(f"{place}: an address, or NAME <ADDRESS>")
    pairs = email.utils.getaddresses([given])
    if len(pairs) != 1:
        raise ValueError(f"{place}: one address, or NAME <ADDRESS>")
    name, address = pairs[0]
    _check_value(place, "From", given)
    if not name.isascii():
        name = Charset("utf-8").header_encode(name)
    return name, _address(place, address)


def _fields(place: str, given: object) -> dict[str, list[bytes]]:
    """Name → new fields of that name."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{place}: a mapping of field names to texts")
    fields = {}
    for name, value in given.items():
        _check_name(place, name)
        values = value if isinstance(value, list) else [value]
        fields[name] = [_check_value(f"{place}.{name}", name, one) for one in values]
    if len({name.lower() for name in fields}) < len(fields):
        raise ValueError(f"{place}: has a name twice")
    return fields


def _check_name(place: str, name: object) -> None:
    if not isinstance(name, str):
        raise ValueError(f"{place}: {name!r} is no header field name")
    try:
        make_field(name, "x")
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    if name.lower() == "from":
        raise ValueError(f"{place}: From has a rule of its own, from")


def _check_value(place: str, name: str, value: object) -> bytes:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{place}: a text that is not empty (numbers in quotes)")
    try:
        return make_field(name, value)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _unfolded(value: bytes) -> str:
    return _FOLD.sub("", value.decode("utf-8", "surrogateescape")).strip()


def _from(name: str, address: str) -> bytes:
    """The field; a display name in encoded words or in UTF-8 stays as it was written."""
    if name.isascii():
        text = email.utils.formataddr((name, address))
    else:
        text = '"{}" <{}>'.format(re.sub(r'([\\"])', r"\\\1", name), address)
    return b"From: " + text.encode("utf-8", "surrogateescape") + b"\r\n"
