"""The bill of a month: `smtp-router-bill FILE`, and a line in the log."""

import argparse
import json
import sys
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from smtp_router_least_cost._ledger import Ledger, LedgerError, Line

_CENT = Decimal("0.01")
_HEAD = ("account", "messages", "recipients", "left", "fee", "mail", "total")


def total(line: Line) -> Decimal:
    """What an account's month costs, with the fee; exact."""
    return line.tariff.monthly_fee + _mail(line)


def in_words(lines: Sequence[Line]) -> str:
    """In one line, for the log."""
    each = [
        f"{line.place.account} {_rounded(total(line))} ({line.sent.recipients} recipients)"
        for line in lines
    ]
    return ", ".join([*each, f"in all {_sum(lines)}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the bill of a month.

    Args:
        arguments: those of the command line; `None` for those that this process was started with.

    Returns:
        The exit code: 1 if the file cannot be read, or has no such month.
    """
    parser = argparse.ArgumentParser(
        prog="smtp-router-bill",
        description="What a month's mail costs, by the state file of least_cost.",
    )
    parser.add_argument("file", type=Path, help="the state file")
    parser.add_argument("--month", help="as 2026-11; the last one of the file, if it is not given")
    parser.add_argument("--json", action="store_true", help="exact, for programs")
    given = parser.parse_args(arguments)
    try:
        if not given.file.exists():
            raise LedgerError(f"{given.file} is not there")
        every = Ledger(given.file).read()
        month = given.month or max((line.place.month for line in every), default="")
        lines = [line for line in every if line.place.month == month]
        if not lines:
            raise LedgerError(f"{given.file} has nothing" + (f" for {month}" if month else ""))
    except LedgerError as error:
        sys.stderr.write(f"smtp-router-bill: {error}\n")
        return 1
    sys.stdout.write(_as_json(month, lines) if given.json else _as_table(month, lines))
    return 0


def _as_table(month: str, lines: Sequence[Line]) -> str:
    rows = [_HEAD, *(_row(line) for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([month, "", *text, "", f"in all {_sum(lines)}", ""])


def _row(line: Line) -> tuple[str, ...]:
    place, sent, tariff, currency = line
    left = "" if tariff.quota is None else f"{max(0, tariff.quota - tariff.units(*sent)):,}"
    return (
        place.account,
        f"{sent.messages:,}",
        f"{sent.recipients:,}",
        left,
        _rounded(tariff.monthly_fee),
        _rounded(_mail(line)),
        f"{_rounded(total(line))} {currency}",
    )


def _as_json(month: str, lines: Sequence[Line]) -> str:
    accounts = {
        line.place.account: {
            "messages": line.sent.messages,
            "recipients": line.sent.recipients,
            "quota": line.tariff.quota,
            "fee": _exact(line.tariff.monthly_fee),
            "mail": _exact(_mail(line)),
            "total": _exact(total(line)),
            "currency": line.currency,
        }
        for line in lines
    }
    return json.dumps({"month": month, "accounts": accounts}, indent=2, ensure_ascii=False) + "\n"


def _mail(line: Line) -> Decimal:
    return line.tariff.cost(line.tariff.units(*line.sent))


def _sum(lines: Sequence[Line]) -> str:
    """In each currency; usually that is one."""
    sums: dict[str, Decimal] = {}
    for line in lines:
        sums[line.currency] = sums.get(line.currency, Decimal(0)) + total(line)
    return " + ".join(f"{_rounded(money)} {currency}".rstrip() for currency, money in sums.items())


def _exact(money: Decimal) -> str:
    return f"{money.normalize():f}"


def _rounded(money: Decimal) -> str:
    return f"{money.quantize(_CENT, ROUND_HALF_UP):,f}"
