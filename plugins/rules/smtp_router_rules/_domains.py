"""Domains and addresses, and patterns for them.

A domain is compared in the form that DNS has (RFC 5890): in lower case, `bücher.example` as
`xn--bcher-kva.example`. So both spellings of it are the same, in a rule and in a message.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import idna
from publicsuffixlist import PublicSuffixList

from smtp_router_rules._patterns import Glob, is_wild

_DOMAIN = re.compile(r"[a-z0-9_*?-]+(?:\.[a-z0-9_*?-]+)*|\[[a-z0-9.:-]+\]")


class Address(NamedTuple):
    """An address in the form in which it is compared; the domain is empty for a bare `postmaster`."""

    local: str
    domain: str

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.local}@{self.domain}" if self.domain else self.local


def parse(address: str) -> Address:
    """An address, as a client gave it."""
    local, at, domain = address.rpartition("@")
    return Address(local.casefold(), canonical(domain)) if at else Address(domain.casefold(), "")


def canonical(domain: str) -> str:
    """A domain in its one form; one that cannot have it stays as it is, in lower case."""
    domain = domain.removesuffix(".")
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except UnicodeError:
        return domain.lower()


def site(domain: str) -> str:
    """The part of it that somebody has registered, `example.co.uk`; empty if there is none."""
    return _suffixes().privatesuffix(domain) or ""


@cache
def _suffixes() -> PublicSuffixList:
    """The list that comes with the library: read once, by whoever is first to need it."""
    return PublicSuffixList()


def pattern(given: str) -> str:
    """A pattern for domains, in the form in which it is compared.

    Raises:
        ValueError: it is none.
    """
    labels = given.strip().removesuffix(".").split(".")
    text = ".".join(label if is_wild(label) else canonical(label) for label in labels).lower()
    if not _DOMAIN.fullmatch(text):
        raise ValueError("is no domain, nor a pattern for some, as example.com or *.example.com")
    return text


class Domains:
    """Patterns for domains; `*.example.com` is any domain below that one."""

    __slots__ = ("_above", "_exact", "_globs")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Take patterns as `pattern` gives them."""
        exact, above, globs = set(), set(), []
        for one in patterns:
            if not is_wild(one):
                exact.add(one)
            elif one.startswith("*.") and not is_wild(one[2:]):
                above.add(one[2:])
            else:
                globs.append(Glob(one))
        self._exact, self._above, self._globs = frozenset(exact), frozenset(above), tuple(globs)

    def matches(self, text: str) -> bool:
        """See `Patterns`."""
        if text in self._exact:
            return True
        if self._above:
            rest = text.partition(".")[2]
            while rest:
                if rest in self._above:
                    return True
                rest = rest.partition(".")[2]
        return bool(text) and any(glob.matches(text) for glob in self._globs)


class Addresses:
    """Patterns for addresses: one for the local part, one for the domain; `<>` is the null sender."""

    __slots__ = ("_exact", "_null", "_wild")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Take patterns for addresses.

        Raises:
            ValueError: one is none.
        """
        exact, wild = set(), []
        self._null = False
        for given in patterns:
            local, at, domain = given.rpartition("@")
            if given == "<>":
                self._null = True
            elif not at or not local:
                raise ValueError(f"{given!r} is no address, nor a pattern for some, as *@example.com")
            else:
                host = "*" if domain == "*" else pattern(domain)
                if is_wild(local) or is_wild(host):
                    wild.append((Glob(local), Glob(host) if host == "*" else Domains([host])))
                else:
                    exact.add(f"{local.casefold()}@{host}")
        self._exact, self._wild = frozenset(exact), tuple(wild)

    def matches(self, text: str) -> bool:
        """See `Patterns`; the null sender is empty."""
        if not text:
            return self._null
        if text in self._exact:
            return True
        local, at, domain = text.rpartition("@")
        if not at:  # a bare postmaster (RFC 5321 4.1.1.3)
            local, domain = domain, ""
        return any(name.matches(local) and host.matches(domain) for name, host in self._wild)
