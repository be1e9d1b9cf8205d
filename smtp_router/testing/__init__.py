"""The kit for tests of plugins, and of whatever else sends mail through smtp-router. Public.

    from smtp_router.testing import Answer, Hang, ScriptedDownstream

    with ScriptedDownstream({"mail": [Answer(451, "4.3.0 later"), Hang()]}) as downstream:
        ...  # let something send to downstream.addr
        downstream.wait_for(lambda: downstream.delivered)

`docs/testing.md` explains every name.
"""

from smtp_router.testing.downstream import ScriptedDownstream
from smtp_router.testing.records import Taken
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

__all__ = [
    "OK",
    "STAGES",
    "Answer",
    "Close",
    "Drip",
    "Hang",
    "Normal",
    "Plan",
    "Refuse",
    "Reset",
    "Say",
    "Script",
    "ScriptedDownstream",
    "Step",
    "Taken",
]
