"""What changes while mail flows: plugin files and the configuration."""

import itertools
import signal
from pathlib import Path

import pytest

from tests.load import Load
from tests.running import PASSWORD, USER, Config, Router, Serve, config, downstream, one_user, user
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"
ALGORITHM = """\
from smtp_router import hookimpl

@hookimpl
def select_downstream(message, downstreams):
    return downstreams[{index}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "algorithm.py"
    path.write_text(ALGORITHM.format(index=0))
    return path


def by_file(*witnesses: Witness, **more: object) -> Config:
    return config(user(*witnesses, algorithm="./algorithm.py"), **more)


def where(*witnesses: Witness) -> list[int]:
    return [len(witness.deliveries) for witness in witnesses]


# Plugin files


def test_an_edit_counts_from_the_very_next_message_on(tmp_path: Path, file: Path) -> None:
    """Also one that keeps the file's size, within the same second."""
    expected = [0, 0]
    with (
        Witness() as a,
        Witness(name="b") as b,
        Router(by_file(a, b), tmp_path) as router,
        router.client() as client,
    ):
        for index in (0, 1, 0, 1, 1, 0):
            file.write_text(ALGORITHM.format(index=index))
            assert client.transaction(A, [B], HELLO).code == 250
            expected[index] += 1
            assert where(a, b) == expected


def test_an_edit_under_load_loses_nothing(tmp_path: Path, file: Path) -> None:
    with (
        Witness() as a,
        Witness(name="b") as b,
        Router(by_file(a, b), tmp_path) as router,
        Load(router.client, clients=8) as load,
    ):
        load.wait(50)
        for index in (1, 0, 1, 0, 1):
            before = where(a, b)
            file.write_text(ALGORITHM.format(index=index))
            load.wait(50)
            assert where(a, b)[index] > before[index]
    assert load.codes == {250}
    assert not load.errors
    load.check(a, b)


@pytest.mark.parametrize(
    ("broken", "line", "what"),
    [
        (ALGORITHM.format(index=1) + "def broken(:\n", 6, "syntax error"),
        (
            "import os\n\nraise RuntimeError('on import')\n" + ALGORITHM.format(index=1),
            3,
            "RuntimeError",
        ),
        ("def select_downstream(downstreams):\n    return downstreams[1]\n", 1, "@hookimpl"),
        (ALGORITHM.format(index=1).replace("select_", "selekt_"), 1, "selekt_downstream"),
        ("", 1, "no hook"),
        ("\0", 1, "null bytes"),
    ],
    ids=["syntax", "import", "no marker", "misspelt", "empty", "NUL"],
)
def test_a_broken_edit_keeps_the_last_good_version_and_is_logged_once(
    tmp_path: Path, file: Path, broken: str, line: int, what: str
) -> None:
    with (
        Witness() as a,
        Witness(name="b") as b,
        Router(by_file(a, b), tmp_path) as router,
        router.client() as client,
    ):
        file.write_text(broken)
        for _ in range(5):
            assert client.transaction(A, [B], HELLO).code == 250
        (logged,) = router.log.find("plugin not reloaded, its last good version stays")
        assert f"{file}:{line}" in logged["error"]
        assert what in logged["error"]
        assert where(a, b) == [5, 0]
        file.write_text(ALGORITHM.format(index=1))
        assert client.transaction(A, [B], HELLO).code == 250
        assert where(a, b) == [5, 1]


def test_a_deleted_file_leaves_its_last_version_at_work(tmp_path: Path, file: Path) -> None:
    with Witness() as a, Router(by_file(a), tmp_path) as router, router.client() as client:
        file.unlink()
        for _ in range(3):
            assert client.transaction(A, [B], HELLO).code == 250
        assert len(router.log.find("plugin not reloaded, its last good version stays")) == 1
        file.write_text(ALGORITHM.format(index=0) + "# back\n")
        assert client.transaction(A, [B], HELLO).code == 250
    assert where(a) == [4]


def test_a_modules_state_lives_until_its_file_changes(tmp_path: Path, file: Path) -> None:
    counting = (
        "import itertools\nfrom smtp_router import hookimpl\nturns = itertools.count()\n\n"
        "@hookimpl\ndef before_send(message):\n"
        "    return message.with_header('X-Turn', str(next(turns)))\n\n"
        "@hookimpl\ndef select_downstream(downstreams):\n    return downstreams[0]\n"
    )
    file.write_text(counting)
    with Witness() as a, Router(by_file(a), tmp_path) as router, router.client() as client:
        for edit in (None, None, "config", None, "file", None):
            if edit == "config":
                router.configure(by_file(a, idle_s=299))
                router.log.wait("reloaded")
            elif edit == "file":
                file.write_text(counting + "# edited\n")
            assert client.transaction(A, [B], HELLO).code == 250
    turns = [delivery.body_below_received.partition(b"\r\n")[0] for delivery in a.deliveries]
    assert turns == [b"X-Turn: %d" % turn for turn in (0, 1, 2, 3, 0, 1)]


# The configuration


