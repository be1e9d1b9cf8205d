import fnmatch
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtp_router import Defer, Message, PluginError
from smtp_router.core.trace import Trace, speaking
from smtp_router.testing import (
    LoadedPlugin,
    conformance,
    make_attempt,
    make_downstream,
    make_message,
    make_plugin,
)
from smtp_router_rules import Rules
from smtp_router_rules._domains import Addresses, Domains, canonical, pattern
from smtp_router_rules._patterns import Glob

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
EXAMPLE = re.findall(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[0]
ASYNC = """
from smtp_router import hookimpl

class Choice:
    def __init__(self, answer: str) -> None:
        self.answer = answer

    @hookimpl
    async def select_downstream(self, downstreams):
        return next((one for one in downstreams if one.name == self.answer), None)
"""


def rule(condition: object, to: object = "a", **more: object) -> dict[str, object]:
    return {"if": condition, "to": to, **more}


ALWAYS = rule({"user": "*"})


def make(*rules: Mapping[str, object], **options: object) -> LoadedPlugin:
    given = {"rules": list(rules), "default": "c", **options}
    return make_plugin(Rules, given, downstreams=[make_downstream(name) for name in "abc"])


async def route(
    plugin: LoadedPlugin, message: Message | None = None, names: str = "abc", tried: str = ""
) -> str | None:
    offered = [make_downstream(name) for name in names]
    attempts = [make_attempt(name) for name in tried]
    found = await plugin.select_downstream(offered, message=message or make_message(), attempts=attempts)
    return found.name if found else None


async def holds(condition: object, message: Message | None = None, **more: object) -> bool:
    """Whether a rule with this condition has the message."""
    return await route(make(rule(condition, **more)), message) == "a"


def notes(plugin: LoadedPlugin, message: Message, names: str = "abc") -> list[str | None]:
    trace = Trace(message)
    trace.begin([], [])
    speaking.set((trace, ("rules", "select_downstream")))
    plugin.instance.select_downstream(message, [make_downstream(name) for name in names], ())
    speaking.set(None)
    return [text for _, text, _ in trace.rounds[-1].words]


def to(*recipients: str, **more: Any) -> Message:  # noqa: ANN401 - fields of a message
    return make_message(rcpt_tos=recipients, **more)


test_conformance = conformance(
    Rules,
    {
        "rules": [
            rule({"recipient_site": "b.com"}, {"use": "weighted"}),
            rule({"any": [{"size": "> 1k"}, {"header": {"subject": "*a*"}}]}, {"use": "round_robin"}),
            rule({"sender": "*@*"}, {"use": "sticky"}, **{"else": "next"}),
        ]
    },
)

# Order, and what follows when a rule's downstreams are not offered


async def test_the_first_rule_that_holds_decides() -> None:
    plugin = make(rule({"user": "nobody"}, "a"), rule({"user": "*"}, "b"), rule({"user": "*"}, "a"))
    assert await route(plugin) == "b"


async def test_without_a_rule_that_holds_default_decides() -> None:
    nothing = rule({"user": "nobody"})
    assert await route(make(nothing)) == "c"
    assert await route(make(nothing, default=["b", "c"])) == "b"
    assert await route(make(nothing, default={"use": "failover"})) == "a"
    assert await route(make(nothing, default=None)) == "a"
    assert await route(make(nothing, default="cheap", tiers={"cheap": ["b"]})) == "b"


@pytest.mark.parametrize(
    ("otherwise", "goes"), [({}, "c"), ({"else": "default"}, "c"), ({"else": "next"}, "b")]
)
async def test_what_is_not_offered_gives_way(otherwise: dict[str, object], goes: str) -> None:
    plugin = make(rule({"user": "*"}, "a", **otherwise), rule({"user": "*"}, "b"))
    assert await route(plugin, names="abc") == "a"
    assert await route(plugin, names="bc", tried="a") == goes


async def test_mail_that_must_not_go_another_way_is_deferred() -> None:
    plugin = make(rule({"user": "*"}, "a", **{"else": "defer"}), rule({"user": "*"}, "b"))
    assert await route(plugin) == "a"
    with pytest.raises(Defer) as refused:
        await route(plugin, names="bc")
    assert str(refused.value.reply).startswith("451 4.4.1 ")


async def test_what_default_does_not_name_is_not_used() -> None:
    assert await route(make(rule({"user": "nobody"}), default="a"), names="bc") is None


# Where to


async def test_of_a_list_the_first_that_is_offered_has_it() -> None:
    plugin = make(rule({"user": "*"}, ["b", "a"]))
    assert await route(plugin) == "b"
    assert await route(plugin, names="ac") == "a"
    assert await route(plugin, names="c") == "c"


async def test_a_tier_may_have_an_algorithm_and_its_state_is_one() -> None:
    tiers = {"both": {"downstreams": ["b", "a"], "use": "round_robin"}}
    plugin = make(rule({"size": "> 9"}, "both"), rule({"user": "*"}, "both"), tiers=tiers)
    small = make_message(content=b"\r\n")
    assert [await route(plugin, one) for one in (None, small, None, small)] == ["b", "a", "b", "a"]


async def test_an_algorithm_has_all_that_are_offered() -> None:
    plugin = make(rule({"user": "*"}, {"use": "round_robin"}))
    assert [await route(plugin) for _ in range(4)] == ["a", "b", "c", "a"]


async def test_an_algorithm_may_be_async_and_have_no_opinion(tmp_path: Path) -> None:
    (tmp_path / "choice.py").write_text(ASYNC)

    def choice(answer: str) -> dict[str, object]:
        return {"use": str(tmp_path / "choice.py"), "options": {"answer": answer}}

    following = rule({"user": "*"}, choice("b"))
    for answer, otherwise, goes in [("a", "default", "a"), ("x", "default", "c"), ("x", "next", "b")]:
        plugin = make(rule({"user": "*"}, choice(answer), **{"else": otherwise}), following)
        assert await route(plugin) == goes
    plugin = make(rule({"user": "*"}, choice("x"), **{"else": "next"}), rule({"user": "*"}, "b"))
    assert await route(plugin) == "b"
    with pytest.raises(Defer):
        await route(make(rule({"user": "*"}, choice("x"), **{"else": "defer"}), following))
    nested = {"rules": [following], "default": "a"}
    assert await route(make(rule({"user": "*"}, {"use": "rules", "options": nested}))) == "b"


async def test_a_thousand_rules_that_give_way_end(tmp_path: Path) -> None:
    (tmp_path / "choice.py").write_text(ASYNC)
    nobody = {"use": str(tmp_path / "choice.py"), "options": {"answer": "x"}}
    tiers = {"none": {"downstreams": ["b"], **nobody}}
    plugin = make(*[rule({"user": "*"}, "none", **{"else": "next"})] * 1000, tiers=tiers)
    assert await route(plugin) == "c"


# Addresses and domains


@pytest.mark.parametrize(
    ("condition", "fits", "does_not"),
    [
        ("news@a.example", ["news@a.example", "NEWS@A.Example"], ["news@b.example", "xnews@a.example"]),
        ("*@a.example", ["x@a.example", '"a@b"@a.example'], ["x@b.a.example", ""]),
        ("bounce-*@*.example", ["bounce-1@a.example", "bounce-@b.a.example"], ["bounce@a.example"]),
        ("*@*", ["x@y.example", "x@[192.0.2.1]"], [""]),
        ("<>", [""], ["x@y.example"]),
        (["<>", "x@y.example"], ["", "x@y.example"], ["y@y.example"]),
        ("x@[192.0.2.1]", ["x@[192.0.2.1]"], ["x@192.0.2.1"]),
        ("\u00fc@b\u00fccher.example", ["\u00dc@xn--bcher-kva.example"], ["u@b\u00fccher.example"]),
    ],
)
async def test_senders(condition: object, fits: list[str], does_not: list[str]) -> None:
    for address in (*fits, *does_not):
        found = await holds({"sender": condition}, make_message(mail_from=address))
        assert found is (address in fits), address


@pytest.mark.parametrize(
    ("condition", "fits", "does_not"),
    [
        ("gmail.com", ["gmail.com", "GMail.COM"], ["mail.gmail.com", "xgmail.com", "gmail.com.example"]),
        ("*.google.com", ["a.google.com", "b.a.google.com"], ["google.com", "agoogle.com"]),
        ("mx?.a.example", ["mx1.a.example"], ["mx.a.example", "mx12.a.example"]),
        ("*.co.*", ["a.co.uk", "a.co.b.example"], ["co.uk", "a.com.uk"]),
        ("B\u00dcCHER.example", ["b\u00fccher.example", "xn--bcher-kva.example"], ["bucher.example"]),
        ("xn--bcher-kva.example", ["b\u00fccher.example"], ["bcher.example"]),
        ("*.b\u00fccher.example", ["a.XN--BCHER-KVA.example"], ["b\u00fccher.example"]),
        ("stra\u00dfe.example", ["xn--strae-oqa.example"], ["strasse.example"]),
        (["a.example", "b.example"], ["a.example", "b.example"], ["c.example"]),
        ("a.example.", ["a.example"], []),
    ],
)
async def test_domains(condition: object, fits: list[str], does_not: list[str]) -> None:
    for name in ("recipient_domain", "sender_domain"):
        for domain in (*fits, *does_not):
            message = to(f"x@{domain}", mail_from=f"y@{domain}")
            assert await holds({name: condition}, message) is (domain in fits), domain


@pytest.mark.parametrize(
    ("site", "fits", "does_not"),
    [
        ("example.co.uk", ["example.co.uk", "a.b.example.co.uk"], ["co.uk", "xexample.co.uk", "uk"]),
        ("a.github.io", ["a.github.io", "b.a.github.io"], ["b.github.io", "github.io"]),
        ("b\u00fccher.de", ["mx.xn--bcher-kva.de"], ["b\u00fccher.com"]),
    ],
)
async def test_sites(site: str, fits: list[str], does_not: list[str]) -> None:
    for domain in (*fits, *does_not):
        assert await holds({"recipient_site": site}, to(f"x@{domain}")) is (domain in fits), domain
        message = make_message(mail_from=f"x@{domain}")
        assert await holds({"sender_site": site}, message) is (domain in fits), domain


async def test_the_null_sender_has_no_domain() -> None:
    for condition in ({"sender_domain": "*"}, {"sender_domain": "*.*"}, {"sender_site": "a.com"}):
        assert not await holds(condition, make_message(mail_from=""))


async def test_a_bare_postmaster_has_no_domain() -> None:
    assert not await holds({"recipient_domain": "*"}, to("Postmaster"))
    assert await holds({"recipient": "postmaster@*"}, to("Postmaster"))
    assert not await holds({"recipient": "*@postmaster"}, to("Postmaster"))


@pytest.mark.parametrize("name", ["recipient", "recipient_domain", "recipient_site"])
async def test_all_recipients_have_to_fit_unless_any_is_enough(name: str) -> None:
    condition = {name: "*@a.com" if name == "recipient" else "a.com"}
    messages = [to("x@a.com", "y@a.com"), to("x@a.com", "y@b.com"), to("x@b.com")]
    assert [await holds(condition, one) for one in messages] == [True, False, False]
    for recipients, expected in [("all", [True, False, False]), ("any", [True, True, False])]:
        found = [await holds(condition, one, recipients=recipients) for one in messages]
        assert found == expected
        found = [await holds({"not": condition}, one, recipients=recipients) for one in messages]
        assert found == [not one for one in expected]


# Other conditions


@pytest.mark.parametrize(
    ("condition", "fields", "expected"),
    [
        ({"List-Unsubscribe": "*"}, ["list-unsubscribe: <https://a.example>"], True),
        ({"List-Unsubscribe": "*"}, ["List-Unsubscribe:"], True),
        ({"List-Unsubscribe": "*"}, ["Subject: List-Unsubscribe"], False),
        ({"Subject": "invoice *"}, ["Subject:   Invoice 5 "], True),
        ({"Subject": "invoice *"}, ["Subject: your invoice 5"], False),
        ({"Subject": ["a", "b?"]}, ["Subject: bc"], True),
        ({"Subject": "gr\u00fc\u00dfe"}, ["Subject: =?utf-8?q?GR=C3=9CSSE?="], True),
        ({"Subject": "a b"}, ["Subject: a\r\n b"], True),
        ({"X-Tag": "two"}, ["X-Tag: one", "X-Tag: two"], True),
        ({"X-Tag": "one", "Subject": "x"}, ["X-Tag: one"], False),
        ({"X-Tag": "one", "Subject": "x"}, ["X-Tag: one", "Subject: x"], True),
    ],
)
async def test_headers(condition: object, fields: list[str], *, expected: bool) -> None:
    content = "".join(f"{one}\r\n" for one in (*fields, "", "Subject: b?")).encode()
    assert await holds({"header": condition}, make_message(content=content)) is expected


@pytest.mark.parametrize(
    ("condition", "fits", "does_not"),
    [
        ("> 1k", [1001], [1000]),
        (">=1kB", [1000], [999]),
        ("< 1Ki", [1023], [1024]),
        ("<= 1.5 k", [1500], [1501]),
        ("> 0.5 M", [500_001], [500_000]),
        (["< 10", "> 20B"], [9, 21], [10, 20]),
    ],
)
async def test_sizes(condition: object, fits: list[int], does_not: list[int]) -> None:
    for size in (*fits, *does_not):
        message = make_message(content=bytes(size))
        assert await holds({"size": condition}, message) is (size in fits), size


@pytest.mark.parametrize(
    ("condition", "fits", "does_not"),
    [
        ({"hours": "08:00-18:00"}, ["23T08:00", "22T17:59:59"], ["23T07:59:59", "23T18:00"]),
        ({"days": "mon-fri"}, ["23T00:00", "27T23:59"], ["22T12:00", "28T00:00"]),
        ({"days": ["sat", "MON"]}, ["28T12:00", "23T12:00"], ["22T12:00", "24T12:00"]),
        ({"days": "sat-mon"}, ["28T12:00", "22T12:00", "23T12:00"], ["24T12:00"]),
        ({"hours": "22:00-06:00"}, ["23T22:00", "23T05:59", "23T00:00"], ["23T06:00", "23T21:59"]),
        ({"days": "fri", "hours": "22:00-06:00"}, ["27T22:00", "28T05:59"], ["27T05:00", "28T22:00"]),
        ({"days": "sun", "hours": "22:00-06:00"}, ["22T23:00", "23T01:00"], ["22T01:00"]),
        ({"hours": "12:00-24:00"}, ["23T23:59"], ["24T00:00"]),
        ({"hours": ["1:00-2:00", "3:00-4:00"]}, ["23T01:30", "23T03:30"], ["23T02:30"]),
        ({"hours": "12:00-13:00", "zone": "Europe/Berlin"}, ["23T11:30"], ["23T12:30"]),
        ([{"days": "mon"}, {"hours": "00:00-01:00"}], ["23T12:00", "24T00:30"], ["24T12:00"]),
    ],
)
async def test_times(condition: object, fits: list[str], does_not: list[str]) -> None:
    """23 November 2026 is a Monday."""
    for text in (*fits, *does_not):
        at = datetime.fromisoformat(f"2026-11-{text}").replace(tzinfo=UTC)
        assert await holds({"time": condition}, make_message(received_at=at)) is (text in fits), text


async def test_the_zone_of_all_times_is_an_option_and_knows_summer() -> None:
    plugin = make(rule({"time": {"hours": "12:00-13:00"}}), zone="Europe/Berlin")
    for month, hour in [(1, 11), (7, 10)]:
        at = datetime(2026, month, 1, hour, 30, tzinfo=UTC)
        assert await route(plugin, make_message(received_at=at)) == "a"
        assert await route(plugin, make_message(received_at=at + timedelta(hours=1))) == "c"


async def test_users() -> None:
    assert await holds({"user": "*@example.com"})
    assert await holds({"user": ["x", "USER@example.com"]})
    assert not await holds({"user": "example.com"})


async def test_conditions_combine() -> None:
    yes, no = {"user": "*"}, {"user": "nobody"}
    small = {"size": "< 1M"}
    for condition, expected in [
        ({**yes, **small}, True),
        ({**no, **small}, False),
        ({"any": [no, yes]}, True),
        ({"any": [no, no]}, False),
        ({"all": [yes, small]}, True),
        ({"all": [yes, no]}, False),
        ({"not": no}, True),
        ({"not": yes}, False),
        ({"not": {**no, **small}}, True),
        ({**yes, "not": {"any": [no, {"not": yes}]}}, True),
    ]:
        assert await holds(condition) is expected, condition


# Patterns

texts = st.text(alphabet="ab.\n\u00df", max_size=12)


@given(
    parts=st.lists(st.sampled_from(["a", "b", ".", "*", "?", "\n", "\u00df"]), max_size=8), text=texts
)
@example(parts=["a", "*", "a"], text="a")
@example(parts=["?"], text="\n")
@example(parts=["*", "a", "b", "*", "a", "b"], text="ab")
def test_a_pattern_fits_what_the_standard_librarys_would(parts: list[str], text: str) -> None:
    folded = text.casefold()
    wanted = fnmatch.fnmatchcase(folded, "".join(parts).casefold())
    assert Glob("".join(parts)).matches(folded) is wanted


@given(pieces=st.lists(texts, min_size=1, max_size=6))
def test_a_pattern_fits_whatever_stands_in_the_place_of_its_stars(pieces: list[str]) -> None:
    assert Glob("*".join(pieces)).matches("xx".join(pieces).casefold())
    assert Glob("*".join(pieces)).matches("".join(pieces).casefold())


def test_no_pattern_takes_long_whatever_it_is_held_against() -> None:
    glob = Glob("*a" * 50 + "*?b")
    started = time.perf_counter()
    assert not glob.matches("a" * 100_000)
    assert time.perf_counter() - started < 1


labels = st.text(alphabet="abc\u00fc", min_size=1, max_size=5)
domains = st.lists(labels, min_size=2, max_size=4).map(".".join)


@given(domain=domains, above=domains)
def test_a_domain_fits_itself_in_both_spellings_and_a_star_what_is_below(
    domain: str, above: str
) -> None:
    for one in (domain, canonical(domain)):
        assert Domains([pattern(one)]).matches(canonical(domain))
        assert Domains([pattern(f"*.{one}")]).matches(canonical(f"{above}.{domain}"))
        assert not Domains([pattern(f"*.{one}")]).matches(canonical(domain))
        assert Addresses([f"*@{one}"]).matches(f"x@{canonical(domain)}")


def test_a_thousand_domains_cost_as_much_as_one() -> None:
    def seconds(count: int) -> float:
        listed = [f"d{number}.example" for number in range(count)]
        plugin = make(rule({"recipient_domain": listed}))
        offered, message = [make_downstream("c")], to("a@other.example")
        started = time.perf_counter()
        for _ in range(1000):
            plugin.instance.select_downstream(message, offered, ())
        return time.perf_counter() - started

    assert min(seconds(1000) for _ in range(5)) < 3 * min(seconds(1) for _ in range(5))


# Why


def test_notes_say_which_rule_and_why() -> None:
    content = b"List-Unsubscribe: <https://private.example>\r\n\r\n" + bytes(1_200_000)
    message = to("a@a.com", "b@b.com", "c@c.com", "d@d.com", "e@a.com", content=content)
    bulk = rule({"header": {"List-Unsubscribe": "*"}, "size": "> 1 M"}, "b", name="bulk")
    plugin = make(rule({"user": "nobody"}), bulk)
    why = 'rules.1 "bulk": header List-Unsubscribe is there, size 1.2 MB > 1 M'
    assert notes(plugin, message) == [why]
    assert notes(plugin, message, "ac") == [
        why,
        'rules.1 "bulk": b is not to be had; else: default',
        "default: c",
    ]
    assert notes(plugin, message, "a")[-1] == "default: c, which is not to be had"


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ({"recipient_domain": ["*.com"]}, "recipient_domain a.com, b.com, c.com and 1 more"),
        ({"sender": "<>"}, "sender <>"),
        ({"not": {"user": "nobody"}}, 'not {"user": "nobody"}'),
        ({"any": [{"user": "nobody"}, {"size": "> 10"}]}, "size 2.0 kB > 10"),
        ({"header": {"Subject": "*private*"}}, "header Subject matches"),
        ({"time": {"hours": "22:00-06:00"}}, "time mon 22:30 UTC in 22:00-06:00"),
        ({"time": {"days": "mon"}}, "time mon 22:30 UTC"),
    ],
)
def test_a_note_says_what_holds_and_nothing_of_the_content(condition: object, why: str) -> None:
    content = b"Subject: private\r\n\r\n" + bytes(2000)
    at = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)
    message = to(
        *("a@a.com", "b@b.com", "c@c.com", "d@d.com"), content=content, mail_from="", received_at=at
    )
    assert notes(make(rule(condition)), message) == [f"rules.0: {why}"]


