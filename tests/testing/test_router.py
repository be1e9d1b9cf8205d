"""The router of the kit: real mail, through an author's own algorithm, to scripted downstreams."""

import asyncio
import smtplib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from smtp_router import ConfigError, Downstream, Message, PluginError, hookimpl
from smtp_router.testing import Answer, Hang, Refuse, RunningRouter, ScriptedDownstream, VirtualClock

CONTENT = b"Subject: hello\r\n\r\n.hello\r\n"


class Picks:
    """Chooses by name; one of them has options."""

    def __init__(self, name: str = "b") -> None:
        self._name = name
        self.count = 0

    @hookimpl
    def select_downstream(self, downstreams: Sequence[Downstream]) -> Downstream:
        self.count += 1
        return next((one for one in downstreams if one.name == self._name), downstreams[0])

    @hookimpl
    def before_send(self, message: Message, downstream: Downstream) -> Message:
        value = f"{self.count} {downstream.options.get('weight')}"
        return message.with_header("X-Count", value)

    @hookimpl
    def check_downstreams(self, downstreams: Sequence[Downstream]) -> None:
        for one in downstreams:
            if one.options.get("weight") == "heavy":
                raise ValueError(f"downstream {one.name}: options.weight must be a number")


class Stamps:
    def __init__(self, text: str = "yes") -> None:
        self._text = text

    @hookimpl
    def before_send(self, message: Message) -> Message:
        return message.with_header("X-Stamp", self._text)


def test_mail_goes_by_an_algorithm_of_the_test_file(router: type[RunningRouter]) -> None:
    with router(Picks, downstream_options={"b": {"weight": 3}}) as running:
        reply = running.send(CONTENT, mail_from="", to=["b@b.example", "c@c.example"])
        assert (reply.code, reply.enhanced) == (250, "2.0.0")
        (taken,) = running.downstreams["b"].delivered
        assert (taken.mail_from, taken.rcpt_tos) == ("", ("b@b.example", "c@c.example"))
        assert taken.content.endswith(b"X-Count: 1 3\r\n" + CONTENT)
        assert running.downstreams["a"].messages == ()


def test_downstreams_do_as_their_scripts_say(router: type[RunningRouter]) -> None:
    unknown = Answer(550, "5.1.1 who is it")
    with router(downstreams={"a": {"accept": Refuse()}, "b": {"rcpt": unknown}}) as running:
        assert str(running.send()) == "550 5.1.1 <rcpt@b.example>: who is it"
        assert running.log.wait("attempt", downstream="a")["outcome"] == "deferred"
        running.downstreams["b"].follow({"mail": Answer(451, "4.3.0 later")})
        assert running.send().is_transient
        running.downstreams["b"].follow({})
        assert running.send().is_positive


def test_refusals_at_every_stage_are_replies(router: type[RunningRouter]) -> None:
    with router(settings={"max_message_bytes": 100_000, "max_recipients": 100}) as running:
        recipients = [f"b{number}@b.example" for number in range(101)]
        assert running.send(to=recipients).code == 452
        assert running.send(b"x" * 200_000 + b"\r\n").code == 552
        assert running.send(to="no address").code == 501
        assert running.send(mail_from="no address").code == 501
        assert running.send(to="ü@ü.example").code == 250


def test_further_plugins_can_be_given_in_every_way(router: type[RunningRouter], tmp_path: Path) -> None:
    file = tmp_path / "stamp.py"
    file.write_text(
        "from smtp_router import hookimpl\n"
        "@hookimpl\ndef before_send(message):\n    return message.with_header('X-File', '1')\n"
    )
    plugins = [
        Stamps,
        {"use": Stamps, "options": {"text": "no"}},
        file,
        {"use": "rewrite", "options": {"default": {"mail_from": "x@x.example"}}},
    ]
    with router("round_robin", plugins=plugins) as running:
        assert running.send(CONTENT).is_positive
        (taken,) = running.downstreams["a"].messages
        assert taken.mail_from == "x@x.example"
        assert taken.below_received == b"X-File: 1\r\nX-Stamp: no\r\nX-Stamp: yes\r\n" + CONTENT


