"""Sessions over real sockets: what is said and heard, in whatever segments it comes."""

import base64
import gc
import logging
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from smtp_router import Message, Reply
from smtp_router.smtp.conversation import MAX_FAILED_LOGINS, Conversation
from smtp_router.smtp.patience import Patience
from smtp_router.smtp.session import ClientSession
from smtp_router.smtp.wire import Wire
from tests.desk import LOOPS, TAKEN, Desk, Loop
from tests.rawclient import RawClient, RawReply, ehlo_keywords
from tests.running import PASSWORD, USER

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    with Desk(request.param) as desk:
        yield desk


@pytest.fixture
def client(desk: Desk) -> Iterator[RawClient]:
    """A client that has heard the banner and said EHLO."""
    with desk.connect() as client:
        assert client.command(b"EHLO client.example").code == 250
        yield client


def b64(text: str) -> bytes:
    return base64.b64encode(text.encode())


def plain(login: str, password: str, identity: str = "") -> bytes:
    return b64(f"{identity}\0{login}\0{password}")


def said(reply: RawReply) -> str:
    return f"{reply.code} {reply.enhanced}".rstrip()


# One message


def test_the_banner_names_the_router(desk: Desk) -> None:
    with desk.connect() as client:
        assert client.banner == RawReply(220, (b"router.example ESMTP smtp-router",))


def test_a_message_is_handed_in_with_all_that_is_known_of_it(desk: Desk, client: RawClient) -> None:
    assert client.login(USER, PASSWORD).code == 235
    reply = client.transaction(A, [B, b"c@c.example"], HELLO, params=b"SIZE=9 BODY=8BITMIME")
    assert reply == RawReply(250, (b"2.0.0 Taken",))
    (message,) = desk.messages
    assert message.id == "message-1"
    assert message.user == USER
    assert (message.mail_from, message.rcpt_tos) == ("a@a.example", ("b@b.example", "c@c.example"))
    assert message.mail_parameters == {"SIZE": "9", "BODY": "8BITMIME"}
    assert message.content == HELLO
    assert message.received_at.tzinfo
    session = message.session
    assert (session.peer, session.peer_port) == client.sock.getsockname()
    assert (session.ehlo, session.esmtp, session.tls) == ("client.example", True, None)


def test_ehlo_offers_a_login_on_this_machine(client: RawClient) -> None:
    assert ehlo_keywords(client.command(b"EHLO client.example"))["AUTH"] == "PLAIN LOGIN"


def test_a_reply_comes_when_the_message_is_routed_and_not_before(desk: Desk) -> None:
    go_on = threading.Event()

    def answer(_: Message) -> Reply:
        assert go_on.wait(10)
        return Reply(code=451, enhanced="4.4.1", text="Later")

    desk.answer = answer
    with desk.client() as client:
        assert client.envelope(A, [B]).code == 250
        client.wire(HELLO + b".\r\nNOOP\r\n")
        readable, _, _ = select.select([client.sock], [], [], 0.1)
        assert not readable
        go_on.set()
        assert said(client.reply()) == "451 4.4.1"
        assert said(client.reply()) == "250 2.0.0"


# Many at once


def test_sessions_have_no_dict_each_however_many_connect_before_the_first_goes_on(desk: Desk) -> None:
    """See `laid_out`: of attributes that come up later, the interpreter would keep one."""
    with ExitStack() as stack:
        clients = [stack.enter_context(desk.connect()) for _ in range(40)]
        for client in clients[-3:]:
            assert client.command(b"EHLO client.example").code == 250
            assert client.login(USER, PASSWORD).code == 235
            assert client.transaction(A, [B], HELLO).code == 250
            client.send(b"NO")
            client.send(b"OP\r\n")
        assert client.reply().code == 250
        kinds = (ClientSession, Conversation, Patience, Wire)
        found = [each for each in gc.get_objects() if issubclass(type(each), kinds)]
        assert {kind for kind in kinds for each in found if isinstance(each, kind)} == set(kinds)
        assert len(found) >= 2 * len(clients)
        assert not [
            each for each in found if any(isinstance(held, dict) for held in gc.get_referents(each))
        ]


# Pipelining and segments

