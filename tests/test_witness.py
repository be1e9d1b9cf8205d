"""The witness and the raw client, held against each other and against smtplib."""

import contextlib
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
import trustme

from tests.delivery import Delivery
from tests.rawclient import RawClient, RawReply, ehlo_keywords
from tests.script import DRIP, DROP, HANG, NORMAL, RESET, Act, Plan, Raw, Then
from tests.witness import Witness

A, B = b"a@a.example", b"b@b.example"
HELLO = b"Subject: hello\r\n\r\nhello\r\n"


def client(w: Witness, *, ehlo: bool = True, read_banner: bool = True) -> RawClient:
    c = RawClient(w.host, w.port, read_banner=read_banner)
    if ehlo:
        assert c.command(b"EHLO me.example").code == 250
    return c


def deliver(w: Witness, content: bytes = HELLO) -> RawReply:
    with client(w) as c:
        return c.transaction(A, [B], content)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def client_tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


@pytest.fixture
def w() -> Iterator[Witness]:
    with Witness() as witness:
        yield witness


# What is recorded.


def test_a_delivery_holds_the_whole_transaction(w: Witness) -> None:
    with client(w) as c:
        reply = c.transaction(A, [B, b'"o>dd"@b.example'], HELLO, params=b"BODY=8BITMIME")
        assert reply == RawReply(250, (b"2.0.0 kept by a",))
        assert reply.enhanced == "2.0.0"
        assert c.command(b"QUIT").code == 221
        assert c.at_eof()
    assert w.deliveries == [
        Delivery(
            mail_line=b"MAIL FROM:<a@a.example> BODY=8BITMIME",
            rcpt_lines=(b"RCPT TO:<b@b.example>", b'RCPT TO:<"o>dd"@b.example>'),
            mail_from=A,
            rcpt_tos=(B, b'"o>dd"@b.example'),
            content=HELLO,
            wire=HELLO,
            ehlo=b"me.example",
            login=None,
            tls=False,
            connection=1,
        )
    ]
    rcpts = w.deliveries[0].rcpt_lines
    assert w.commands == [
        b"EHLO me.example",
        b"MAIL FROM:<a@a.example> BODY=8BITMIME",
        *rcpts,
        b"DATA",
        b"QUIT",
    ]
    w.wait_for(lambda: w.open_now == 0)
    assert (w.connections, w.quits) == (1, 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b".\r\n",
        b"..\r\n.\r\n...\r\n",
        b".a\r\n\r\n.\r\n.b\r\n",
        b"caf\xe9 \xff\xfe \xe2\x98\x83\r\n",
        b"bare\nlf\n.\nand\rcr\r.\r\r\n",
        b"\n.\r\n\r.\r\n",
        b"nul \0 and \x0b\x0c\x85\r\n",
        b"x" * 100_000 + b"\r\n",
    ],
)
def test_content_is_recorded_byte_for_byte(w: Witness, content: bytes) -> None:
    assert deliver(w, content).code == 250
    assert w.deliveries[0].content == content


def test_content_without_a_last_crlf_is_recorded_with_it(w: Witness) -> None:
    assert deliver(w, b"end").code == 250
    assert w.deliveries[0].content == b"end\r\n"


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\n.\r"])
def test_nothing_but_crlf_dot_crlf_ends_content(w: Witness, end: bytes) -> None:
    smuggled = b"one" + end + b"MAIL FROM:<x@x.example>\r\n"
    with client(w) as c:
        assert c.envelope(A, [B]).code == 250
        c.wire(smuggled + b".\r\n")
        assert c.reply().code == 250
        assert c.command(b"NOOP").code == 250
    (delivery,) = w.deliveries
    assert delivery.wire == smuggled
    assert w.commands.count(b"MAIL FROM:<x@x.example>") == 0


def test_content_may_be_split_anywhere(w: Witness) -> None:
    with client(w) as c:
        assert c.envelope(A, [B]).code == 250
        c.wire(b"")
        for byte in b"..a\r\n\r.\r\n.\r\n":
            c.send(bytes((byte,)))
        assert c.reply().code == 250
    assert w.deliveries[0].wire == b"..a\r\n\r.\r\n"
    assert w.deliveries[0].content == b".a\r\n\r.\r\n"


