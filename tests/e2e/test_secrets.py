"""No password is in any log, at any level, nor in what a client or a downstream hears of the other."""

import base64
import logging
from pathlib import Path

import pytest

from smtp_router.testing import Answer, Close, Script, ScriptedDownstream
from tests.running import USER, Router, config, user

INNER, OUTER, WRONG = "inner-9f3kq", "outer-7h2wm", "wrong-5t8zd"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"


def forms(password: str, name: str) -> list[str]:
    """A password, and what it looks like on the wire."""
    plain = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
    return [password, plain, base64.b64encode(password.encode()).decode()]


def test_no_password_is_in_any_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    failing: Script = {"auth": [Answer(535, f"5.7.8 {OUTER} is wrong"), Close()], "final": Answer(451)}
    with (
        ScriptedDownstream([failing, failing, {}], login=("router", OUTER)) as a,
        Router(
            config(
                user({"addr": a.addr, "name": "a", "user": "router", "pass": OUTER}, password=INNER),
                health={"failures": 1},
            ),
            tmp_path,
        ) as router,
    ):
        with router.client(password=INNER) as client:
            replies = [client.transaction(b"a@a.example", [b"b@b.example"], HELLO) for _ in range(3)]
        assert [reply.code for reply in replies] == [451, 451, 250]
        with router.connect() as client:
            client.command(b"EHLO c.example")
            assert client.login(USER, WRONG).code == 535
            assert client.command(b"AUTH LOGIN").code == 334
            assert client.command(base64.b64encode(USER.encode())).code == 334
            assert client.command(base64.b64encode(INNER.encode())).code == 235
        router.write(router.file.read_bytes()[:-3])
        router.reload()
        router.log.wait("not reloaded, the old configuration stays")
        logged = "\n".join(str(vars(record)) for record in caplog.records)
    assert "attempt" in logged
    assert "login failed" in logged
    for secret in (*forms(INNER, USER), *forms(WRONG, USER), *forms(OUTER, "router")):
        assert secret not in logged, secret
        assert secret not in str(replies)
