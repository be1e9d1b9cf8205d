"""Ask, chain and tell: who is called with what, and what becomes of a plugin's faults."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from smtp_router import (
    Attempt,
    Defer,
    Downstream,
    Health,
    Message,
    PluginError,
    Reject,
    hookimpl,
)
from smtp_router.core.errors import Refusal
from smtp_router.hooks.call import Chains
from smtp_router.hooks.plugin import Plugin, Validator, chains
from tests.support import make_attempt, make_downstream, make_message

A, B, C = make_downstream("a"), make_downstream("b"), make_downstream("c")
MESSAGE = make_message()
ATTEMPT = make_attempt()
VALIDATOR = Validator()


def compiled(*plugins: object, timeout_s: float = 5.0) -> Chains:
    """The hooks of these objects, each named as its class."""
    return chains(
        tuple(
            Plugin(
                name=type(plugin).__name__,
                source="",
                identity="",
                options={},
                calls=VALIDATOR.calls(type(plugin).__name__, plugin),
            )
            for plugin in plugins
        ),
        timeout_s,
    )


async def select(*plugins: object, timeout_s: float = 5.0, **more: Any) -> Downstream | None:  # noqa: ANN401
    return await compiled(*plugins, timeout_s=timeout_s).select_downstream(MESSAGE, [A, B], [], **more)


async def before(*plugins: object) -> Message:
    return await compiled(*plugins).before_send(MESSAGE, A)


class Choose:
    """An algorithm that returns one thing, whatever that is, and counts how often it was asked."""

    def __init__(self, choice: object) -> None:
        self.choice = choice
        self.asked = 0

    @hookimpl
    def select_downstream(self) -> Any:  # noqa: ANN401 - the point of it
        self.asked += 1
        return self.choice


class Change:
    """Returns from before_send what it is made with, and remembers what it saw."""

    def __init__(self, change: object) -> None:
        self.change = change
        self.seen: list[Message] = []

    @hookimpl
    def before_send(self, message: Message) -> Any:  # noqa: ANN401 - the point of it
        self.seen.append(message)
        return self.change(message) if callable(self.change) else self.change


class Do:
    """Implements all hooks by raising, or by awaiting, what it is made with."""

    def __init__(self, fault: object) -> None:
        self.fault = fault

    async def _do(self) -> None:
        if isinstance(self.fault, BaseException):
            raise self.fault
        assert callable(self.fault)
        await self.fault()

    @hookimpl
    async def select_downstream(self) -> None:
        await self._do()

    @hookimpl
    async def before_send(self) -> None:
        await self._do()

    @hookimpl
    async def after_send(self) -> None:
        await self._do()


class DoNow:
    """The same by `def`."""

    def __init__(self, fault: BaseException) -> None:
        self.fault = fault

    @hookimpl
    def select_downstream(self) -> None:
        raise self.fault

    @hookimpl
    def before_send(self) -> None:
        raise self.fault

    @hookimpl
    def after_send(self) -> None:
        raise self.fault


# Arguments.


async def test_a_hook_takes_any_subset_of_its_arguments_in_any_order() -> None:
    seen: dict[str, tuple[object, ...]] = {}

    class Nothing:
        @hookimpl
        def select_downstream(self) -> None:
            seen["nothing"] = ()

    class One:
        @hookimpl
        def select_downstream(self, attempts: object) -> None:
            seen["one"] = (attempts,)

    class Two:
        @hookimpl
        def select_downstream(self, downstreams: object, message: object) -> None:
            seen["two"] = (downstreams, message)

    class Turned:
        @hookimpl
        async def select_downstream(
            self, downstreams: object, attempts: object, message: object
        ) -> None:
            seen["turned"] = (downstreams, attempts, message)

    class Static:
        @staticmethod
        @hookimpl
        def select_downstream(message: object) -> None:
            seen["static"] = (message,)

    class Inherited(One):
        pass

    await compiled(Nothing(), One(), Two(), Turned(), Static(), Inherited()).select_downstream(
        MESSAGE, [A, B], [ATTEMPT]
    )
    assert seen == {
        "nothing": (),
        "one": ([ATTEMPT],),
        "two": ([A, B], MESSAGE),
        "turned": ([A, B], [ATTEMPT], MESSAGE),
        "static": (MESSAGE,),
    }


async def test_a_hook_may_have_another_name_than_its_function() -> None:
    class Named:
        @hookimpl(specname="select_downstream")
        def pick(self, downstreams: Sequence[Downstream]) -> Downstream:
            return downstreams[1]

    assert await select(Named()) is B


# Ask.


async def test_the_first_that_chooses_wins_and_the_rest_are_not_asked() -> None:
    plugins = [Choose(None), Choose(B), Choose(A)]
    assert await select(*plugins) is B
    assert [plugin.asked for plugin in plugins] == [1, 1, 0]


async def test_nobody_has_an_opinion() -> None:
    assert await select() is None
    assert await select(Choose(None), Choose(None)) is None


async def test_def_and_async_def_are_asked_alike() -> None:
    class Later:
        def __init__(self, choice: Downstream | None) -> None:
            self.choice = choice

        @hookimpl
        async def select_downstream(self) -> Downstream | None:
            await asyncio.sleep(0)
            return self.choice

    plugins = [Later(None), Choose(None), Later(B), Choose(A)]
    assert await select(*plugins) is B


async def test_of_those_behind_one_that_takes_its_time_the_one_at_fault_is_named() -> None:
    class Next(Choose):
        pass

    with pytest.raises(PluginError, match=r"^Next: "):
        await select(Do(lambda: asyncio.sleep(0)), Next(C))

    class Other(Change):
        pass

    with pytest.raises(PluginError, match=r"^Other: "):
        await before(Do(lambda: asyncio.sleep(0)), Other(MESSAGE.replace(rcpt_tos=())))


async def test_what_a_def_returns_is_awaited_if_it_can_be() -> None:
    class Future:
        @hookimpl
        def select_downstream(self) -> Any:  # noqa: ANN401 - the point of it
            future = asyncio.get_running_loop().create_future()
            future.set_result(B)
            return future

    assert await select(Future()) is B


async def test_the_chosen_one_is_as_it_is_offered_now() -> None:
    kept = make_downstream("b", host="elsewhere.example", health=Health(failed=9))
    assert await select(Choose(kept)) is B


@pytest.mark.parametrize(
    ("choice", "what"),
    [
        (C, "c"),
        (make_downstream(""), ""),
        ("a", "a str"),
        (0, "a int"),
        (False, "a bool"),
        ("", "a str"),
        ([A], "a list"),
        (Downstream, "a type"),
        (ATTEMPT, "a Attempt"),
    ],
    ids=repr,
)
async def test_what_was_not_offered_is_the_plugins_fault(choice: object, what: str) -> None:
    last = Choose(A)
    with pytest.raises(PluginError) as caught:
        await select(Choose(None), Choose(choice), last)
    assert str(caught.value) == (
        f"Choose: select_downstream returned {what}, which was not offered (offered: a, b)"
    )
    assert last.asked == 0


# Chain.


async def test_each_sees_what_the_one_before_it_made_however_long_that_takes() -> None:
    class Later:
        @hookimpl
        async def before_send(self, message: Message) -> Message:
            await asyncio.sleep(0)
            return message.with_header("X-Later", "1")

    last = Change(lambda message: message.with_header("X-Last", "1"))
    changed = await before(Change(None), Later(), last, Later())
    assert changed.content == b"X-Later: 1\r\nX-Last: 1\r\nX-Later: 1\r\n" + MESSAGE.content


async def test_each_sees_what_the_one_before_it_made() -> None:
    plugins = [
        Change(lambda message: message.with_header("X-One", "1")),
        Change(None),
        Change(lambda message: message.with_header("X-Two", "2")),
    ]
    changed = await before(*plugins)
    assert changed.content == b"X-Two: 2\r\nX-One: 1\r\n" + MESSAGE.content
    assert plugins[0].seen == [MESSAGE]
    assert plugins[1].seen == plugins[2].seen == [MESSAGE.with_header("X-One", "1")]


async def test_without_a_change_the_message_is_the_same() -> None:
    assert await before() is MESSAGE
    assert await before(Change(None)) is MESSAGE


@pytest.mark.parametrize(
    ("change", "kind"),
    [("text", "str"), (b"bytes", "bytes"), (True, "bool"), (0, "int"), (MESSAGE.content, "bytes")],
)
async def test_what_is_no_message_is_the_plugins_fault(change: object, kind: str) -> None:
    last = Change(None)
    with pytest.raises(PluginError) as caught:
        await before(Change(change), last)
    assert str(caught.value) == f"Change: before_send returned a {kind}, not a Message or None"
    assert last.seen == []


@pytest.mark.parametrize(
    "changes",
    [
        {"mail_from": ""},
        {"mail_from": "bounces+1=b.example@a.example"},
        {"mail_from": '"quoted local"@a.example'},
        {"mail_from": "grüße@bücher.example"},
        {"rcpt_tos": ("x@b.example", "y@[192.0.2.1]", "postmaster")},
        {"content": b""},
        {"mail_from": "x@y.example", "rcpt_tos": ("z@y.example",), "content": b"other"},
    ],
    ids=str,
)
async def test_a_well_formed_envelope_is_taken_as_it_is(changes: dict[str, Any]) -> None:
    assert await before(Change(MESSAGE.replace(**changes))) == MESSAGE.replace(**changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"content": "text"}, "content of type str, not bytes"),
        ({"content": bytearray(b"x")}, "content of type bytearray, not bytes"),
        ({"content": None}, "content of type NoneType, not bytes"),
        ({"rcpt_tos": ()}, "no recipient"),
        ({"rcpt_tos": ["x@b.example"]}, "rcpt_tos of type list, not a tuple"),
        ({"rcpt_tos": "x@b.example"}, "rcpt_tos of type str, not a tuple"),
        ({"rcpt_tos": None}, "rcpt_tos of type NoneType, not a tuple"),
        *(
            ({"mail_from": address}, "a malformed mail_from")
            for address in (
                "a",
                "a@",
                "<a@b.example>",
                "a b@c.example",
                "a@b.example> SIZE=1",
                "a@b.example>\r\nRCPT TO:<evil@c.example",
                "a@b.example\r\n",
                "a@b.example\n",
                "a\0@b.example",
                "@x:a@b.example",
                "a\ud800@b.example",
                "=?utf-8?q?a=0d=0ag:victim=40evil.com?=@good.com",
                "x" * 300 + "@b.example",
                None,
                b"a@b.example",
            )
        ),
        *(
            ({"rcpt_tos": ("x@b.example", address)}, "a malformed recipient")
            for address in ("", "a", "a@b.example\r\nDATA", "<a@b.example>", None, b"a@b.example", ())
        ),
    ],
    ids=repr,
)
async def test_an_envelope_that_is_not_well_formed_is_the_plugins_fault(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(PluginError) as caught:
        await before(Change(MESSAGE.replace(**changes)))
    assert str(caught.value) == f"Change: before_send returned a message with {problem}"


async def test_the_plugin_that_broke_the_envelope_is_named_and_not_the_next() -> None:
    class Next(Change):
        pass

    with pytest.raises(PluginError, match=r"^Change: "):
        await before(Change(MESSAGE.replace(rcpt_tos=())), Next(None))


# Tell.


async def test_everybody_is_told_in_order() -> None:
    told: list[tuple[str, Message, Attempt]] = []

    class First:
        @hookimpl
        def after_send(self, message: Message, attempt: Attempt) -> str:
            told.append(("first", message, attempt))
            return "nobody asked"

    class Second:
        @hookimpl
        async def after_send(self, attempt: Attempt, message: Message) -> None:
            await asyncio.sleep(0)
            told.append(("second", message, attempt))

    await compiled(First(), Second()).after_send(MESSAGE, ATTEMPT)
    assert told == [("first", MESSAGE, ATTEMPT), ("second", MESSAGE, ATTEMPT)]


FAULTS = [
    ValueError("secret"),
    RuntimeError(),
    ExceptionGroup("several", [ValueError("secret")]),
    BaseException("secret"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError("secret"),
    TimeoutError("secret"),
    AssertionError("secret"),
    MemoryError(),
    RecursionError("secret"),
    PluginError("another", "secret"),
]


@pytest.mark.parametrize("fault", [*FAULTS, Defer("later"), Reject("no")], ids=repr)
@pytest.mark.parametrize("kind", [Do, DoNow])
async def test_whatever_one_does_the_others_are_told_and_it_is_logged(
    kind: type[Do | DoNow], fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    class Good:
        @hookimpl
        def after_send(self) -> None:
            told.append("good")

    await compiled(Good(), kind(fault), Good()).after_send(MESSAGE, ATTEMPT)
    assert told == ["good", "good"]
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "plugin failed")
    assert vars(record)["fields"] == {
        "id": "message-1",
        "plugin": kind.__name__,
        "hook": "after_send",
    }
    assert record.exc_info


# Faults.


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("kind", [Do, DoNow])
async def test_whatever_is_raised_is_the_plugins_fault(
    kind: type[Do | DoNow], fault: BaseException
) -> None:
    with pytest.raises(PluginError) as asked:
        await select(kind(fault))
    with pytest.raises(PluginError) as chained:
        await before(kind(fault))
    for caught, hook in [(asked, "select_downstream"), (chained, "before_send")]:
        assert str(caught.value) == f"{kind.__name__}: {hook} raised {type(fault).__name__}"
        assert caught.value.__cause__ is fault


async def test_the_end_of_an_iterator_is_the_plugins_fault() -> None:
    with pytest.raises(PluginError, match=r"raised StopIteration$"):
        await select(DoNow(StopIteration()))
    with pytest.raises(PluginError, match=r"raised RuntimeError$"):  # which Python makes of it
        await select(Do(StopIteration()))


@pytest.mark.parametrize(
    "refusal", [Defer("later"), Reject("no"), Defer("x", code=450, enhanced="4.2.1")], ids=str
)
@pytest.mark.parametrize("kind", [Do, DoNow])
async def test_a_refusal_goes_through_and_the_rest_are_not_called(
    kind: type[Do | DoNow], refusal: Refusal
) -> None:
    chooser, changer = Choose(A), Change(None)
    with pytest.raises(type(refusal)) as asked:
        await select(kind(refusal), chooser)
    with pytest.raises(type(refusal)) as chained:
        await before(kind(refusal), changer)
    assert asked.value is chained.value is refusal
    assert chooser.asked == 0
    assert changer.seen == []


async def test_a_refusal_without_its_reply_is_a_fault() -> None:
    class Half(Defer):
        def __init__(self) -> None:
            pass

    with pytest.raises(PluginError, match=r"^DoNow: select_downstream raised Half$"):
        await select(DoNow(Half()))


async def test_a_refusal_that_cannot_be_made_is_a_fault() -> None:
    class Wrong:
        @hookimpl
        def select_downstream(self) -> None:
            raise Defer("x", code=550, enhanced="5.7.1")

    with pytest.raises(PluginError, match=r"^Wrong: select_downstream raised ValueError$"):
        await select(Wrong())


# Time.


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def stubborn() -> None:
    """Takes the first cancellation for something else."""
    try:
        await forever()
    except asyncio.CancelledError:
        return


async def test_a_hook_that_hangs_is_given_up() -> None:
    with pytest.raises(PluginError, match=r"^Do: select_downstream took too long$"):
        await select(Do(forever), timeout_s=0.001)


async def test_a_hook_that_hangs_does_not_keep_others_from_being_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []

    class Good:
        @hookimpl
        def after_send(self) -> None:
            told.append("good")

    await compiled(Do(forever), Good(), timeout_s=0.001).after_send(MESSAGE, ATTEMPT)
    assert told == ["good"]
    assert "after_send took too long" in caplog.text


async def test_a_hook_that_swallows_its_timeout_has_still_timed_out_or_answered() -> None:
    assert await select(Do(stubborn), timeout_s=0.001) is None


async def test_all_hooks_together_have_no_longer_than_the_message() -> None:
    with pytest.raises(PluginError, match=r"^Do: select_downstream took too long$"):
        await select(Choose(None), Do(forever), within_s=0.001)
    with pytest.raises(PluginError, match=r"^Do: before_send took too long$"):
        await compiled(Do(forever)).before_send(MESSAGE, A, within_s=0.001)


async def test_a_plugins_own_timeout_is_its_own_fault() -> None:
    async def own() -> None:
        async with asyncio.timeout(0):
            await forever()

    with pytest.raises(PluginError, match=r"^Do: select_downstream raised TimeoutError$"):
        await select(Do(own))


async def test_a_client_that_goes_away_is_no_fault_of_the_plugins() -> None:
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await forever()

    task = asyncio.create_task(select(Do(hang)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# What is compiled.


def test_only_those_that_have_a_hook_are_in_its_chain() -> None:
    compiled_ = compiled(Choose(A), Change(None), Do(forever))
    assert [call.plugin for call in compiled_.select] == ["Choose", "Do"]
    assert [call.plugin for call in compiled_.before] == ["Change", "Do"]
    assert [call.plugin for call in compiled_.after] == ["Do"]