def test_ten_megabytes_take_seconds_at_most(w: Witness) -> None:
    content = b".23456789 123456789 123456789 \r\n" * (10 * 2**20 // 32)
    started = time.monotonic()
    assert deliver(w, content).code == 250
    assert time.monotonic() - started < 5
    assert w.deliveries[0].content == content


def test_pipelined_commands_are_answered_one_by_one(w: Witness) -> None:
    one = b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n" + HELLO + b".\r\n"
    with client(w) as c:
        c.send(one + one + b"QUIT\r\n")
        codes = [c.reply().code for _ in range(9)]
    assert codes == [250, 250, 354, 250] * 2 + [221]
    assert [d.content for d in w.deliveries] == [HELLO, HELLO]


def test_body_below_received_takes_off_one_folded_field(w: Witness) -> None:
    received = b"Received: from x\r\n\tby y\r\n with z; now\r\n"
    assert deliver(w, received + b"Received: older\r\n" + HELLO).code == 250
    assert w.deliveries[0].body_below_received == b"Received: older\r\n" + HELLO
    assert deliver(w, HELLO).code == 250
    with pytest.raises(AssertionError, match="no Received"):
        _ = w.deliveries[1].body_below_received


def test_smtplib_delivers_too(w: Witness) -> None:
    with smtplib.SMTP(w.host, w.port, timeout=10) as s:
        assert s.sendmail("a@a.example", ["b@b.example", "c@c.example"], b".dot\r\ncaf\xe9\r\n") == {}
        assert s.sendmail("", ["b@b.example"], HELLO) == {}
    one, two = w.wait_deliveries(2)
    assert one.content == b".dot\r\ncaf\xe9\r\n"
    assert one.wire == b"..dot\r\ncaf\xe9\r\n"
    assert one.rcpt_tos == (b"b@b.example", b"c@c.example")
    assert (two.mail_from, two.content) == (b"", HELLO)
    assert one.connection == two.connection == 1


def test_wait_deliveries_waits_and_gives_up(w: Witness) -> None:
    sender = threading.Thread(target=deliver, args=(w,))
    sender.start()
    assert [d.content for d in w.wait_deliveries(1)] == [HELLO]
    sender.join()
    with pytest.raises(AssertionError, match=r"not within 0.01 s: <Witness a .* 1 delivered"):
        w.wait_deliveries(2, seconds=0.01)


def test_connections_are_served_side_by_side(w: Witness) -> None:
    senders = [threading.Thread(target=deliver, args=(w, b"%d\r\n" % n)) for n in range(40)]
    for sender in senders:
        sender.start()
    found = w.wait_deliveries(40)
    for sender in senders:
        sender.join()
    assert {d.content for d in found} == {b"%d\r\n" % n for n in range(40)}
    assert {d.connection for d in found} == set(range(1, 41))


# The order of commands, and what is offered.


@pytest.mark.parametrize(
    ("dialogue", "code"),
    [
        ([b"MAIL FROM:<a@a.example>"], 503),
        ([b"EHLO me", b"RCPT TO:<b@b.example>"], 503),
        ([b"EHLO me", b"MAIL FROM:<a@a.example>", b"DATA"], 503),
        ([b"EHLO me", b"MAIL FROM:<>", b"MAIL FROM:<>"], 503),
        ([b"EHLO me", b"MAIL FROM:<>", b"RSET", b"MAIL FROM:<>"], 250),
        ([b"EHLO me", b"MAIL FROM:<>", b"EHLO me", b"MAIL FROM:<>"], 250),
        ([b"EHLO me", b"MAIL FROM: <a@a.example>"], 501),
        ([b"EHLO me", b"mail from:<a@a.example> smtputf8 size=12"], 250),
        ([b"EHLO me", b"MAIL FROM:<a@a.example> RET=HDRS"], 555),
        ([b"HELO me", b"MAIL FROM:<a@a.example> BODY=8BITMIME"], 555),
        ([b"HELO me", b"MAIL FROM:<a@a.example>"], 250),
        ([b"EHLO me", b"AUTH PLAIN AGEAYg=="], 502),
        ([b"STARTTLS"], 503),
        ([b"NOOP"], 250),
        ([b"VRFY a"], 500),
    ],
)
def test_commands_have_their_order(w: Witness, dialogue: list[bytes], code: int) -> None:
    with client(w, ehlo=False) as c:
        assert [c.command(line).code for line in dialogue][-1] == code


def test_ehlo_lists_what_is_offered(server_tls: ssl.SSLContext) -> None:
    with Witness(offer=("SIZE 7", "DSN"), auth=("u", "p"), tls=server_tls, name="mx.example") as w:
        with client(w, ehlo=False) as c:
            assert c.banner == RawReply(220, (b"mx.example ESMTP witness",))
            reply = c.command(b"EHLO me")
            assert c.command(b"AUTH PLAIN AHUAcA==").code == 235
            assert c.envelope(A, [B], params=b"RET=HDRS").code == 250
        assert reply.lines[0] == b"mx.example"
        offered = {"SIZE": "7", "DSN": "", "STARTTLS": "", "AUTH": "PLAIN LOGIN"}
        assert ehlo_keywords(reply) == offered


# AUTH and TLS.


def test_mail_needs_a_login_when_there_are_credentials() -> None:
    with Witness(auth=("user", "pässword")) as w:
        with client(w) as c:
            assert c.envelope(A, [B]) == RawReply(530, (b"5.7.0 login required",))
            assert c.login("user", "wrong").enhanced == "5.7.8"
            assert c.login("user", "pässword").code == 235
            assert c.login("user", "pässword").code == 503
            assert c.transaction(A, [B], HELLO).code == 250
        assert w.deliveries[0].login == b"user"
        assert w.commands[2].startswith(b"AUTH PLAIN AHVzZXIA")


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ([b"AUTH PLAIN", b"AHUAcA=="], [334, 235]),
        ([b"AUTH plain dQB1AHA="], [235]),
        ([b"AUTH PLAIN eAB1AHA="], [535]),
        ([b"AUTH PLAIN", b"*"], [334, 501]),
        ([b"AUTH PLAIN ="], [501]),
        ([b"AUTH PLAIN !!!"], [501]),
        ([b"AUTH LOGIN", b"dQ==", b"cA=="], [334, 334, 235]),
        ([b"AUTH LOGIN dQ==", b"cQ=="], [334, 535]),
        ([b"AUTH CRAM-MD5"], [504]),
    ],
)
def test_auth_dialogues(lines: list[bytes], codes: list[int]) -> None:
    with Witness(auth=("u", "p")) as w, client(w) as c:
        assert [c.command(line).code for line in lines] == codes
        assert w.commands[1:] == lines


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_smtplib_logs_in(mechanism: str) -> None:
    with (
        Witness(auth=("user", "secret"), auth_mechanisms=(mechanism,)) as w,
        smtplib.SMTP(w.host, w.port, timeout=10) as s,
    ):
        s.login("user", "secret")
        s.sendmail("a@a.example", ["b@b.example"], HELLO)
        assert w.deliveries[0].login == b"user"


