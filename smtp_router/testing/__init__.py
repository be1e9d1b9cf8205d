"""The kit for tests of plugins, and of whatever else sends mail through smtp-router. Public.

    from smtp_router.testing import assert_share, conformance
    from weighted import Weighted

    test_conformance = conformance(Weighted)

    def test_half_of_it_each() -> None:
        assert_share(Weighted, {"a": 0.5, "b": 0.5})

`docs/testing.md` explains every name.
"""

from smtp_router.testing.clock import VirtualClock
from smtp_router.testing.conformance import conformance
from smtp_router.testing.downstream import ScriptedDownstream
from smtp_router.testing.log import RouterLog
from smtp_router.testing.plugins import LoadedPlugin, make_plugin
from smtp_router.testing.records import Taken
from smtp_router.testing.router import RunningRouter
from smtp_router.testing.shares import assert_share
from smtp_router.testing.steps import (
    OK,
    STAGES,
    Answer,
    Close,
    Drip,
    Hang,
    Normal,
    Plan,
    Refuse,
    Reset,
    Say,
    Script,
    Step,
)
from smtp_router.testing.values import (
    deferred,
    delivered,
    in_doubt,
    make_attempt,
    make_downstream,
    make_message,
    make_reply,
    rejected,
    unreachable,
)

__all__ = [
    "OK",
    "STAGES",
    "Answer",
    "Close",
    "Drip",
    "Hang",
    "LoadedPlugin",
    "Normal",
    "Plan",
    "Refuse",
    "Reset",
    "RouterLog",
    "RunningRouter",
    "Say",
    "Script",
    "ScriptedDownstream",
    "Step",
    "Taken",
    "VirtualClock",
    "assert_share",
    "conformance",
    "deferred",
    "delivered",
    "in_doubt",
    "make_attempt",
    "make_downstream",
    "make_message",
    "make_plugin",
    "make_reply",
    "rejected",
    "unreachable",
]
