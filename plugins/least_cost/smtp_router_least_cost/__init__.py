"""Least cost: each message goes where it costs least now, and a month's bill is on record.

What counts is the price of this message, given what was sent this month: so what is free is used up
first, then the cheapest. Fees that are paid in any case decide nothing.

What was sent is kept in a state file (`_ledger`), since a month is longer than a process lives. What is
being sent counts as sent (`_book`), so no free tier and no quota is overshot.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from smtp_router import Attempt, Clock, Delivered, Downstream, InDoubt, Message, hookimpl, note
from smtp_router_least_cost._bill import in_words
from smtp_router_least_cost._book import Book, Count, Place
from smtp_router_least_cost._ledger import Ledger, LedgerError, Line
from smtp_router_least_cost._saver import Saver
from smtp_router_least_cost._tariff import Tariff, Terms, terms_of

__all__ = ["LeastCost"]

log: logging.Logger = logging.getLogger(__name__)

_LONGEST_CODE = 10


class LeastCost:
    """Chooses by price; the router makes one instance per user.

    Args:
        clock: says which month it is.
        state: the absolute path of the state file; `None` for a count in memory.
        timezone: where months and days begin at midnight, as `Europe/Berlin`.
        currency: what prices are in, for the bill.

    Raises:
        ValueError: an option is wrong, or the state file cannot be used.
    """

    def __init__(
        self, clock: Clock, state: str | None, timezone: str = "UTC", currency: str = ""
    ) -> None:
        self._clock = clock
        self._zone = _zone(timezone)
        self._currency = _code(currency)
        self._terms: dict[str, tuple[Mapping[str, object], Terms]] = {}
        self._tariffs: dict[str, Tariff] = {}
        ledger = None if state is None else _ledger(state, currency)
        self._book = Book({} if ledger is None else _read(ledger))
        self._saver = None if ledger is None else Saver(self._book, ledger, self._tariffs)
        self._day: date | None = None
        self._offered: set[str] = set()
        self._used_up: set[Place] = set()

    @hookimpl
    def check_downstreams(self, downstreams: Sequence[Downstream]) -> None:
        """See that every downstream has a price.

        Raises:
            ValueError: the options of a downstream are wrong; names it.
        """
        accounts: dict[str, tuple[str, Terms]] = {}
        for downstream in downstreams:
            terms = terms_of(downstream)
            name, first = accounts.setdefault(terms.account, (downstream.name, terms))
            if terms != first:
                raise ValueError(
                    f"downstream {downstream.name}: options.account: {terms.account} has another price"
                    f" at {name}; an account has one"
                )

    @hookimpl
    def select_downstream(
        self, message: Message, downstreams: Sequence[Downstream]
    ) -> Downstream | None:
        """Choose the cheapest; of several the first.

        Args:
            message: how many recipients it has decides about the price.
            downstreams: those still worth trying for this message, at least one.

        Returns:
            One of `downstreams`; `None` if their quotas leave no room for this message.

        Raises:
            ValueError: the options of a downstream are wrong; names it.
        """
        now = self._clock.now()
        self._book.release(message.id)
        self._book.release_old(now)
        month = _month(self._today())
        one = Count(1, len(message.rcpt_tos))
        found: tuple[Decimal, Downstream, Place, int] | None = None
        for downstream in downstreams:
            terms = self._terms_of(downstream)
            tariff, place = terms.tariff, Place(month, terms.account)
            self._offered.add(terms.account)
            used, units = tariff.units(*self._book.used(place)), tariff.units(*one)
            if tariff.quota is not None and used + units > tariff.quota:
                self._tell_used_up(place, tariff.quota - used)
                continue
            price = tariff.price(used, units)
            if found is None or price < found[0]:
                found = price, downstream, place, used
        if found is None:
            note(f"least_cost: the quotas of {month} leave no room")
            return None
        price, chosen, place, used = found
        self._book.hold(message.id, place.account, one, now)
        money = f"{price.normalize():f} {self._currency}".rstrip()
        note(f"least_cost: {chosen.name} at {money}; {used} used in {month}")
        return chosen

    @hookimpl
    def after_send(self, message: Message, attempt: Attempt) -> None:
        """Count what will be on the bill: what was taken, and what may have been."""
        self._book.release(message.id)
        if isinstance(attempt.outcome, Delivered | InDoubt):
            today = self._today()
            self._tell_bill(today)
            place = Place(_month(today), self._terms_of(attempt.downstream).account)
            self._book.add(place, Count(1, len(message.rcpt_tos)))
            if self._saver:
                self._saver.soon()

    @hookimpl
    async def close(self) -> None:
        """Save what is not saved yet."""
        if self._saver:
            await self._saver.close()

    def _terms_of(self, downstream: Downstream) -> Terms:
        """Read once, and again when the options have changed."""
        known, options = self._terms.get(downstream.name), downstream.options
        if known is None or (known[0] is not options and known[0] != options):
            terms = terms_of(downstream)
            known = self._terms[downstream.name] = options, terms
            self._tariffs[terms.account] = terms.tariff
        return known[1]

    def _today(self) -> date:
        return self._clock.wall().astimezone(self._zone).date()

    def _tell_bill(self, today: date) -> None:
        """Once a day; with the first message of a month, all of the last one."""
        if today == self._day:
            return
        month = _month(self._day or today)
        self._day = today
        lines = []
        for account in sorted(self._offered):
            self._book.add(Place(_month(today), account), Count())  # its fee is due without mail, too
            place = Place(month, account)
            sent, tariff = self._book.counted(place), self._tariffs[account]
            lines.append(Line(place, sent, tariff, self._currency))
        self._offered.clear()  # one that a reload has dropped is on no later bill
        log.info("bill of %s: %s", month, in_words(lines))

    def _tell_used_up(self, place: Place, left: int) -> None:
        """Once for each account and month."""
        if left <= 0 and place not in self._used_up:
            self._used_up = {one for one in self._used_up if one.month == place.month} | {place}
            log.warning("quota of %s used up for %s", place.account, place.month)


def _month(day: date) -> str:
    return f"{day:%Y-%m}"


def _zone(name: object) -> ZoneInfo:
    try:
        return ZoneInfo(name if isinstance(name, str) else "")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"timezone must be a name such as Europe/Berlin, not {name!r}") from None


def _code(currency: object) -> str:
    if isinstance(currency, str) and len(currency) <= _LONGEST_CODE and currency.isprintable():
        return currency
    raise ValueError(f"currency must be a code such as EUR, not {currency!r}")


def _ledger(state: object, currency: str) -> Ledger:
    if not isinstance(state, str) or not state.startswith("/") or "\0" in state:
        raise ValueError(f"state must be an absolute path, or null to count in memory, not {state!r}")
    return Ledger(Path(state), currency)


def _read(ledger: Ledger) -> dict[Place, Count]:
    try:
        ledger.check()
        return {line.place: line.sent for line in ledger.read()}
    except LedgerError as error:
        raise ValueError(f"state: {error}") from None
