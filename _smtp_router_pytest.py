"""The plugin for pytest that comes with smtp-router: fixtures for tests of plugins.

pytest imports it at each start, in every environment where smtp-router is installed. So it stands beside
the package, imports nothing of it until a test asks for a fixture, and leaves what is imported then to
be measured by coverage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from smtp_router.testing import RunningRouter, VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """A clock that the test moves."""
    from smtp_router.testing import VirtualClock  # noqa: PLC0415 - see above

    return VirtualClock()


@pytest.fixture
def router() -> type[RunningRouter]:
    """What makes routers: real ones, between a client and scripted downstreams."""
    from smtp_router.testing import RunningRouter  # noqa: PLC0415 - see above

    return RunningRouter
