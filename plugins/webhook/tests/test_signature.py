"""A request is signed as the specification says, and as the README verifies it."""

import base64
from types import SimpleNamespace
from typing import Any

import pytest

from smtp_router_webhook._signature import Signer
from tests.receiver import Receiver
from tests.telling import SECRET, Make, block, making, tell, verifies

make = pytest.fixture(making)


def test_the_signature_is_the_one_of_the_specification() -> None:
    fields = Signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").fields(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert fields == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


async def test_a_request_verifies_and_a_changed_one_does_not(make: Make) -> None:
    with Receiver() as receiver:
        await tell(make(receiver.url), 1)
    (request,) = receiver.requests
    assert verifies(request)
    assert not verifies(request._replace(body=request.body.replace(b"250", b"550")))
    assert not verifies(request, bytes(32))


async def test_of_several_secrets_each_verifies(make: Make) -> None:
    other = bytes(24)
    with Receiver() as receiver:
        secrets = [SECRET, f"whsec_{base64.b64encode(other).decode()}"]
        await tell(make(receiver.url, secret=secrets), 1)
    assert verifies(receiver.requests[0])
    assert verifies(receiver.requests[0], other)


async def test_the_readme_verifies_what_is_sent(make: Make) -> None:
    names: dict[str, Any] = {}
    exec(compile(block("python"), "README.md", "exec"), names)  # noqa: S102 - that is the test
    with Receiver() as receiver:
        await tell(make(receiver.url), 1)
    (request,) = receiver.requests
    sent = int(request.fields["webhook-timestamp"])
    names["time"] = SimpleNamespace(time=lambda: sent + 299)
    assert names["verify"](SECRET, request.fields, request.body)
    assert not names["verify"](SECRET, request.fields, request.body + b" ")
    assert not names["verify"](SECRET, {**request.fields, "webhook-id": "x"}, request.body)
    assert not names["verify"](SECRET, {}, request.body)
    for late in (-301, 301):
        names["time"] = SimpleNamespace(time=lambda late=late: sent + late)
        assert not names["verify"](SECRET, request.fields, request.body)