SESSION = (
    b"EHLO client.example\r\n"
    b"AUTH PLAIN " + plain(USER, PASSWORD) + b"\r\n"
    b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nRCPT TO:<bad\r\nDATA\r\n"
    b"one\r\n..\r\n.\r\n"
    b"MAIL FROM:<>\r\nRSET\r\nRCPT TO:<b@b.example>\r\nBAD\x07\r\n"
    b"MAIL FROM:<c@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n.\r\n"
    b"QUIT\r\n"
)
REPLIES = [
    *("250", "235 2.7.0", "250 2.1.0", "250 2.1.5", "501 5.1.3", "354", "250 2.0.0"),
    *("250 2.1.0", "250 2.0.0", "503 5.5.1", "500 5.5.2"),
    *("250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0"),
]


def replies(client: RawClient) -> list[str]:
    heard = [said(client.reply()) for _ in REPLIES]
    assert client.at_eof()
    return heard


def test_a_whole_session_in_one_segment_is_answered_in_order(desk: Desk) -> None:
    """RFC 2920."""
    with desk.connect() as client:
        client.send(SESSION)
        assert replies(client) == REPLIES
    assert [message.content for message in desk.messages] == [b"one\r\n.\r\n", b""]


def test_a_session_octet_by_octet_is_answered_the_same(desk: Desk) -> None:
    with desk.connect() as client:
        for octet in SESSION:
            client.send(bytes((octet,)))
        assert replies(client) == REPLIES


def test_a_session_in_two_segments_is_answered_the_same_wherever_the_cut_is(desk: Desk) -> None:
    for at in range(0, len(SESSION), 3):
        with desk.connect() as client:
            client.send(SESSION[:at])
            client.send(SESSION[at:])
            assert replies(client) == REPLIES


def test_the_replies_to_a_segment_come_in_one(client: RawClient) -> None:
    client.send(100 * b"NOOP\r\n")
    one = b"250 2.0.0 OK\r\n"
    assert client.sock.recv(10_000) == 100 * one


def test_behind_quit_nothing_is_answered(client: RawClient) -> None:
    client.send(b"QUIT\r\nNOOP\r\nMAIL FROM:<a@a.example>\r\n")
    assert said(client.reply()) == "221 2.0.0"
    assert client.at_eof()


# Logging in


def test_plain_with_an_initial_response(client: RawClient) -> None:
    assert said(client.command(b"AUTH PLAIN " + plain(USER, PASSWORD))) == "235 2.7.0"


def test_plain_without_an_initial_response(client: RawClient) -> None:
    assert client.command(b"AUTH PLAIN") == RawReply(334, (b"",))
    assert said(client.command(plain(USER, PASSWORD))) == "235 2.7.0"


def test_plain_as_oneself(client: RawClient) -> None:
    assert said(client.command(b"AUTH PLAIN " + plain(USER, PASSWORD, USER))) == "235 2.7.0"


def test_plain_as_somebody_else_is_refused(client: RawClient) -> None:
    """RFC 4616 2: an authorization identity."""
    assert said(client.command(b"AUTH PLAIN " + plain(USER, PASSWORD, "root"))) == "535 5.7.8"


@pytest.mark.parametrize("initial", [b"", b" " + b64(USER)])
def test_login(client: RawClient, initial: bytes) -> None:
    if not initial:
        assert client.command(b"AUTH LOGIN") == RawReply(334, (b64("Username:"),))
        assert client.command(b64(USER)) == RawReply(334, (b64("Password:"),))
    else:
        assert client.command(b"AUTH LOGIN" + initial) == RawReply(334, (b64("Password:"),))
    assert said(client.command(b64(PASSWORD))) == "235 2.7.0"


