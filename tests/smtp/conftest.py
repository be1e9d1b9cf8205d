import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import trustme
import uvloop

from smtp_router.smtp.sender import SmtpSender
from tests.smtp.sending import LOCALHOST, Sending
from tests.witness import Witness

LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The standard library's loop, unless a test asks: `pytest.mark.asyncio(loop_factories=[...])`."""
    del config
    marker = item.get_closest_marker("asyncio")
    return LOOPS if marker and "loop_factories" in marker.kwargs else {"asyncio": LOOPS["asyncio"]}


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(LOCALHOST).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return path


@pytest.fixture
async def sending(ca_file: Path) -> AsyncIterator[Sending]:
    """A sender that leaves no task and no connection behind."""
    sender = SmtpSender()
    yield Sending(sender, ca_file)
    await sender.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def w() -> Iterator[Witness]:
    with Witness() as witness:
        yield witness
