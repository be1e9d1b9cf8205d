import smtp_router_failover
from smtp_router.testing import assert_share, conformance, make_downstream
from smtp_router_failover import select_downstream

MAIN, SPARE, LAST = (make_downstream(name) for name in ("main", "spare", "last"))

test_conformance = conformance(smtp_router_failover)


def test_the_first_downstream_of_the_configuration_has_every_message() -> None:
    assert_share("failover", {MAIN: 1, SPARE: 0, LAST: 0}, messages=100)


def test_a_message_that_failed_goes_down_the_list() -> None:
    left = [MAIN, SPARE, LAST]
    tried = []
    while left:
        tried.append(select_downstream(left))
        left.remove(tried[-1])
    assert tried == [MAIN, SPARE, LAST]


def test_the_first_downstream_has_the_mail_again_as_soon_as_it_works() -> None:
    assert select_downstream((SPARE, LAST)) is SPARE
    assert select_downstream((MAIN, SPARE, LAST)) is MAIN
