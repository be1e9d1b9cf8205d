"""The public API for plugin authors. Everything else is private.

    from smtp_router import hookimpl

    @hookimpl
    def select_downstream(downstreams):
        return downstreams[0]

`docs/hooks.md` explains every name.
"""

from smtp_router.core.clock import Clock
from smtp_router.core.composition import Algorithm, Algorithms
from smtp_router.core.downstream import Downstream, Health, HealthState
from smtp_router.core.errors import ConfigError, Defer, PluginError, Reject, SmtpRouterError
from smtp_router.core.headers import Headers
from smtp_router.core.message import TLS, Message, Session
from smtp_router.core.outcome import (
    Attempt,
    Deferred,
    Delivered,
    InDoubt,
    Outcome,
    Rejected,
    Stage,
)
from smtp_router.core.reply import Reply
from smtp_router.core.trace import note
from smtp_router.hooks.spec import hookimpl

__all__ = [
    "TLS",
    "Algorithm",
    "Algorithms",
    "Attempt",
    "Clock",
    "ConfigError",
    "Defer",
    "Deferred",
    "Delivered",
    "Downstream",
    "Headers",
    "Health",
    "HealthState",
    "InDoubt",
    "Message",
    "Outcome",
    "PluginError",
    "Reject",
    "Rejected",
    "Reply",
    "Session",
    "SmtpRouterError",
    "Stage",
    "hookimpl",
    "note",
]
