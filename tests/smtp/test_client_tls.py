"""Which TLS session a new connection resumes; in memory, at times that the test says."""

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from smtp_router.smtp.client_tls import REUSED_S, ClientContexts, ClientTLS
from tests.smtp.sending import LOCALHOST


@pytest.fixture
async def client(ca: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    file = tmp_path / "authority.pem"
    ca.cert_pem.write_to_path(file)
    return await ClientContexts().get(ClientTLS(ca=file))


def server_of(ca: trustme.CA) -> ssl.SSLContext:
    """With keys of its own for tickets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(LOCALHOST).configure_cert(context)
    return context


def connect(client: ssl.SSLContext, server: ssl.SSLContext, now: float) -> tuple[bytes | None, bool]:
    """Connect once: the id of the session that was offered, and whether it was resumed."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=LOCALHOST)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        ours.do_handshake()
    offered = None
    with suppress(ValueError):  # none
        offered = ours.session.id if ours.session else None
    with pytest.raises(ssl.SSLWantReadError):
        theirs.do_handshake()
    ours.do_handshake()
    theirs.do_handshake()
    theirs.write(b"250 ready")
    assert ours.read(99) == b"250 ready"
    assert ours.session_reused == theirs.session_reused
    ours.remember(now)  # type: ignore[attr-defined]  # what `remember_session` calls
    return offered, theirs.session_reused is True


async def test_a_session_is_resumed_for_a_while_and_then_a_newer_one(
    client: ssl.SSLContext, ca: trustme.CA
) -> None:
    server = server_of(ca)
    times = (0, 1, REUSED_S - 1, REUSED_S, REUSED_S + 1, 2 * REUSED_S - 1)
    offered, resumed = zip(*(connect(client, server, now) for now in times), strict=True)
    assert resumed == (False, True, True, True, True, True)
    first, second = offered[1], offered[4]
    assert offered == (None, first, first, first, second, second)
    assert len({None, first, second}) == 3


async def test_where_a_session_is_not_resumed_twice_each_connection_brings_the_next(
    client: ssl.SSLContext, ca: trustme.CA
) -> None:
    first, second = server_of(ca), server_of(ca)
    servers = (first, first, second, second, second, second)
    offered, resumed = zip(*(connect(client, server, now=0) for server in servers), strict=True)
    assert resumed == (False, True, False, True, True, True)
    assert offered[1] == offered[2]
    assert len(set(offered[2:])) == 4


async def test_a_session_that_was_never_resumed_says_nothing_of_the_next(
    client: ssl.SSLContext, ca: trustme.CA
) -> None:
    first, second = server_of(ca), server_of(ca)
    servers = (first, second, second, second)
    offered, resumed = zip(*(connect(client, server, now=0) for server in servers), strict=True)
    assert resumed == (False, False, True, True)
    assert offered[2] == offered[3]