def test_a_login_may_be_pipelined(client: RawClient) -> None:
    client.send(b"AUTH LOGIN\r\n" + b64(USER) + b"\r\n" + b64(PASSWORD) + b"\r\nNOOP\r\n")
    heard = [said(client.reply()) for _ in range(4)]
    assert heard == ["334", "334", "235 2.7.0", "250 2.0.0"]


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        ([b"AUTH PLAIN", b"*"], "501 5.7.0"),
        ([b"AUTH LOGIN", b"*"], "501 5.7.0"),
        ([b"AUTH LOGIN", b64(USER), b"*"], "501 5.7.0"),
        ([b"AUTH PLAIN !"], "501 5.5.2"),
        ([b"AUTH PLAIN", b"!"], "501 5.5.2"),
        ([b"AUTH LOGIN", b"YQ"], "501 5.5.2"),
        ([b"AUTH LOGIN", b64(USER), b"Y Q=="], "501 5.5.2"),
        ([b"AUTH PLAIN", 13_000 * b"A"], "501 5.5.2"),
        ([b"AUTH LOGIN", b64(USER) + b"\n" + b64(PASSWORD)], "501 5.5.2"),  # only CRLF ends a line
        ([b"AUTH PLAIN", b"\xff\x00"], "501 5.5.2"),
        ([b"AUTH PLAIN " + b64("no separators")], "501 5.5.2"),
    ],
)
def test_a_login_that_is_given_up_or_garbled_may_be_tried_again(
    client: RawClient, lines: list[bytes], reply: str
) -> None:
    *before, last = lines
    for line in before:
        assert client.command(line).code == 334
    assert said(client.command(last)) == reply
    assert client.command(b"NOOP").code == 250
    assert client.login(USER, PASSWORD).code == 235


def test_an_unknown_user_and_a_wrong_password_are_told_the_same(client: RawClient) -> None:
    assert client.login(USER, "wrong") == client.login("nobody@app.example", PASSWORD)
    assert said(client.login("", "")) == "535 5.7.8"


def test_five_failed_logins_end_the_session(client: RawClient) -> None:
    heard = [said(client.login(USER, "wrong")) for _ in range(MAX_FAILED_LOGINS)]
    assert heard == [*4 * ["535 5.7.8"], "421 4.7.0"]
    assert client.at_eof()


def test_logging_in_twice_is_out_of_order(client: RawClient) -> None:
    assert client.login(USER, PASSWORD).code == 235
    assert said(client.login(USER, PASSWORD)) == "503 5.5.1"


def test_without_a_login_no_mail(desk: Desk, client: RawClient) -> None:
    assert said(client.command(b"MAIL FROM:<a@a.example>")) == "530 5.7.0"
    assert said(client.command(b"DATA")) == "503 5.5.1"
    assert not desk.messages


@pytest.mark.parametrize(("allowed", "reply"), [(False, "538 5.7.11"), (True, "235 2.7.0")])
def test_a_login_in_clear_from_elsewhere_needs_leave(reply: str, *, allowed: bool) -> None:
    host = own_address()
    if host is None:
        pytest.skip("this machine has no address but loopback")
    with (
        Desk(allow_plaintext_auth=allowed, listen=[{"addr": f"{host}:0"}]) as desk,
        RawClient(host, desk.port) as client,
    ):
        offered = ehlo_keywords(client.command(b"EHLO client.example"))
        assert ("AUTH" in offered) == allowed
        assert said(client.login(USER, PASSWORD)) == reply


def own_address() -> str | None:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        host: str = sock.getsockname()[0]
    return None if host.startswith("127.") else host


def test_no_password_is_logged(client: RawClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client.login(USER, "wrong-word")
        client.command(b"AUTH LOGIN")
        client.command(b64(USER))
        client.command(b64("wrong-word"))
        client.login(USER, PASSWORD)
    for secret in ("wrong-word", PASSWORD):
        for form in (secret, b64(secret).decode(), plain(USER, secret).decode()):
            assert form not in caplog.text


# Faults of our own


def test_a_fault_is_451_and_the_session_goes_on(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Message) -> Reply:
        raise RuntimeError("secret detail")

    desk.answer = fail
    with desk.client() as client:
        assert client.transaction(A, [B], HELLO) == RawReply(451, (b"4.3.0 Local error in processing",))
        desk.answer = lambda _: TAKEN
        assert client.transaction(A, [B], HELLO).code == 250
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info


def test_a_fault_while_logging_in_is_451_too(client: RawClient) -> None:
    assert said(client.login("fault", "x")) == "451 4.3.0"
    assert client.login(USER, PASSWORD).code == 235


# Bounds


def test_a_line_that_is_too_long_is_refused_and_the_session_goes_on(client: RawClient) -> None:
    for length in (600, 12_288, 100_000, 1_000_000):
        assert said(client.command(b"NOOP " + length * b"x")) == "500 5.5.2"
    assert client.command(b"NOOP").code == 250


def test_content_that_is_too_big_is_refused_behind_its_end() -> None:
    with Desk(max_message_bytes=1000) as desk, desk.client() as client:
        exact, over = 996 * b"x" + b"\r\n\r\n", 997 * b"x" + b"\r\n\r\n"
        assert client.transaction(A, [B], over).code == 552
        assert client.transaction(A, [B], 10_000_000 * b"x").code == 552
        assert client.transaction(A, [B], exact).code == 250
        assert client.command(b"MAIL FROM:<a@a.example> SIZE=1001").code == 552
        assert [message.content for message in desk.messages] == [exact]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"EHLO client.example"],
        [b"EHLO client.example", b"AUTH LOGIN"],
        [b"EHLO client.example", b"AUTH PLAIN " + plain(USER, PASSWORD), b"MAIL FROM:<a@a.example>"],
    ],
    ids=len,
)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_is_silent_too_long_is_told_so(lines: list[bytes], loop: Loop) -> None:
    """RFC 5321 4.5.3.2.7."""
    started = time.monotonic()
    with Desk(loop, idle_s=0.2) as desk, desk.connect() as client:
        for line in lines:
            client.command(line)
        assert said(client.reply()) == "421 4.4.2"
        assert time.monotonic() - started > 0.15  # loops keep time in coarse steps
        assert client.at_eof()


