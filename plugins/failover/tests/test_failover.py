from smtp_router import Downstream
from smtp_router_failover import select_downstream

MAIN, SPARE, LAST = (
    Downstream(name=name, host="127.0.0.1", port=25) for name in ("main", "spare", "last")
)


def test_the_first_downstream_of_the_configuration_has_every_message() -> None:
    assert [select_downstream((MAIN, SPARE, LAST)) for _ in range(3)] == [MAIN] * 3


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