def test_a_user_a_password_and_a_downstream_change_without_restart(tmp_path: Path) -> None:
    with (
        Witness() as a,
        Witness(name="b") as b,
        Router(one_user(a), tmp_path) as router,
        router.client() as old,
    ):
        router.configure(config(user(b, password="changed"), user(a, email="second@app.example")))
        router.log.wait("reloaded")
        with router.connect() as client:
            client.command(b"EHLO client.example")
            assert client.login(USER, PASSWORD).code == 535
            assert client.login(USER, "changed").code == 235
            assert client.transaction(A, [B], HELLO).code == 250
            assert where(a, b) == [0, 1]
        with router.client("second@app.example") as client:
            assert client.transaction(A, [B], HELLO).code == 250
            assert where(a, b) == [1, 1]
        assert old.transaction(A, [B], HELLO).code == 250  # a session that has begun goes on
        assert where(a, b) == [1, 2]


def test_a_user_taken_out_cannot_go_on(tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a), tmp_path) as router, router.client() as client:
        router.configure(config(user(a, email="second@app.example")))
        router.log.wait("reloaded")
        reply = client.transaction(A, [B], HELLO)
        assert reply.code // 100 == 4
        assert where(a) == [0]


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"users: [",
        b"\xff\xfe",
        b"users: []",
        b"unknown_key: 1\n",
        b"- a list\n",
        b"users: &a [*a]\n",
    ],
    ids=repr,
)
def test_a_bad_configuration_leaves_the_old_one_at_work(tmp_path: Path, bad: bytes) -> None:
    with Witness() as a, Router(one_user(a), tmp_path) as router, router.client() as client:
        router.write(bad)
        router.reload()
        entry = router.log.wait("not reloaded, the old configuration stays")
        assert str(router.file) in entry["problem"]
        assert client.transaction(A, [B], HELLO).code == 250


def test_a_bad_configuration_is_logged_once_and_a_good_one_is_taken_again(tmp_path: Path) -> None:
    with Witness() as a, Witness(name="b") as b, Router(one_user(a), tmp_path) as router:
        router.write(b"unknown: 1\nusers: []\n")
        router.log.wait("not reloaded, the old configuration stays")
        router.configure(one_user(b))
        router.log.wait("reloaded")
        with router.client() as client:
            assert client.transaction(A, [B], HELLO).code == 250
        logged = router.log.find("not reloaded, the old configuration stays")
        assert len(logged) == len({entry["problem"] for entry in logged}) == 2
        assert where(a, b) == [0, 1]


def test_a_configuration_that_names_a_broken_plugin_is_a_bad_one(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def :\n")
    with Witness() as a, Router(one_user(a), tmp_path) as router, router.client() as client:
        router.configure(config(user(a, algorithm="./broken.py")))
        router.reload()
        entry = router.log.wait("not reloaded, the old configuration stays")
        assert "broken.py:1" in entry["problem"]
        assert "users[0].algorithm" in entry["problem"]
        assert client.transaction(A, [B], HELLO).code == 250


def test_changes_under_load_lose_nothing_and_fail_nobody(tmp_path: Path) -> None:
    with (
        Witness() as a,
        Witness(name="b") as b,
        Router(one_user(a), tmp_path) as router,
        Load(router.client, clients=8) as load,
    ):
        load.wait(20)
        steps = itertools.cycle([one_user(b), one_user(a, b, idle_s=200), one_user(a, idle_s=100)])
        for count, step in zip(range(1, 7), steps, strict=False):
            if count == 3:
                router.write(b"users: [")
                router.log.wait("not reloaded, the old configuration stays")
            router.configure(step)
            router.reload()
            router.log.wait("reloaded", times=count)
            load.wait(20)
    assert load.codes == {250}
    assert not load.errors
    assert where(b)[0] > 0
    load.check(a, b)


def test_sighup_reloads(tmp_path: Path) -> None:
    with Witness() as a, Serve(one_user(a), tmp_path) as router:
        router.signal(signal.SIGHUP)
        router.log.wait("reloaded", epoch=2)
        router.configure(config(user(a), user(a, email="second@app.example")))
        router.signal(signal.SIGHUP)
        router.log.wait("reloaded", epoch=3)
        with router.client("second@app.example") as client:
            assert client.transaction(A, [B], HELLO).code == 250


def test_limits_of_clients_that_a_reload_changes_count_from_then_on(tmp_path: Path) -> None:
    with Witness() as a, Router(one_user(a, max_connections=1), tmp_path) as router:
        with router.connect(), router.connect(read_banner=False) as refused:
            assert refused.reply().code == 421
        router.configure(one_user(a, max_connections=3, max_message_bytes=9))
        router.log.wait("reloaded")
        with router.client() as one, router.connect() as other:
            assert one.command(b"MAIL FROM:<a@a.example> SIZE=10").code == 552
            assert b"SIZE 9" in other.command(b"EHLO x").lines


def test_a_secret_in_a_file_is_read_again(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first\n")
    with Witness() as a:
        settings = config(user(downstream(a), password="${file:secret}"))
        with Router(settings, tmp_path) as router:
            router.client(password="first").close()
            secret.write_text("other\n")
            router.log.wait("reloaded")
            router.client(password="other").close()
