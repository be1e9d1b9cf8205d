"""A plugin keeps to itself what it is told: no secret in its repr, in the log or in exceptions."""

import logging
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from smtp_router.core.errors import PluginError
from smtp_router.testing.checks import Case
from smtp_router.testing.plugins import make_plugin
from smtp_router.testing.targets import is_ready
from smtp_router.testing.values import make_message, unreachable

_TELLING: Final = re.compile(r"(?i)(pass|password|passwd|passphrase|secret|token|key|credential)s?$")
"""An option whose name ends like this holds a secret."""
CANARY: Final = "canary-in-the-content"
_MIN_LENGTH: Final = 4
"""Shorter texts may turn up anywhere by chance."""


async def tells_no_secret(case: Case) -> None:
    """No secret option and no content is in its repr, in what it logs, or in what it says of options."""
    secrets = {CANARY, *case.secrets, *_secrets_in(case.options)}
    with _records() as records:
        async with case.journeys() as journeys:
            plugin = journeys.plugin
            content = f"Subject: {CANARY}\r\n\r\n{CANARY}\r\n".encode()
            for number in range(20):
                message = make_message(id=f"message-{number}", content=content)
                await journeys.take(message, journeys.histories.downstreams(3), outcome=unreachable())
            texts = {"its repr": repr(plugin.instance), "its str": str(plugin.instance)}
    texts |= {f"the log, of {record.name}": _text(record) for record in records}
    texts |= {"what a hook raised": "\n".join(journeys.raised + journeys.strays)}
    texts |= dict(_refusals(case))
    for where, text in texts.items():
        for secret in secrets:
            assert secret not in text, f"a secret is in {where}: {text.replace(secret, '[SECRET]')}"


def _secrets_in(options: object, name: str = "") -> Iterator[str]:
    """The secrets in options, by the names of these, at any depth."""
    if isinstance(options, Mapping):
        for key, value in options.items():
            yield from _secrets_in(value, str(key))
    elif isinstance(options, list | tuple):
        for one in options:
            yield from _secrets_in(one, name)
    elif isinstance(options, str) and len(options) >= _MIN_LENGTH and _TELLING.search(name):
        yield options


def _refusals(case: Case) -> Iterator[tuple[str, str]]:
    """What it says when options are wrong: one too many, and each of them in two other ways."""
    if is_ready(case.target):
        return
    wrong: list[tuple[str, object]] = [("no_such_option", "x")]
    wrong += [(name, other) for name, value in case.options.items() for other in _spoilt(value)]
    for name, value in wrong:
        try:
            make_plugin(case.target, {**case.options, name: value}, seed=case.seed)
        except PluginError as error:
            yield f"the refusal of another {name}", "".join(traceback.format_exception(error))


def _spoilt(value: object) -> Iterator[object]:
    """The same in another type, and with other texts."""
    yield [[value]]
    yield _with_other_texts(value)


def _with_other_texts(value: object) -> object:
    match value:
        case str():
            return f"{value}\0("
        case Mapping():
            return {key: _with_other_texts(one) for key, one in value.items()}
        case list():
            return [_with_other_texts(one) for one in value]
        case _:
            return value


@contextmanager
def _records() -> Iterator[list[logging.LogRecord]]:
    """All that is logged meanwhile, at any level."""
    records: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler, root = Handler(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def _text(record: logging.LogRecord) -> str:
    trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
    return f"{record.getMessage()} {vars(record).get('fields', '')} {trace}"
