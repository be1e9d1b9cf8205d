"""The algorithm rules in a router: the configuration of its README, and what goes where by it."""

import re
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from smtp_router.testing import Answer, ScriptedDownstream
from tests.running import PASSWORD, ROOT, USER, Config, Router, config

README = (ROOT / "plugins/rules/README.md").read_text("utf-8")
EXAMPLE = re.findall(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[0]

Downstreams = dict[str, ScriptedDownstream]


@pytest.fixture
def downstreams() -> Iterator[Downstreams]:
    """Those of the README."""
    (user,) = yaml.safe_load(EXAMPLE)["users"]
    with ExitStack() as stack:
        yield {entry["name"]: stack.enter_context(ScriptedDownstream()) for entry in user["downstreams"]}


def example(downstreams: Downstreams) -> Config:
    """The README's configuration, with these downstreams."""
    given: dict[str, Any] = yaml.safe_load(EXAMPLE)
    (user,) = given["users"]
    user |= {"email": USER, "password": PASSWORD}
    for entry in user["downstreams"]:
        entry["addr"] = downstreams[entry["name"]].addr
    return config(user)


def send(router: Router, *recipients: str, sender: str = "a@app.example", head: str = "") -> None:
    with smtplib.SMTP("127.0.0.1", router.port) as client:
        client.login(USER, PASSWORD)
        client.sendmail(sender, recipients, f"{head}Subject: x\r\n\r\nx\r\n")


def taken(downstreams: Downstreams) -> dict[str, int]:
    """How many messages each has taken since the last time."""
    counts = {name: len(one.delivered) for name, one in downstreams.items()}
    for one in downstreams.values():
        one.forget()
    return {name: count for name, count in counts.items() if count}


def test_the_readmes_rules_route(tmp_path: Path, downstreams: Downstreams) -> None:
    with Router(example(downstreams), tmp_path) as router:
        for _ in range(8):
            send(router, "x@other.example")
        assert taken(downstreams) == {"main": 6, "second": 2}  # by their weights
        send(router, "x@other.example", head="List-Unsubscribe: <https://a.example>\r\n")
        assert taken(downstreams) == {"bulk1": 1}
        send(router, "x@example.com", "y@mail.example.com")
        assert taken(downstreams) == {"inhouse": 1}
        for _ in range(4):
            send(router, "x@gmail.com", sender="news@app.example")
        assert taken(downstreams) in ({"main": 4}, {"second": 4})


def test_a_rule_gives_way_as_it_says(tmp_path: Path, downstreams: Downstreams) -> None:
    busy = Answer(451, "4.3.2 busy")
    with Router(example(downstreams), tmp_path) as router:
        downstreams["bulk1"].follow({"mail": [busy]})
        send(router, "x@other.example", head="List-Unsubscribe: <https://a.example>\r\n")
        assert taken(downstreams) == {"bulk2": 1}
        downstreams["bulk2"].follow({"mail": [busy]})
        send(router, "x@other.example", head="List-Unsubscribe: <https://a.example>\r\n")
        assert sum(taken(downstreams).values()) == 1
        downstreams["inhouse"].follow({"mail": [busy]})
        with pytest.raises(smtplib.SMTPDataError) as deferred:
            send(router, "x@example.com")
        assert deferred.value.smtp_code == 451
        assert taken(downstreams) == {}