def counts(running: RunningRouter) -> list[bytes]:
    taken = [one for downstream in running.downstreams.values() for one in downstream.messages]
    taken.sort(key=lambda one: one.at)
    return [one.below_received.split(b"\r\n")[0].removeprefix(b"X-Count: ") for one in taken]


def test_a_reload_keeps_what_has_not_changed_and_makes_the_rest_anew(
    router: type[RunningRouter],
) -> None:
    with router(Picks) as running:
        assert running.send().is_positive
        assert running.reload() == []
        assert running.send().is_positive
        assert running.reload(downstream_options={"b": {"weight": 3}}) == []
        assert running.send().is_positive
        assert running.reload(options={"name": "a"}) == []
        assert running.send().is_positive
        assert running.reload(algorithm=Picks) == []
        assert running.send().is_positive
        assert counts(running) == [b"1 None", b"2 None", b"3 3", b"1 None", b"1 None"]
        assert len(running.downstreams["a"].messages) == 2


def test_a_reload_says_what_is_wrong_and_changes_nothing(router: type[RunningRouter]) -> None:
    with router(Picks) as running:
        (problem,) = running.reload(downstream_options={"a": {"weight": "heavy"}})
        assert "downstream a: options.weight must be a number" in problem
        assert running.send().is_positive
        assert counts(running) == [b"1 None"]
        (problem,) = running.reload(downstream_options={"a": {"weight": 1}}, settings={"drain": 3})
        assert "drain" in problem
        assert running.reload(settings={"drain_s": 3}) == []


def test_what_cannot_be_used_is_said_at_once(router: type[RunningRouter]) -> None:
    with (
        pytest.raises(ConfigError, match=r"algorithm\.options\.nome: Picks: is not an option"),
        router(Picks, {"nome": "a"}),
    ):
        pass
    with pytest.raises(PluginError, match="has no hook"), router(RunningRouter):
        pass
    other = type("Stamps", (Picks,), {})
    with (
        pytest.raises(ValueError, match="two plugins have the same name"),
        router(other, plugins=[Stamps]),
    ):
        pass


def test_a_downstream_of_the_tests_own_stays_after_the_router(router: type[RunningRouter]) -> None:
    with ScriptedDownstream(login=("user", "secret")) as downstream:
        with router(downstreams={"mine": downstream}) as running:
            assert running.send().is_positive
        with smtplib.SMTP("127.0.0.1", downstream.port) as client:
            assert client.noop()[0] == 250
        assert downstream.messages[0].login == "user"


def test_what_hangs_does_not_keep_the_router_from_stopping(router: type[RunningRouter]) -> None:
    with router(downstreams={"a": {"final": Hang()}}) as running:
        client = running.client()
        client.mail("a@a.example")
        client.rcpt("b@b.example")
        assert client.docmd("DATA")[0] == 354
        client.send(CONTENT.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        running.downstreams["a"].wait_for(lambda: running.downstreams["a"].hanging)
    client.close()
    assert running.log.find("stopped")
    assert not running.log.find("transactions were still running, and are cut off")


async def test_a_coroutine_can_send(router: type[RunningRouter]) -> None:
    with router() as running:
        replies = await asyncio.gather(*[asyncio.to_thread(running.send) for _ in range(5)])
        assert [reply.code for reply in replies] == [250] * 5


def test_the_plugin_for_pytest_loads_nothing_of_ours_before_a_test_asks_for_it() -> None:
    """Every pytest of an environment with smtp-router imports it, before coverage begins to measure."""
    code = """\
        import sys, pytest
        before = set(sys.modules)
        import _smtp_router_pytest
        print(sorted(set(sys.modules) - before))
        """
    result = subprocess.run(  # noqa: S603 - the interpreter and the words above
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True
    )
    assert result.stdout == "['_smtp_router_pytest']\n"


def test_pytest_finds_the_plugin_and_its_fixtures(
    request: pytest.FixtureRequest, clock: VirtualClock, router: type[RunningRouter]
) -> None:
    assert request.config.pluginmanager.has_plugin("smtp_router")
    assert isinstance(clock, VirtualClock)
    assert router is RunningRouter
