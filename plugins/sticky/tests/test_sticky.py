from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtp_router import Downstream, Message
from smtp_router.testing import assert_share, conformance, make_downstream, make_message
from smtp_router_sticky import Sticky

WEIGHTS: Sequence[Mapping[str, object]] = ({"weight": 3}, {"weight": 0}, {})

test_conformance = conformance(Sticky, downstream_options=WEIGHTS)
test_conformance_by_sender = conformance(Sticky, {"by": "sender"}, downstream_options=WEIGHTS)
test_conformance_by_header = conformance(Sticky, {"by": {"header": "X-Odd"}})

DOMAINS = [f"{number}.example" for number in range(3000)]


def message(
    to: Sequence[str] = ("b@b.example",),
    *,
    mail_from: str = "a@a.example",
    head: str = "",
    name: str = "1",
) -> Message:
    content = f"{head}\r\n\r\n".encode()
    return make_message(id=name, mail_from=mail_from, rcpt_tos=tuple(to), content=content)


def downstreams(names: Sequence[str], weights: Mapping[str, float] | None = None) -> list[Downstream]:
    """With weight 1, unless it is said."""
    return [make_downstream(name, options={"weight": (weights or {}).get(name, 1)}) for name in names]


def choose(sticky: Sticky, offered: Sequence[Downstream], message: Message) -> str:
    return sticky.select_downstream(message, offered).name


def by_domain(offered: Sequence[Downstream]) -> dict[str, str]:
    """To which downstream each of the domains goes."""
    sticky = Sticky()
    return {domain: choose(sticky, offered, message([f"b@{domain}"])) for domain in DOMAINS}


MANY = downstreams([f"n{number}" for number in range(100)])

# What belongs together


def same(sticky: Sticky, *messages: Message) -> bool:
    """Whether they go to the same one of a hundred."""
    return len({choose(sticky, MANY, message) for message in messages}) == 1


def test_mail_to_the_same_domain_goes_to_the_same_downstream() -> None:
    sticky = Sticky()
    assert same(sticky, message(["a@b.example"]), message(["c@B.Example"], mail_from="", name="2"))
    assert same(sticky, message(["a@b.example", "c@d.example"]), message(['"e@f"@b.example']))
    assert not same(sticky, message(["a@b.example"]), message(["a@c.example"]))
    assert same(sticky, message(["postmaster"], name="1"), message(["Postmaster"], name="2"))


def test_mail_from_the_same_sender_goes_to_the_same_downstream() -> None:
    sticky = Sticky(by="sender")
    assert same(
        sticky, message(mail_from="a@a.example"), message(["c@c.example"], mail_from="A@a.Example")
    )
    assert not same(sticky, message(mail_from="a@a.example"), message(mail_from="b@a.example"))


def test_mail_with_the_same_header_field_goes_to_the_same_downstream() -> None:
    sticky = Sticky(by={"header": "X-Campaign"})
    spring = message(head="X-Campaign: spring")
    assert same(sticky, spring, message(["c@c.example"], head="x-campaign:   spring ", name="2"))
    assert same(sticky, spring, message(head="X-Campaign: spring\r\nX-Campaign: other"))
    assert not same(sticky, spring, message(head="X-Campaign: autumn"))


@pytest.mark.parametrize("by", ["sender", {"header": "X-Campaign"}])
def test_mail_without_a_key_goes_anywhere_but_always_so_for_one_message(by: str) -> None:
    sticky = Sticky(by=by)
    messages = [message(mail_from="", name=str(number)) for number in range(1000)]
    first, second = ([choose(sticky, MANY, one) for one in messages] for _ in "12")
    assert first == second
    assert len(set(first)) == 100


@example(text="\udcff")  # an octet that is no text
@given(text=st.text())
def test_any_text_is_a_key(text: str) -> None:
    assert choose(Sticky(by="sender"), MANY, message(mail_from=text)) in {one.name for one in MANY}


def test_what_goes_where_is_the_same_on_every_router() -> None:
    offered = downstreams(["a", "b", "c"], {"b": 2})
    found = [choose(Sticky(), offered, message([f"b@{number}.example"])) for number in range(12)]
    assert "".join(found) == "bacbcbcbbbca"


# What moves

some = st.sets(st.sampled_from([f"n{number}" for number in range(12)]), min_size=1)
keys = st.lists(st.text(min_size=1), min_size=1, max_size=20)


