"""The kinds of values in a configuration that YAML does not have: addresses, rates, networks.

Every error says what the form is, never what was given: that may come from `${env:…}`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import MappingProxyType
from typing import Annotated, Any, Literal

from smtp_router.config.value import As
from smtp_router.core.address import is_ehlo_name

_MAX_PORT = 65535
_HOST_PORT = r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):(0|[1-9]\d{0,4})"
_PORT = re.compile(r"0|[1-9]\d{0,4}", re.ASCII)  # one spelling each: an address is a default name, too


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPort:
    """A parsed `HOST:PORT`."""

    host: str
    port: int

    def __str__(self) -> str:
        """`HOST:PORT`, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def host_port(value: object) -> HostPort:
    """Read `HOST:PORT`.

    Raises:
        ValueError: it is none; the error says what the form is.
    """
    if isinstance(value, HostPort):
        return value
    if not isinstance(value, str):
        message = "must be HOST:PORT in quotes"
        raise ValueError(message)  # noqa: TRY004 - pydantic collects ValueErrors
    host, colon, port = value.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > _MAX_PORT:
        message = "must be HOST:PORT with a port from 0 to 65535, as in smtp.example.com:587"
        raise ValueError(message)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ipv6(host):
            message = "has something in brackets that is not an IPv6 address"
            raise ValueError(message)
    elif not is_ehlo_name(host.encode()):
        message = "has a bad host: a name, an IPv4 address, or an IPv6 address in brackets"
        raise ValueError(message)
    return HostPort(host=host, port=int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixPath:
    """A Unix socket; a relative path begins where the router was started."""

    path: str

    def __str__(self) -> str:
        """As it stands in the configuration."""
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemdSocket:
    """A socket that systemd passes; without a name, the first."""

    name: str

    def __str__(self) -> str:
        """As it stands in the configuration."""
        return f"systemd:{self.name}" if self.name else "systemd"


def next_hop(value: object) -> HostPort | UnixPath:
    """Read `HOST:PORT` or `unix:PATH`.

    Raises:
        ValueError: it is neither; the error says what the form is.
    """
    if isinstance(value, UnixPath):
        return value
    if isinstance(value, str) and value.startswith("unix:"):
        path = value.removeprefix("unix:")
        if not path or "\0" in path:
            message = "must be unix:PATH"
            raise ValueError(message)
        return UnixPath(path=path)
    return host_port(value)


def _listen_address(value: object) -> HostPort | UnixPath | SystemdSocket:
    if isinstance(value, SystemdSocket):
        return value
    if isinstance(value, str) and (value == "systemd" or value.startswith("systemd:")):
        return SystemdSocket(name=value.removeprefix("systemd").removeprefix(":"))
    return next_hop(value)


def _ip_address(value: object) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(value) if isinstance(value, str) else None
    except ValueError:  # which would show the text
        address = None
    if address is None or address.is_unspecified or address.is_multicast:
        message = "must be an IP address of this machine, as in 192.0.2.25"
        raise ValueError(message)
    return address


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:  # which would show the text, and that may come from ${env:…}
        return False
    return True


def _number(value: object) -> object:
    """Numbers only: pydantic would take `true` for 1."""
    if isinstance(value, bool):
        message = "must be a number"
        raise ValueError(message)  # noqa: TRY004 - pydantic collects ValueErrors
    return value


NextHop = Annotated[
    HostPort | UnixPath,
    As(instead=next_hop, schema={"type": "string", "pattern": f"^({_HOST_PORT}|unix:.+)$"}),
]


IPAddress = Annotated[
    IPv4Address | IPv6Address,
    As(
        instead=_ip_address, schema={"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
    ),
]


ListenAddress = Annotated[
    HostPort | UnixPath | SystemdSocket,
    As(
        instead=_listen_address,
        schema={"type": "string", "pattern": f"^({_HOST_PORT}|unix:.+|systemd(:.*)?)$"},
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many in so many seconds."""

    count: int
    seconds: int

    def __str__(self) -> str:
        """As it stands in the configuration."""
        unit = next(name for name, seconds in _RATE_UNITS.items() if seconds == self.seconds)
        return f"{self.count}/{unit}"


_RATE_UNITS = MappingProxyType({"s": 1, "min": 60, "h": 3600, "day": 86_400})
_RATE = re.compile(r"([1-9]\d{0,8})/(s|min|h|day)", re.ASCII)


def rate(value: object) -> Rate:
    """Read `COUNT/UNIT`.

    Raises:
        ValueError: it is none; the error says what the form is.
    """
    if isinstance(value, Rate):
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        message = "must be a number per s, min, h or day, as in 100/min"
        raise ValueError(message)
    return Rate(count=int(match[1]), seconds=_RATE_UNITS[match[2]])


def _network(value: object) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(value) if isinstance(value, str) else None
    except ValueError:  # which would show the text
        network = None
    if network is None:
        message = "must be a network, as in 10.1.2.0/24 or 2001:db8::/32 (no bits behind the prefix)"
        raise ValueError(message)
    if network.prefixlen == 0:
        message = "is the whole internet: name the networks that are trusted"
        raise ValueError(message)
    return network


MAX_WORKERS = 256


def _workers(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_WORKERS:
        message = f"must be a number from 1 to {MAX_WORKERS}, or auto"
        raise ValueError(message)
    return value


RatePerTime = Annotated[
    Rate,
    As(instead=rate, schema={"type": "string", "pattern": f"^{_RATE.pattern}$"}),
]
Network = Annotated[
    IPv4Network | IPv6Network,
    As(instead=_network, schema={"type": "string", "pattern": r"^[0-9A-Fa-f.:]+(/\d+)?$"}),
]
Seconds = Annotated[float, As(first=_number, gt=0, le=86_400)]
Share = Annotated[float, As(first=_number, gt=0, le=1)]
Count = Annotated[int, As(first=_number, gt=0)]
Workers = Annotated[
    int | Literal["auto"],
    As(
        instead=_workers,
        schema={
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0, "maximum": MAX_WORKERS},
                {"enum": ["auto"]},
            ]
        },
    ),
]
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def frozen(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options, read-only; without any, the same for all."""
    return MappingProxyType(dict(options)) if options else NO_OPTIONS


Options = Annotated[Mapping[str, Any], As(then=frozen)]
NonEmpty = Annotated[str, As(min_length=1)]