# Configuration


@pytest.mark.parametrize(
    ("given_rule", "says"),
    [
        ("a", ": must be a mapping of name, if, to, else, recipients"),
        ({"to": "a"}, ".if: is missing"),
        ({"if": {"user": "*"}}, ".to: is missing"),
        (rule({}), ".if: must be a mapping of sender, "),
        (rule({"users": "*"}), ".if.users: is not an option: did you mean user?"),
        (rule({1: "*"}), ".if.1: is not an option"),
        (rule({"user": "*"}, then="b"), ".then: is not an option"),
        (rule({"user": 1}), ".if.user: must be text (in quotes, if it looks like something else): 1"),
        (rule({"user": []}), ".if.user: is empty"),
        (rule({"user": ["a", ""]}), ".if.user.1: is empty"),
        (rule({"sender": "example.com"}), ".if.sender: 'example.com' is no address"),
        (rule({"sender": "a@b c"}), ".if.sender: is no domain, nor a pattern"),
        (rule({"recipient_domain": ["a.com", "a@b.com"]}), ".if.recipient_domain: is no domain"),
        (
            rule({"recipient_site": "mail.example.co.uk"}),
            ".if.recipient_site: mail.example.co.uk is no domain as somebody registers it; did you",
        ),
        (
            rule({"sender_site": "co.uk"}),
            ".if.sender_site: co.uk is no domain as somebody registers it: it is a public suffix",
        ),
        (rule({"recipient_site": "*.example.com"}), ".if.recipient_site: *.example.com is no domain"),
        (rule({"header": "Subject"}), ".if.header: must be a mapping"),
        (rule({"header": {"a:b": "*"}}), ".if.header.a:b: is no name of a header field"),
        (rule({"header": {"Subject": True}}), ".if.header.Subject: must be text"),
        (rule({"size": "1M"}), '.if.size: takes sizes as "> 1M"'),
        (rule({"size": "> 1T"}), ".if.size: takes sizes"),
        (rule({"time": "22:00-06:00"}), ".if.time: must be a mapping of days, hours, zone"),
        (rule({"time": []}), ".if.time: is empty"),
        (rule({"time": [{"hours": "6-7"}]}), ".if.time.0.hours: takes hours as 22:00-06:00, not '6-7'"),
        (rule({"time": {"hours": "25:00-06:00"}}), ".if.time.hours: takes hours"),
        (rule({"time": {"hours": "24:00-06:00"}}), ".if.time.hours: takes hours"),
        (rule({"time": {"hours": "06:60-08:00"}}), ".if.time.hours: takes hours"),
        (rule({"time": {"hours": "06:00-06:00"}}), ".if.time.hours: takes hours"),
        (rule({"time": {"days": "monday"}}), ".if.time.days: takes mon, tue"),
        (rule({"time": {"zone": "Berlin"}}), ".if.time.zone: is no time zone, as Europe/Berlin: 'Ber"),
        (rule({"any": {"user": "*"}}), ".if.any: must be a list of conditions"),
        (rule({"all": []}), ".if.all: must be a list of conditions"),
        (rule({"any": [{"user": "*"}, {"siez": "> 1"}]}), ".if.any.1.siez: is not an option: did you"),
        (rule({"not": [{"user": "*"}]}), ".if.not: must be a mapping"),
        (rule({"user": "*"}, name=""), ".name: must be text"),
        (rule({"user": "*"}, recipients="one"), ".recipients: must be all or any, not 'one'"),
        (rule({"user": "*"}, recipients=[]), ".recipients: must be all or any"),
        (rule({"user": "*"}, **{"else": "stop"}), ".else: must be default, next, defer, not 'stop'"),
        (rule({"user": "*"}, **{"else": ["next"]}), ".else: must be default, next, defer"),
        (rule({"user": "*"}, 5), ".to: must be a downstream's or tier's name"),
        (rule({"user": "*"}, []), ".to: is empty"),
        (rule({"user": "*"}, ["a", "a"]), ".to: a is there twice"),
        (rule({"user": "*"}, ["a", "d"]), ".to: no downstream is called d (there are a, b, c)"),
    ],
)
def test_what_is_wrong_in_a_rule_is_refused_with_its_place(given_rule: Any, says: str) -> None:  # noqa: ANN401
    with pytest.raises(PluginError, match=re.escape(f"rules.1{says}")):
        make(ALWAYS, given_rule)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rules": []}, "rules: must be a list of rules, and not empty"),
        ({"rules": {"if": 1}}, "rules: must be a list of rules"),
        ({"default": True}, "default: must be a downstream's or tier's name"),
        ({"zone": "Mars"}, "zone: is no time zone"),
        ({"zone": 1}, "zone: is no time zone"),
        ({"tiers": []}, "tiers: must be a mapping"),
        ({"tiers": {"x": {"use": "weighted"}}}, "tiers.x.downstreams: is missing"),
        ({"tiers": {"x": {"downstreams": ["a"]}}}, "tiers.x.use: is missing"),
        ({"tiers": {"x": {"downstreams": ["a"], "use": "weighted", "by": 1}}}, "tiers.x.by: is not an"),
        (
            {"default": "weighted"},
            "default: no downstream is called weighted (there are a, b, c); an alg",
        ),
        ({"tiers": {"x": ["d"]}}, "tiers.x: no downstream is called d (there are a, b, c), and no tier"),
        (
            {"tiers": {"x": {"downstreams": ["d"], "use": "weighted"}}, "default": "x"},
            "tiers.x.downstreams: no downstream is called d",
        ),
        ({"tiers": {"a": ["b"]}}, "tiers.a: a downstream is called so, too"),
        ({"tiers": {"x": ["b"]}, "default": ["x", "a"]}, "default: x is a tier; only a tier by itself"),
    ],
)
def test_what_is_wrong_beside_the_rules_is_refused_with_its_place(
    options: dict[str, object], says: str
) -> None:
    with pytest.raises(PluginError, match=re.escape(says)):
        make(**{"rules": [ALWAYS], **options})


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"default": {"use": "weighted", "options": {"mode": "rough"}}}, "default.options"),
        ({"tiers": {"x": {"downstreams": ["a"], "use": "nothing"}}}, "tiers.x"),
    ],
)
def test_an_algorithm_that_cannot_be_used_is_named_with_its_place(
    options: dict[str, object], key: str
) -> None:
    with pytest.raises(PluginError) as refused:
        make(ALWAYS, **options)
    assert refused.value.key.removeprefix("options.") == key


def test_the_readmes_configuration_is_right_and_a_wrong_name_is_found(tmp_path: Path) -> None:
    environment = {**os.environ, "APP_PASSWORD": "open"}
    command = [sys.executable, "-m", "smtp_router", "check", "-c", str(tmp_path / "config.yaml")]
    for text, code in ((EXAMPLE.replace("to: inhouse", "to: inhose"), 1), (EXAMPLE, 0)):
        (tmp_path / "config.yaml").write_text(text, "utf-8")
        checked = subprocess.run(command, env=environment, capture_output=True, check=False, text=True)  # noqa: S603
        assert bool(checked.returncode) is bool(code), checked.stderr
        if code:
            assert "rules.1.to: no downstream is called inhose (there are main, sec" in checked.stderr