def test_starttls_encrypts_and_forgets(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with Witness(tls=server_tls, auth=("u", "p")) as w:
        with client(w) as c:
            assert c.login("u", "p").code == 235
            assert c.starttls(client_tls).code == 220
            assert c.envelope(A, [B]).code == 503
            assert "STARTTLS" not in ehlo_keywords(c.command(b"EHLO tls.example"))
            assert c.envelope(A, [B]).code == 530
            assert c.login("u", "p").code == 235
            assert c.transaction(A, [B], HELLO).code == 250
            assert c.command(b"STARTTLS").code == 503
        (delivery,) = w.deliveries
        assert (delivery.tls, delivery.ehlo) == (True, b"tls.example")


def test_starttls_drops_what_was_pipelined_in_clear(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    with Witness(tls=server_tls) as w, client(w) as c:
        c.send(b"STARTTLS\r\nNOOP\r\n")
        assert c.reply().code == 220
        c.sock = client_tls.wrap_socket(c.sock, server_hostname="localhost")
        assert c.command(b"EHLO tls.example").code == 250
        assert w.commands == [b"EHLO me.example", b"STARTTLS", b"EHLO tls.example"]


def test_implicit_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with Witness(tls=server_tls, implicit_tls=True) as w:
        with RawClient(w.host, w.port, tls=client_tls) as c:
            assert "STARTTLS" not in ehlo_keywords(c.command(b"EHLO me"))
            assert c.transaction(A, [B], HELLO).code == 250
        assert w.deliveries[0].tls


def test_smtplib_speaks_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with Witness(tls=server_tls) as w, smtplib.SMTP("localhost", w.port, timeout=10) as s:
        s.starttls(context=client_tls)
        s.sendmail("a@a.example", ["b@b.example"], HELLO)
        assert w.deliveries[0].tls


def test_a_failed_handshake_ends_the_connection_only(server_tls: ssl.SSLContext) -> None:
    with Witness(tls=server_tls, implicit_tls=True) as w:
        strict = ssl.create_default_context()  # knows no such CA
        with pytest.raises(ssl.SSLError), RawClient(w.host, w.port, tls=strict):
            pass
        w.wait_for(lambda: w.connections == 1 and w.open_now == 0)


# The script. `LINES` lead through all stages; a stage's place in them says where the script shows.

LINES = {
    "ehlo": b"EHLO me",
    "mail": b"MAIL FROM:<a@a.example>",
    "rcpt": b"RCPT TO:<b@b.example>",
    "data": b"DATA",
    "final": HELLO + b".",
    "rset": b"RSET",
    "quit": b"QUIT",
}


def lead_to(c: RawClient, stage: str) -> None:
    """Talk up to this stage, and send its line."""
    for name, line in LINES.items():
        c.send(line + b"\r\n")
        if name == stage:
            return
        assert c.reply().code < 400


@contextlib.contextmanager
def misbehaving(stage: str, plan: Plan) -> Iterator[tuple[Witness, RawClient]]:
    with (
        Witness({stage: plan}) as w,
        client(w, ehlo=False, read_banner=stage not in {"accept", "banner"}) as c,
    ):
        if stage in LINES:
            lead_to(c, stage)
        yield w, c


@pytest.mark.parametrize("stage", ["banner", *LINES])
@pytest.mark.parametrize(
    ("plan", "codes"),
    [
        (b"451 4.3.0 later", [451]),
        (b"550-5.7.1 no\r\n550 5.7.1 really", [550]),
        (Raw(b"250 one\r\n250 two\r\n"), [250, 250]),
        ([Then(b"452 4.3.1 full"), DROP], [452, None]),
        (b"421 4.3.2 closing", [421, None]),
        (lambda _: b"450 4.2.0 called", [450]),
    ],
)
def test_scripted_replies(stage: str, plan: Plan, codes: list[int | None]) -> None:
    with misbehaving(stage, plan) as (_, c):
        for code in codes:
            if code is None:
                assert c.at_eof()
            else:
                assert c.reply().code == code


@pytest.mark.parametrize("stage", ["accept", "banner", *LINES])
def test_drop_closes_without_an_answer(stage: str) -> None:
    with misbehaving(stage, DROP) as (_, c), pytest.raises(EOFError):
        c.reply()


@pytest.mark.parametrize("stage", ["accept", "banner", *LINES])
def test_reset_resets(stage: str) -> None:
    # also before it is a connection for the client
    with pytest.raises(ConnectionResetError), misbehaving(stage, RESET) as (_, c):
        c.reply()


@pytest.mark.parametrize("stage", ["accept", "banner", *LINES])
@pytest.mark.parametrize("way_out", ["release", "stop", "peer"])
def test_hang_says_nothing_until_released(stage: str, way_out: str) -> None:
    with misbehaving(stage, HANG) as (w, c):
        w.wait_for(lambda: w.hanging)
        assert not c.at_eof(0.02)
        if way_out == "peer":
            c.close()
        else:
            getattr(w, way_out)()
            assert c.at_eof()
        w.wait_for(lambda: w.open_now == 0)


def test_drip_answers_bit_by_bit() -> None:
    with misbehaving("final", DRIP) as (w, c):
        started = time.monotonic()
        assert c.reply() == RawReply(250, (b"2.0.0 kept by a",))
        assert time.monotonic() - started > 0.5
        assert c.command(b"NOOP").code == 250
    assert len(w.deliveries) == 1


@pytest.mark.parametrize("raw", [b"250-half\r\n", b"25", b"hello\r\n", b"250 caf\xe9\r\n", b"250 lf\n"])
def test_raw_is_sent_as_it_is(raw: bytes) -> None:
    with misbehaving("mail", Then(Raw(raw))) as (_, c):
        found = b"".join(iter(lambda: c.sock.recv(100), b""))
        assert found == raw


@pytest.mark.parametrize("raw", [b"250-half\r\n", b"25", b"hello\r\n", b"250 caf\xe9\r\n", b"250 lf\n"])
def test_the_client_takes_no_malformed_reply(raw: bytes) -> None:
    with misbehaving("mail", Then(Raw(raw))) as (_, c), pytest.raises(AssertionError):
        c.reply()


@pytest.mark.parametrize(
    ("action", "ledger"),
    [
        (NORMAL, "deliveries"),
        (b"250 ok", "deliveries"),
        (Then(b"250 ok"), "deliveries"),
        (Then(NORMAL, RESET), "deliveries"),
        (Raw(b"250 half a re"), "deliveries"),
        (b"451 later", "refused"),
        (b"554-no\r\n554 never", "refused"),
        (b"421 closing", "refused"),
        (DROP, "unanswered"),
        (RESET, "unanswered"),
        (HANG, "unanswered"),
        (Raw(b"hm\r\n"), "unanswered"),
        (b"000 what", "unanswered"),
    ],
)
def test_the_final_answer_decides_where_a_message_is_kept(action: Plan, ledger: str) -> None:
    with misbehaving("final", action) as (w, _):
        w.wait_for(lambda: getattr(w, ledger))
    kept = {name: len(getattr(w, name)) for name in ("deliveries", "refused", "unanswered")}
    assert kept == {"deliveries": 0, "refused": 0, "unanswered": 0} | {ledger: 1}
    assert getattr(w, ledger)[0].content == HELLO


@pytest.mark.parametrize("action", [DROP, RESET, HANG, Then(b"452 4.3.1 full", RESET)])
def test_content_stage_acts_before_the_end(action: Act | Then) -> None:
    with Witness({"content": action}) as w:
        with client(w) as c:
            assert c.envelope(A, [B]).code == 250
            c.wire(b"first bytes\r\n")
            if action is HANG:
                w.wait_for(lambda: w.hanging)
                w.release()
            if isinstance(action, Then):
                assert c.reply().code == 452
            assert c.at_eof()
        assert not w.deliveries + w.refused + w.unanswered


def test_a_hang_in_content_stops_reading() -> None:
    with Witness({"content": HANG}) as w, client(w) as c:
        assert c.envelope(A, [B]).code == 250
        c.wire(b"first bytes\r\n")
        w.wait_for(lambda: w.hanging)
        c.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            c.send(bytes(20_000_000))


def test_an_early_verdict_in_content_stands_in_for_the_final_one() -> None:
    with Witness({"content": [b"552 5.3.4 too big", NORMAL]}) as w, client(w) as c:
        assert c.transaction(A, [B], HELLO).code == 552
        assert c.transaction(A, [B], HELLO).code == 250
        assert (len(w.refused), len(w.deliveries)) == (1, 1)


def test_a_refusing_banner_waits_for_quit() -> None:
    with (
        Witness({"banner": b"554 5.3.2 no service"}) as w,
        client(w, ehlo=False) as c,
    ):
        assert c.banner == RawReply(554, (b"5.3.2 no service",))
        assert c.command(b"EHLO me").code == 503
        assert c.command(b"QUIT").code == 221


def test_a_recipient_of_its_own_takes_precedence() -> None:
    script: dict[str, Plan] = {"rcpt": [b"450 4.2.1 first", NORMAL], "rcpt:b@b.example": b"550 no"}
    with Witness(script) as w:
        with client(w) as c:
            assert c.envelope(A, [A]).code == 450
            assert c.command(b"RCPT TO:<b@b.example>").code == 550
            assert c.command(b"DATA").code == 503
            assert c.command(b"RCPT TO:<c@c.example>").code == 250
            c.wire(HELLO + b".\r\n")
            assert c.reply().code == 250
        assert w.deliveries[0].rcpt_tos == (b"c@c.example",)


def test_a_list_is_used_up_and_its_last_action_stays() -> None:
    plan: list[bytes | Act] = [b"451 one", b"452 two", NORMAL]
    with Witness({"mail": [*plan]}) as w, client(w) as c:
        codes = [c.command(line).code for line in [b"MAIL FROM:<>"] * 3]
        assert c.command(b"RSET").code == 250
        assert [*codes, c.command(b"MAIL FROM:<>").code] == [451, 452, 250, 250]


def test_a_callable_sees_the_line_and_the_content() -> None:
    seen: list[bytes] = []

    def look(about: bytes) -> Act:
        seen.append(about)
        return NORMAL

    with Witness({"rcpt": look, "final": look}) as w:
        assert deliver(w).code == 250
    assert seen == [b"RCPT TO:<b@b.example>", HELLO]


def test_a_stage_can_be_scripted_later(w: Witness) -> None:
    w.on("final", b"451 4.3.0 now it is broken")
    assert deliver(w).code == 451
    w.on("final", NORMAL)
    assert deliver(w).code == 250


def test_a_misspelt_stage_is_refused() -> None:
    with pytest.raises(AssertionError, match="no stage 'finale'"):
        Witness({"finale": DROP})


def test_starttls_can_be_refused_or_spoilt(server_tls: ssl.SSLContext) -> None:
    plan: list[bytes | Then] = [b"454 4.7.0 no", Then(b"220 go")]
    with Witness({"starttls": [*plan]}, tls=server_tls) as w, client(w) as c:
        assert [c.command(b"STARTTLS").code for _ in plan] == [454, 220]
        assert c.at_eof()


def test_auth_can_be_scripted() -> None:
    with Witness({"auth": [b"454 4.7.0 later", NORMAL]}, auth=("u", "p")) as w, client(w) as c:
        assert c.login("u", "p").code == 454
        assert c.login("u", "p").code == 235


# Stop and start.


def test_stop_closes_everything_and_start_listens_on_the_same_port(w: Witness) -> None:
    port = w.port
    with client(w) as idle, RawClient(w.host, port) as other:
        assert other.envelope(A, [B]).code == 503
        w.stop()
        assert idle.at_eof()
        assert other.at_eof()
    assert w.open_now == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((w.host, port), 1)
    w.stop()
    w.start()
    assert w.port == port
    assert deliver(w).code == 250
    assert len(w.deliveries) == 1


def test_stop_ends_a_handshake_that_waits(server_tls: ssl.SSLContext) -> None:
    with (
        Witness(tls=server_tls, implicit_tls=True) as w,
        RawClient(w.host, w.port, read_banner=False) as c,
    ):
        w.wait_for(lambda: w.open_now == 1)
        started = time.monotonic()
        w.stop()
        assert time.monotonic() - started < 2
        assert c.at_eof()


@pytest.mark.parametrize("stage", ["mail", "content"])
def test_no_thread_outlives_the_witness(stage: str) -> None:
    with Witness({stage: HANG}, name="mortal") as w, client(w) as c, client(w):
        c.send(b"MAIL FROM:<>\r\nRCPT TO:<b@b.example>\r\nDATA\r\nx")
        w.wait_for(lambda: w.hanging)
        w.stop()
        assert not [t for t in threading.enumerate() if t.name.startswith("witness-mortal")]


# The client's other ways.


def test_a_client_may_half_close_or_reset(w: Witness) -> None:
    with client(w) as c:
        c.send(b"NOOP\r\n")
        c.shutdown_write()
        assert c.reply().code == 250
        assert c.at_eof()
    with client(w) as c:
        c.reset()
    w.wait_for(lambda: w.open_now == 0)


def test_at_eof_keeps_what_came_instead(w: Witness) -> None:
    with client(w) as c:
        c.send(b"NOOP\r\n")
        assert not c.at_eof()
        assert c.reply().code == 250
