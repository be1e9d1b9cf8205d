import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from smtp_router.state.file import StateFile

# How long an example takes is the machine's business; a test that hangs has pytest's own limit.
settings.register_profile("smtp-router", deadline=None)
settings.load_profile("smtp-router")


@pytest.fixture(autouse=True)
def state_files_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close every state file that a test has made: Python 3.13 warns of those that nobody does."""
    made: list[StateFile] = []
    make = StateFile.__init__

    def remember(self: StateFile, path: Path) -> None:
        make(self, path)
        made.append(self)

    monkeypatch.setattr(StateFile, "__init__", remember)
    yield
    for state in made:
        asyncio.run(state.close())
