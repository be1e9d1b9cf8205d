"""A new connection resumes the TLS session of the last one, if it is to be verified in the same way."""

import ssl
from pathlib import Path

import pytest
import trustme

from smtp_router import Delivered, Stage
from tests.smtp.sending import LOCALHOST, ONCE, Sending, until
from tests.witness import Witness

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("implicit", [False, True])
async def test_a_new_connection_resumes_the_tls_session(
    version: ssl.TLSVersion, sending: Sending, ca: trustme.CA, *, implicit: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    ca.issue_cert(LOCALHOST).configure_cert(context)
    with Witness(tls=context, implicit_tls=implicit) as witness:
        for _ in range(3):
            assert isinstance(await sending.to(witness, more=ONCE), Delivered)
            await until(witness, lambda: witness.open_now == 0)
        assert witness.resumed == [False, True, True]


async def test_no_session_is_resumed_where_another_certificate_is_wanted(
    sending: Sending, server_tls: ssl.SSLContext, tmp_path: Path
) -> None:
    """What was verified by one authority says nothing to who trusts another."""
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    with Witness(tls=server_tls, implicit_tls=True) as witness:
        assert isinstance(await sending.to(witness, more=ONCE), Delivered)
        outcome = await sending.to(witness, more={**ONCE, "tls_ca": str(stranger)})
        assert (outcome.kind, outcome.stage) == ("deferred", Stage.TLS)