@given(names=some, lost=some, keys=keys, weight=st.sampled_from([0.001, 0.5, 1, 3, 1_000_000]))
def test_what_was_not_at_a_lost_downstream_stays_where_it_was(
    names: set[str], lost: set[str], keys: list[str], weight: float
) -> None:
    """Read backwards: what is added takes only what it wins itself."""
    sticky = Sticky(by="sender")
    everything = downstreams(sorted(names | lost), {"n1": weight, "n2": 7})
    left = [one for one in everything if one.name not in lost]
    for key in keys if left else []:
        before = choose(sticky, everything, message(mail_from=key))
        after = choose(sticky, left, message(mail_from=key))
        assert after == before or before in lost


def test_what_was_at_a_lost_downstream_is_spread_over_all_others() -> None:
    before, after = by_domain(downstreams("abcd")), by_domain(downstreams("bcd"))
    moved = Counter(after[domain] for domain in DOMAINS if before[domain] == "a")
    assert moved.total() == pytest.approx(750, abs=75)
    assert all(moved[name] == pytest.approx(250, abs=50) for name in "bcd")


@given(weight=st.sampled_from([0.1, 2, 10]), keys=keys)
def test_a_changed_weight_moves_only_what_that_downstream_gains_or_loses(
    weight: float, keys: list[str]
) -> None:
    sticky = Sticky(by="sender")
    for key in keys:
        before = choose(sticky, downstreams("abcd"), message(mail_from=key))
        after = choose(sticky, downstreams("abcd", {"a": weight}), message(mail_from=key))
        assert after == before or (after if weight > 1 else before) == "a"


def test_the_order_of_the_configuration_changes_nothing() -> None:
    assert by_domain(downstreams("abcd")) == by_domain(downstreams("dbca"))


def test_who_fails_passes_a_message_on_to_the_same_second() -> None:
    left, tried = downstreams("abcd"), []
    while left:
        tried.append(Sticky().select_downstream(message(), left))
        left.remove(tried[-1])
    assert len({one.name for one in tried}) == 4
    assert choose(Sticky(), tried[1:], message(["x@b.example"], name="2")) == tried[1].name


# Shares


@pytest.mark.parametrize("by", ["recipient_domain", "sender", {"header": "X-Odd"}])
def test_keys_are_shared_by_weight(by: object) -> None:
    offered = downstreams("abcd", {"a": 3, "b": 2, "d": 0})
    shares = dict(zip(offered, (3 / 6, 2 / 6, 1 / 6, 0), strict=True))
    assert_share(Sticky, shares, options={"by": by})


def test_each_of_100_downstreams_has_its_share() -> None:
    assert_share(Sticky, dict.fromkeys(MANY, 1 / 100), messages=3000)


def test_standbys_share_when_nothing_else_is_offered() -> None:
    assert_share(Sticky, dict.fromkeys(downstreams("ab", {"a": 0, "b": 0}), 1 / 2))


@given(
    weights=st.dictionaries(
        st.sampled_from("abcdef"), st.sampled_from([0, 5e-324, 1, 1_000_000]), min_size=1
    ),
    key=st.text(),
)
def test_what_is_chosen_is_one_of_those_offered_and_no_standby_if_there_is_another(
    weights: dict[str, float], key: str
) -> None:
    offered = downstreams(list(weights), weights)
    found = Sticky(by="sender").select_downstream(message(mail_from=key), offered)
    assert any(found is one for one in offered)
    assert weights[found.name] > 0 or not any(weights.values())


# Configuration


@pytest.mark.parametrize("weight", [-1, "3", float("nan"), float("inf"), 10**400, True, None])
def test_a_wrong_weight_is_refused_with_the_downstreams_name(weight: float) -> None:
    with pytest.raises(
        ValueError, match=r"^downstream b: options\.weight must be a number from 0 to 1000000"
    ):
        Sticky().check_downstreams(downstreams("ab", {"b": weight}))


@pytest.mark.parametrize(
    "by", ["recipient", "", None, 1, {}, {"headers": "X"}, {"header": "X", "b": 1}, ["sender"]]
)
def test_what_nothing_can_be_sticky_by_is_refused(by: str) -> None:
    with pytest.raises(
        ValueError, match=r"^by must be recipient_domain, sender or \{header: NAME\}, not "
    ):
        Sticky(by=by)


@pytest.mark.parametrize("name", ["", "X Y", "X:", "Ü", 1, None])
def test_what_is_no_name_of_a_header_field_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^by\.header must be the name of a header field, not "):
        Sticky(by={"header": name})
