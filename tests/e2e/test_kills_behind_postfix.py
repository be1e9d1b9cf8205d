"""Routers that are killed again and again, with a real mail server's queue in front of them."""

import random
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from smtp_router.testing import ScriptedDownstream
from tests.postfix import Postfix, require_sasl
from tests.running import PASSWORD, USER, Config, Serve
from tests.underload import KILL_AFTER_S, evenly

KILLS = 10
BATCH = 8
"""How many messages Postfix gets before each kill."""
FROM, TO = "sender@a.example", ("a@b.example", "b@b.example")

_ID = re.compile(rb"^Message-ID: <(\d+)@a\.example>\r$", re.MULTILINE)
_UNANSWERED = re.compile(r"lost connection with \S+ while sending (end of data|message body)")


def mail(number: int) -> bytes:
    return b"Message-ID: <%d@a.example>\r\nSubject: x\r\n\r\n" % number + 200 * b"hello\r\n"


def listening_on(port: int, *downstreams: ScriptedDownstream) -> Config:
    """Port 0: any; later on the one that Postfix knows."""
    return evenly(*downstreams) | {"listen": [{"addr": f"127.0.0.1:{port}"}]}


@pytest.mark.timeout(240)
def test_of_what_is_in_a_queue_nothing_is_lost_and_doubles_are_those_without_an_answer(
    tmp_path: Path,
) -> None:
    require_sasl("PLAIN")
    chance = random.Random(3)  # noqa: S311 - moments
    passwords = tmp_path / "passwords"
    with ScriptedDownstream(name="a") as a, ScriptedDownstream(name="b") as b:
        with Serve(listening_on(0, a, b), tmp_path) as router:
            port = router.port
        passwords.write_text(f"[127.0.0.1]:{port} {USER}:{PASSWORD}\n")
        settings = {
            "relayhost": f"[127.0.0.1]:{port}",
            "smtp_sasl_auth_enable": "yes",
            "smtp_sasl_password_maps": f"texthash:{passwords}",
            "smtp_sasl_security_options": "",
            "smtp_tls_security_level": "none",
        }
        with Postfix(**settings) as postfix:
            for round_ in range(KILLS):
                with Serve(listening_on(port, a, b), tmp_path) as router:
                    numbers = range(round_ * BATCH, (round_ + 1) * BATCH)
                    postfix.submit(FROM, TO, *map(mail, numbers))
                    postfix.flush()
                    router.log.wait("message")
                    time.sleep(chance.uniform(*KILL_AFTER_S) / 5)  # the moment is what is random
                    router.signal(signal.SIGKILL)
                    assert router.ended() == -signal.SIGKILL
            with Serve(listening_on(port, a, b), tmp_path):
                _empty(postfix)
            unanswered = sum(bool(_UNANSWERED.search(line)) for line in postfix.process.lines)
        copies = Counter(
            int(found[1]) for taken in a.delivered + b.delivered for found in _ID.finditer(taken.content)
        )
    assert copies.keys() == set(range(KILLS * BATCH))
    assert copies.total() - len(copies) <= unanswered
    assert all(taken.rcpt_tos == TO for taken in a.delivered + b.delivered)


def _empty(postfix: Postfix) -> None:
    """Have Postfix try until its queue is empty."""
    until = time.monotonic() + 60
    while postfix.queue():  # at the pace of the command
        assert time.monotonic() < until, postfix.queue()
        postfix.flush()