def test_a_client_that_stops_in_its_content_is_told_so() -> None:
    with Desk(idle_s=0.2) as desk, desk.client() as client:
        assert client.envelope(A, [B]).code == 250
        client.wire(b"Subject: half")
        assert said(client.reply()) == "421 4.4.2"
        assert client.at_eof()
        assert not desk.messages


def test_waiting_for_our_reply_is_not_silence() -> None:
    with Desk(idle_s=0.1) as desk, desk.client() as client:
        never = threading.Event()

        def answer(_: Message) -> Reply:
            never.wait(0.4)
            return TAKEN

        desk.answer = answer
        assert client.transaction(A, [B], HELLO).code == 250


def test_a_client_that_never_reads_is_not_read_from_and_harms_nobody(desk: Desk) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with sock:
        sock.connect(("127.0.0.1", desk.port))
        assert sock.recv(1000).startswith(b"220 ")
        sock.setblocking(False)  # noqa: FBT003 - not ours to name
        sent, line, limit = 0, b"HELP " + 480 * b"x" + b"\r\n", 2**26
        while sent < limit and select.select([], [sock], [], 0.3)[1]:
            sent += sock.send((line * 200)[sent % len(line) :])
        assert sent < limit, "it would take everything"
        with desk.client() as client:
            assert client.transaction(A, [B], HELLO).code == 250
        # It has not forgotten the client either: once it reads, all is answered.
        sock.settimeout(10)
        replies = 0
        while replies < sent // len(line):
            heard = sock.recv(2**20)
            assert heard
            replies += heard.count(b"\n")
        assert replies == sent // len(line)


def test_a_flood_of_commands_is_answered_in_order(client: RawClient) -> None:
    lines = [b"NOOP", b"RSET", b"VRFY x", b"HELP", b"EXPN x"]
    client.send(b"".join(line + b"\r\n" for line in lines) * 2000)
    codes = [client.reply().code for _ in range(2000 * len(lines))]
    assert codes == [250, 250, 252, 214, 502] * 2000


def test_a_client_that_pipelines_much_behind_a_message_is_held_back(desk: Desk) -> None:
    go_on = threading.Event()

    def answer(_: Message) -> Reply:
        assert go_on.wait(10)
        return TAKEN

    desk.answer = answer
    with desk.client() as client:
        assert client.envelope(A, [B]).code == 250
        client.wire(HELLO + b".\r\n")
        client.fill(b"NOOP\r\n")
        go_on.set()
        assert said(client.reply()) == "250 2.0.0"
        assert said(client.reply()) == "250 2.0.0"


def test_many_clients_come_and_go(desk: Desk) -> None:
    clients = [desk.connect(read_banner=False) for _ in range(200)]
    for client in clients:
        assert client.reply().code == 220
    for client in clients[::2]:
        client.reset()
    for client in clients[1::2]:
        client.close()
    with desk.client() as client:
        assert client.transaction(A, [B], HELLO).code == 250
