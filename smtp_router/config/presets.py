"""What is known of the providers that mail is handed to: a file for each, and a source for each fact.

The files are in `providers/`; docs/providers.md prints them, and says how to add one.
"""

import difflib
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from smtp_router.config import tree
from smtp_router.config.provider_use import ProviderUse
from smtp_router.config.types import HostPort, host_port
from smtp_router.core.replies import Rule

if TYPE_CHECKING:
    from smtp_router.config.provider import Provider

_NOWHERE = HostPort(host="provider.invalid", port=1)


class Presets:
    """The providers' files, each read once, when it is first asked for.

    One of these goes with the loading of one configuration, as pydantic's context.
    """

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._folder = files("smtp_router.config") / "providers"
        self._known: dict[str, Provider] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All there are."""
        found = (entry.name for entry in self._folder.iterdir())
        return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))

    def get(self, name: str) -> "Provider":
        """One of them.

        Raises:
            ValueError: there is none of this name; the error names the nearest.
        """
        if name not in self._known:
            if name not in self.names:
                raise ValueError(_unknown("provider", name, self.names))
            # Most routers know none: these models take 10 ms of a start.
            from smtp_router.config.provider import Provider  # noqa: PLC0415

            text = (self._folder / f"{name}.yaml").read_bytes()
            plain = tree.parse(text, f"{name}.yaml").plain()
            assert isinstance(plain, dict)
            self._known[name] = Provider.model_validate({**plain, "name": name})
        return self._known[name]

    def check(self, use: ProviderUse) -> None:
        """See that a provider is known.

        Raises:
            ValueError: it is not, or has no such region.
        """
        provider = self.get(use.use)
        if use.region is not None and use.region not in provider.hosts:
            raise ValueError(_unknown("region", use.region, tuple(provider.hosts)))

    def rules(self, use: ProviderUse) -> tuple[Rule, ...]:
        """What a provider's replies mean."""
        return self.get(use.use).rules

    def fill_in(self, given: dict[str, Any]) -> dict[str, Any]:
        """A downstream's keys with what its provider's file says, wherever they say nothing.

        Args:
            given: the keys as they stand in the configuration, `provider` among them.

        Raises:
            ValueError: it does not follow where the downstream is.
        """
        try:
            use = self._uses.validate_python(given["provider"], context=self)
        except ValidationError:  # which the key itself reports; nothing else is to complain
            return {"addr": _NOWHERE, **given}
        provider = self.get(use.use)
        if "addr" not in given:
            addr = provider.addr(use.region)
            if addr is None:
                message = f"provider: name a region ({', '.join(provider.hosts)}), or give an addr"
                raise ValueError(message)
            given = {"name": use.use, **given, "addr": addr}
        elif use.region is not None:
            message = "addr and the provider's region both say where: keep one of the two"
            raise ValueError(message)
        with suppress(ValueError):  # which addr reports
            given = {"tls": provider.tls(host_port(given["addr"])), **given}
        return _with(_with(given, "limits", provider.limit_defaults), "pool", provider.pool_defaults)

    @cached_property
    def _uses(self) -> TypeAdapter[ProviderUse]:
        return TypeAdapter(ProviderUse)


def _with(given: dict[str, Any], key: str, defaults: Mapping[str, int]) -> dict[str, Any]:
    """The keys, with defaults for those below one of them."""
    own = given.get(key, {})
    if not defaults or not isinstance(own, dict):  # which the key itself reports
        return given
    return {**given, key: {**defaults, **own}}


def _unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    """An error's words, with the nearest of those that there are."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"is no {what} that is known here: {hint}"
