"""What a user may do: from where, as whom, how often."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.config.reading import validated
from smtp_router.config.settings import User
from smtp_router.config.types import Rate
from smtp_router.routing.policy import Networks, Turns, may_send_as
from tests.support import VirtualClock


def make_user(email: str = "a", *, networks: str = "", senders: str = "") -> User:
    fields = {"networks": networks.split(), "senders": senders.split()}
    return validated(
        User,
        {
            "email": email,
            "password": "secret",
            "algorithm": "failover",
            "downstreams": [{"addr": "b.example:25"}],
            **fields,
        },
    )


NETWORKS = Networks(
    [
        make_user("wide", networks="10.0.0.0/8 2001:db8::/32"),
        make_user("narrow", networks="10.1.0.0/16 2001:db8:1::/48"),
        make_user("single", networks="10.1.2.3/32 192.0.2.7/32 2001:db8:1::1/128"),
        make_user("none"),
    ]
)


@pytest.mark.parametrize(
    ("address", "user"),
    [
        ("10.9.9.9", "wide"),
        ("10.0.0.0", "wide"),
        ("10.255.255.255", "wide"),
        ("10.1.0.0", "narrow"),
        ("10.1.2.2", "narrow"),
        ("10.1.2.3", "single"),
        ("192.0.2.7", "single"),
        ("192.0.2.8", None),
        ("11.0.0.0", None),
        ("9.255.255.255", None),
        ("::ffff:10.9.9.9", "wide"),
        ("::ffff:10.1.2.3", "single"),
        ("::ffff:192.0.2.8", None),
        ("::10.9.9.9", None),
        ("2001:db8:ffff::1", "wide"),
        ("2001:db8:1::2", "narrow"),
        ("2001:db8:1::1", "single"),
        ("2001:db9::1", None),
        ("fe80::1%eth0", None),
        ("", None),
        ("localhost", None),
        ("10.1.2.3:25", None),
    ],
)
def test_the_longest_prefix_says_whose_client_it_is(address: str, user: str | None) -> None:
    assert NETWORKS.user_at(address) == user


def test_without_networks_it_is_nobodys() -> None:
    assert Networks([make_user()]).user_at("10.1.2.3") is None


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)), max_size=8), st.data())
def test_networks_are_what_the_standard_library_says(
    given_: list[tuple[int, int]], data: st.DataObject
) -> None:
    networks = list({ip_network((number, prefix), strict=False) for number, prefix in given_})
    users = [make_user(str(network), networks=str(network)) for network in networks]
    near = st.sampled_from(networks).map(lambda network: network[-1]) if networks else st.nothing()
    address = data.draw(st.ip_addresses(v=4) | near)
    inside = sorted((n for n in networks if address in n), key=lambda network: network.prefixlen)
    assert Networks(users).user_at(str(address)) == (str(inside[-1]) if inside else None)


@pytest.mark.parametrize(
    ("senders", "mail_from", "allowed"),
    [
        ("", "anyone@anywhere.example", True),
        ("", "", True),
        ("*@a.example", "x@a.example", True),
        ("*@a.example", "X@A.Example", True),
        ("*@A.EXAMPLE", "x@a.example", True),
        ("*@a.example", "", True),
        ("*@a.example", "x@b.example", False),
        ("*@a.example", "x@sub.a.example", False),
        ("*@a.example", "x@a.example.b.example", False),
        ("*@a.example", "x@aXexample", False),
        ("*@a.example", "xa.example", False),
        ("*@a.example", '"@a.example"@b.example', False),
        ("*@a.example", "@a.example\n", False),
        ("*@*.a.example", "x@sub.a.example", True),
        ("*@*.a.example", "x@a.example", False),
        ("x@a.example", "x@a.example", True),
        ("x@a.example", "xx@a.example", False),
        ("x@a.example", "x+tag@a.example", False),
        ("x*@a.example", "x+tag@a.example", True),
        ("bounce-?@a.example", "bounce-1@a.example", True),
        ("bounce-?@a.example", "bounce-12@a.example", False),
        ("*@b.example *@a.example", "x@a.example", True),
        ("*@müller.example", "x@MÜLLER.example", True),
    ],
)
def test_a_user_sends_as_its_senders_only(senders: str, mail_from: str, *, allowed: bool) -> None:
    """And always as nobody (RFC 5321 4.5.5): who may send may report."""
    assert may_send_as(make_user(senders=senders), mail_from) is allowed


@given(
    st.integers(1, 4),
    st.sampled_from([1, 60]),
    st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 20.0, 59.0, 60.0, 61.0]), max_size=60),
)
def test_over_any_window_there_are_no_more_than_the_rate(
    count: int, seconds: int, pauses: list[float]
) -> None:
    """And no fewer: a turn is refused only when the window is full."""
    clock, rate = VirtualClock(0.0), Rate(count=count, seconds=seconds)
    turns, taken = Turns(clock), list[float]()
    for pause in pauses:
        clock.advance(pause)
        recent = [one for one in taken if one > clock.now() - seconds]
        assert turns.take("a", rate) is (len(recent) < count)
        if len(recent) < count:
            taken.append(clock.now())


def test_each_user_has_turns_of_its_own() -> None:
    turns, rate = Turns(VirtualClock()), Rate(count=1, seconds=60)
    assert [turns.take(user, rate) for user in "aabab"] == [True, False, True, False, False]


def test_without_a_rate_there_is_no_limit() -> None:
    turns = Turns(VirtualClock())
    assert all(turns.take("a", None) for _ in range(1000))


def test_a_rate_that_a_reload_lowers_counts_what_was_sent() -> None:
    turns = Turns(VirtualClock())
    assert [turns.take("a", Rate(count=3, seconds=60)) for _ in range(3)] == 3 * [True]
    assert not turns.take("a", Rate(count=2, seconds=60))
    assert turns.take("a", Rate(count=4, seconds=60))
