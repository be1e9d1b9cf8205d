"""What a provider asks for mail, and how the configuration says so.

All is exact: prices are decimal fractions, as they are written. A float of YAML's stands for its
shortest text, so 0.1 is a tenth.
"""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from smtp_router import Downstream

_OPTIONS = ("cost_per_1000", "tiers", "monthly_fee", "per", "quota", "account")
_PER = ("recipient", "message")
_MOST = 1_000_000
_NEAR = 0.8
"""How much alike a misspelt option is; what is less so may be another plugin's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A price, and how far it reaches.

    Args:
        up_to: the last unit of the month that has it; `None` for all that follow.
        cost_per_1000: of a thousand units.
    """

    up_to: int | None
    cost_per_1000: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What a month costs.

    Args:
        tiers: in their order; the last one has no end.
        monthly_fee: is paid in any case, so it decides nothing.
        per: what a unit is: `recipient` or `message`.
        quota: how many units a month has at most; `None`: as many as there are.
    """

    tiers: tuple[Tier, ...]
    monthly_fee: Decimal = Decimal(0)
    per: str = "recipient"
    quota: int | None = None

    def units(self, messages: int, recipients: int) -> int:
        """How many units so many messages with so many recipients are."""
        return recipients if self.per == "recipient" else messages

    def cost(self, units: int) -> Decimal:
        """What the first so many units of a month cost, without the fee."""
        return self.price(0, units)

    def price(self, used: int, units: int) -> Decimal:
        """What so many units cost when so many are used."""
        price = Decimal(0)
        for tier in self.tiers:
            if tier.up_to is None or used + units <= tier.up_to:
                return (price + units * tier.cost_per_1000).scaleb(-3)
            part = max(0, tier.up_to - used)
            price += part * tier.cost_per_1000
            used, units = used + part, units - part
        raise AssertionError("the last tier has no end")

    def as_json(self) -> str:
        """For the state file."""
        return json.dumps(
            {
                "tiers": [[tier.up_to, str(tier.cost_per_1000)] for tier in self.tiers],
                "monthly_fee": str(self.monthly_fee),
                "per": self.per,
                "quota": self.quota,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Tariff":
        """What `as_json` has made."""
        found: dict[str, Any] = json.loads(text)
        tiers = tuple(Tier(up_to=up_to, cost_per_1000=Decimal(cost)) for up_to, cost in found["tiers"])
        fee = Decimal(found["monthly_fee"])
        return cls(tiers=tiers, monthly_fee=fee, per=found["per"], quota=found["quota"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A downstream's tariff, and under which name its mail is counted."""

    account: str
    tariff: Tariff


def terms_of(downstream: Downstream) -> Terms:
    """What a downstream's options say.

    Raises:
        ValueError: they are wrong; names downstream and option.
    """
    options, where = downstream.options, f"downstream {downstream.name}: options"
    for name in options:  # the others are other plugins'
        near = difflib.get_close_matches(name, _OPTIONS, 1, _NEAR)
        if near and name not in _OPTIONS:
            raise ValueError(f"{where}.{name} is not an option: did you mean {near[0]}?")
    per = options.get("per", "recipient")
    if per not in _PER:
        raise ValueError(f"{where}.per must be recipient or message, not {per!r}")
    quota = options.get("quota")
    if quota is not None:
        quota = _count(f"{where}.quota", quota)
    account = options.get("account", downstream.name)
    if not isinstance(account, str) or not account or not account.isprintable():
        raise ValueError(f"{where}.account must be a name, not {account!r}")
    fee = _money(f"{where}.monthly_fee", options.get("monthly_fee", 0))
    tariff = Tariff(tiers=_tiers(where, options), monthly_fee=fee, per=str(per), quota=quota)
    return Terms(account=account, tariff=tariff)


def _tiers(where: str, options: Mapping[str, object]) -> tuple[Tier, ...]:
    if ("tiers" in options) == ("cost_per_1000" in options):
        raise ValueError(f"{where} must have cost_per_1000 or tiers (one of them)")
    if "tiers" not in options:
        cost = _money(f"{where}.cost_per_1000", options["cost_per_1000"])
        return (Tier(up_to=None, cost_per_1000=cost),)
    listed = options["tiers"]
    if not isinstance(listed, list | tuple) or not listed:
        raise ValueError(f"{where}.tiers must be a list, as [{{up_to: 10000, cost_per_1000: 0}}, …]")
    tiers = tuple(_tier(f"{where}.tiers[{index}]", entry) for index, entry in enumerate(listed))
    ends = [tier.up_to for tier in tiers]
    if ends.pop() is not None:
        raise ValueError(f"{where}.tiers: the last one has no up_to; what limits a month is quota")
    before = 0
    for index, end in enumerate(ends):
        if end is None or end <= before:
            raise ValueError(f"{where}.tiers[{index}].up_to must be more than {before}, not {end}")
        before = end
    return tiers


def _tier(where: str, entry: object) -> Tier:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} must be a mapping, as {{up_to: 10000, cost_per_1000: 0}}")
    for key in entry:
        if key not in {"up_to", "cost_per_1000"}:
            raise ValueError(f"{where}.{key} is not an option: it takes up_to, cost_per_1000")
    up_to = entry.get("up_to")
    return Tier(
        up_to=None if up_to is None else _count(f"{where}.up_to", up_to),
        cost_per_1000=_money(f"{where}.cost_per_1000", entry.get("cost_per_1000")),
    )


def _count(where: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"{where} must be a whole number from 0 on, not {value!r}")


def _money(where: str, value: object) -> Decimal:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST:
        assert math.isfinite(value)
        return Decimal(str(value))
    raise ValueError(f"{where} must be a number from 0 to {_MOST}, not {value!r}")
