"""The sender against a downstream that does what it should not."""

import asyncio
import base64
import itertools
import json
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import pytest
import trustme

from smtp_router import Deferred, Delivered, InDoubt, Message, Outcome, Rejected, Reply, Stage
from smtp_router.config.load import parse
from smtp_router.core.outcome import OutcomeKind
from smtp_router.smtp.connection import AttemptEnded, Connection
from smtp_router.smtp.sender import SmtpSender
from smtp_router.smtp.tls import ClientContexts
from tests.faults import CASES, Case
from tests.running import Config, downstream, one_user
from tests.support import make_message
from tests.witness import DRIP, DROP, HANG, NORMAL, RESET, Plan, Raw, Step, Then, Witness

LOGIN = ("router", "s3cret-word")
LOCALHOST = "localhost"
NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass
class Sending:
    """A sender, and how it is used."""

    sender: SmtpSender
    ca: Path
    timeouts: dict[str, float] = field(default_factory=dict)

    async def to(
        self,
        witness: Witness,
        message: Message | None = None,
        *,
        seconds: float = 10,
        deadline_s: float = 10,
        more: Mapping[str, object] = NOTHING,
    ) -> Outcome:
        """Send a message to a witness; `more` goes into the downstream's configuration."""
        entry: Config = {"tls": "auto" if witness.tls else "none", "tls_ca": str(self.ca)}
        if witness.tls:
            entry["addr"] = f"{LOCALHOST}:{witness.port}"
        if witness.implicit_tls:
            entry["tls"] = "implicit"
        configuration = one_user(downstream(witness, **entry | dict(more)), timeouts=self.timeouts)
        settings = parse(json.dumps(configuration).encode(), Path("config.yaml")).settings
        now = asyncio.get_running_loop().time()
        return await self.sender.send(
            message or make_message(),
            settings.users[0].downstreams[0],
            settings,
            until=now + seconds,
            deadline=now + deadline_s,
        )


async def until(witness: Witness, predicate: Callable[[], object]) -> None:
    """Wait for something at the witness while the event loop goes on."""
    await asyncio.to_thread(witness.wait_for, predicate)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(LOCALHOST).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return path


@pytest.fixture
async def sending(ca_file: Path) -> AsyncIterator[Sending]:
    """A sender that leaves no task and no connection behind."""
    sender = SmtpSender()
    yield Sending(sender, ca_file)
    await sender.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def w() -> Iterator[Witness]:
    with Witness() as witness:
        yield witness


# Every fault at every stage


MODES = ("clear", "starttls", "implicit")


@pytest.mark.parametrize(
    ("case", "mode"),
    [
        pytest.param(case, mode, id=f"{case}-{mode}")
        for case, mode in itertools.product(CASES, MODES)
        if case.where != "starttls" or mode == "starttls"
    ],
)
async def test_a_fault_becomes_the_outcome_that_the_table_says(
    case: Case, mode: str, sending: Sending, server_tls: ssl.SSLContext
) -> None:
    plan: Plan = case.step
    if case.where == "ehlo" and mode == "starttls":
        plan = [NORMAL, case.step]  # the EHLO behind STARTTLS
    tls = None if mode == "clear" else server_tls
    script = {case.where: plan}
    with Witness(script, auth=LOGIN, tls=tls, implicit_tls=mode == "implicit") as witness:
        sending.timeouts = case.timeouts
        outcome = await sending.to(witness)
        delivered = len(witness.deliveries)
    assert (outcome.kind, outcome.stage) == (KIND_OF[case.cell], STAGE_OF.get(case.cell, case.stage))
    if case.cell != "?":
        assert delivered == (case.cell == "+")
    assert str(outcome).isascii()
    assert str(outcome).isprintable()
    assert LOGIN[1] not in str(outcome)


KIND_OF = {
    "+": OutcomeKind.DELIVERED,
    "-": OutcomeKind.DEFERRED,
    "x": OutcomeKind.REJECTED,
    "?": OutcomeKind.IN_DOUBT,
}
STAGE_OF = {"+": Stage.FINAL}


@pytest.mark.parametrize("case", [one for one in CASES if isinstance(one.reply, Reply)], ids=str)
async def test_the_downstreams_own_reply_is_in_the_outcome(
    case: Case, sending: Sending, server_tls: ssl.SSLContext
) -> None:
    with Witness({case.where: case.step}, auth=LOGIN, tls=server_tls) as witness:
        outcome = await sending.to(witness)
    assert outcome.reply is not None
    named = "<rcpt@b.example>: " if case.where == "rcpt" else ""
    assert case.reply is not None
    assert outcome.reply == replace(case.reply, text=named + case.reply.text)


async def test_a_reply_that_drips_is_a_reply(sending: Sending) -> None:
    with Witness({"mail": DRIP}) as witness:
        assert isinstance(await sending.to(witness), Delivered)


async def test_nobody_listening_is_deferred_at_connect(sending: Sending, w: Witness) -> None:
    w.stop()
    outcome = await sending.to(w)
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.CONNECT)


async def test_a_name_that_does_not_exist_is_deferred_at_connect(sending: Sending, w: Witness) -> None:
    outcome = await sending.to(w, more={"addr": "host.invalid:25"})
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.CONNECT)


# While the content is on its way: more of it than all buffers between the two take.

BIG = make_message(content=b"Subject: big\r\n\r\n" + 1_000_000 * b"0123456789 abcdefg\r\n")


@pytest.mark.parametrize(
    ("step", "kind", "stage"),
    [
        pytest.param(b"452 4.3.1 full", OutcomeKind.DEFERRED, Stage.FINAL, id="4yz"),
        pytest.param(b"552 5.3.4 too big", OutcomeKind.REJECTED, Stage.FINAL, id="5yz"),
        pytest.param(b"421 4.3.2 closing", OutcomeKind.DEFERRED, Stage.FINAL, id="421"),
        pytest.param(DROP, OutcomeKind.DEFERRED, Stage.DATA, id="drop"),
        pytest.param(RESET, OutcomeKind.DEFERRED, Stage.DATA, id="reset"),
        pytest.param(Then(b"250 2.0.0 fine", HANG), OutcomeKind.DEFERRED, Stage.DATA, id="early 250"),
        pytest.param(Then(b"what?", HANG), OutcomeKind.DEFERRED, Stage.DATA, id="garbage"),
    ],
)
@pytest.mark.parametrize("tls", ["clear", "implicit"])
async def test_before_the_dot_is_out_nothing_is_in_doubt(  # noqa: PLR0917 - parameters and fixtures
    step: Step,
    kind: OutcomeKind,
    stage: Stage,
    tls: str,
    sending: Sending,
    server_tls: ssl.SSLContext,
) -> None:
    implicit = server_tls if tls == "implicit" else None
    with Witness({"content": step}, tls=implicit, implicit_tls=bool(implicit)) as witness:
        outcome = await sending.to(witness, BIG)
        assert not witness.deliveries
    assert (outcome.kind, outcome.stage) == (kind, stage), outcome


async def test_content_that_is_not_read_is_given_up_when_the_attempts_time_is_over(
    sending: Sending,
) -> None:
    with Witness({"content": HANG}) as witness:
        outcome = await sending.to(witness, BIG, seconds=0.3)
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.DATA)


async def test_the_dot_may_go_out_late_and_the_reply_come_later_still(sending: Sending) -> None:
    """`until` ends with the dot; from there on, the message's deadline counts."""
    waited = threading.Event()

    def wait(_: bytes) -> Step:
        waited.wait(5)
        return NORMAL

    with Witness({"final": wait}) as witness:
        sent = asyncio.create_task(sending.to(witness, seconds=0.2))
        done, _ = await asyncio.wait({sent}, timeout=0.4)
        assert not done
        waited.set()
        assert isinstance(await sent, Delivered)


async def test_no_reply_to_the_dot_by_the_deadline_is_in_doubt(sending: Sending) -> None:
    with Witness({"final": HANG}) as witness:
        outcome = await sending.to(witness, seconds=0.2, deadline_s=0.3)
        assert len(witness.unanswered) + len(witness.hanging) > 0
    assert isinstance(outcome, InDoubt)


# Cancellation: the client is gone


@pytest.mark.parametrize("where", ["banner", "ehlo", "auth", "mail", "rcpt", "data"])
async def test_cancelled_before_the_dot_nothing_is_sent(sending: Sending, where: str) -> None:
    with Witness({where: HANG}, auth=LOGIN) as witness:
        sent = asyncio.create_task(sending.to(witness))
        await until(witness, lambda: witness.hanging)
        sent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sent
        await until(witness, lambda: not witness.open_now)
        assert not witness.deliveries
        assert not witness.unanswered


async def test_cancelled_behind_the_dot_the_outcome_is_waited_for(sending: Sending) -> None:
    released = threading.Event()
    reached = threading.Event()

    def wait(_: bytes) -> Step:
        reached.set()
        released.wait(5)
        return NORMAL

    outcomes: list[Outcome] = []

    async def send() -> None:
        outcomes.append(await sending.to(witness))

    with Witness({"final": wait}) as witness:
        sent = asyncio.create_task(send())
        await asyncio.to_thread(reached.wait, 5)
        sent.cancel()
        done, _ = await asyncio.wait({sent}, timeout=0.1)
        assert not done
        released.set()
        await asyncio.wait({sent}, timeout=5)
        assert isinstance(outcomes[0], Delivered)
        assert len(witness.deliveries) == 1
        assert sent.cancelled()  # the cancellation counts from the next wait on


async def test_cancelled_twice_behind_the_dot_it_is_in_doubt(sending: Sending) -> None:
    with Witness({"final": HANG}) as witness:
        sent = asyncio.create_task(sending.to(witness))
        await until(witness, lambda: witness.hanging)
        sent.cancel()
        sent.cancel()
        assert isinstance(await sent, InDoubt)
        await until(witness, lambda: not witness.open_now)


# Recipients

ANSWERS = {"+": b"250 2.1.5 yes", "4": b"450 4.2.1 not now", "5": b"550 5.1.1 not here"}
NAMES = tuple(f"r{number}@b.example" for number in range(4))


@pytest.mark.parametrize("pattern", ["".join(one) for one in itertools.product("+45", repeat=4)])
async def test_recipients_are_taken_all_or_none(sending: Sending, pattern: str) -> None:
    script: dict[str, Plan] = {
        f"rcpt:{name}": ANSWERS[answer] for name, answer in zip(NAMES, pattern, strict=True)
    }
    with Witness(script) as witness:
        outcome = await sending.to(witness, make_message(rcpt_tos=NAMES))
        await sending.sender.close()
        await until(witness, lambda: witness.quits)
    verbs = [line.split()[0].decode() for line in witness.commands]
    decisive = next((answer for answer in "54" if answer in pattern), "+")
    if decisive == "+":
        assert isinstance(outcome, Delivered)
        assert verbs == ["EHLO", "MAIL", *4 * ["RCPT"], "DATA", "QUIT"]
        assert witness.deliveries[0].rcpt_tos == tuple(name.encode() for name in NAMES)
        return
    assert isinstance(outcome, Rejected if decisive == "5" else Deferred)
    assert outcome.stage is Stage.RCPT
    assert verbs == ["EHLO", "MAIL", *4 * ["RCPT"], "RSET", "QUIT"]
    code, enhanced, text = ANSWERS[decisive].decode().split(" ", 2)
    refused = NAMES[pattern.index(decisive)]
    assert outcome.reply == Reply(code=int(code), enhanced=enhanced, text=f"<{refused}>: {text}")
    assert not witness.deliveries


@pytest.mark.parametrize("end", [DROP, RESET, b"421 4.3.2 closing"], ids=str)
async def test_a_connection_lost_among_the_recipients_is_deferred(sending: Sending, end: Step) -> None:
    with Witness({"rcpt:r0@b.example": b"550 5.1.1 not here", "rcpt:r2@b.example": end}) as witness:
        outcome = await sending.to(witness, make_message(rcpt_tos=NAMES))
        assert not witness.deliveries
    assert outcome.stage is Stage.RCPT


# The parameters of MAIL

UTF8 = make_message(
    mail_from="jürgen@a.example",
    rcpt_tos=("用户@例え.example",),
    mail_parameters={"SMTPUTF8": None, "BODY": "8BITMIME", "SIZE": "5"},
)


@pytest.mark.parametrize(
    ("offer", "asked", "said"),
    [
        ((), {}, b""),
        ((), {"SIZE": "5"}, b""),
        ((), {"BODY": "7BIT"}, b""),
        (("SIZE", "8BITMIME", "SMTPUTF8"), {"SMTPUTF8": None}, b" SIZE=%d SMTPUTF8"),
        (("8BITMIME",), {"BODY": "8BITMIME"}, b" BODY=8BITMIME"),
        (("8BITMIME",), {"BODY": "8bitmime"}, b" BODY=8BITMIME"),
        (("SIZE",), {}, b" SIZE=%d"),
        (("SIZE 1000000",), {"SIZE": "5"}, b" SIZE=%d"),
        (("SMTPUTF8",), {"SMTPUTF8": None}, b" SMTPUTF8"),
    ],
)
async def test_parameters_are_passed_on_where_they_are_offered(
    sending: Sending, offer: tuple[str, ...], asked: dict[str, str | None], said: bytes
) -> None:
    with Witness(offer=offer) as witness:
        outcome = await sending.to(witness, make_message(mail_parameters=asked))
    assert isinstance(outcome, Delivered)
    (delivery,) = witness.deliveries
    size = len(delivery.content)
    assert delivery.mail_line == b"MAIL FROM:<sender@a.example>" + said.replace(b"%d", b"%d" % size)
    assert delivery.rcpt_lines == (b"RCPT TO:<rcpt@b.example>",)


async def test_the_size_said_is_that_of_the_content_as_it_is_sent(sending: Sending, w: Witness) -> None:
    """With the Received field, without stuffed dots (RFC 1870 5)."""
    await sending.to(w, make_message(content=b"A: b\r\n\r\n.\r\n..\r\nend"))
    (delivery,) = w.deliveries
    assert b"SIZE=%d" % len(delivery.content) in delivery.mail_line.split()


@pytest.mark.parametrize(
    ("offer", "message", "enhanced"),
    [
        (("SIZE", "SMTPUTF8"), replace(UTF8, content=b"Subject: \xc3\xbc\r\n"), "5.6.3"),
        (("SIZE", "8BITMIME"), UTF8, "5.6.7"),
        (("8BITMIME",), make_message(rcpt_tos=("用户@b.example",)), "5.6.7"),
    ],
)
async def test_a_downstream_that_lacks_what_the_message_needs_does_not_get_it(
    sending: Sending, offer: tuple[str, ...], message: Message, enhanced: str
) -> None:
    with Witness(offer=offer) as witness:
        outcome = await sending.to(witness, message)
        await sending.sender.close()
        await until(witness, lambda: witness.quits)
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.MAIL)
    assert outcome.reply is not None
    assert (outcome.reply.code, outcome.reply.enhanced) == (550, enhanced)
    assert isinstance(outcome, Deferred)
    assert outcome.incapable
    assert witness.commands == [b"EHLO router.example", b"QUIT"]


async def test_addresses_go_out_as_the_octets_they_came_in(sending: Sending, w: Witness) -> None:
    assert isinstance(await sending.to(w, UTF8), Delivered)
    (delivery,) = w.deliveries
    assert delivery.mail_from == "jürgen@a.example".encode()
    assert delivery.rcpt_tos == ("用户@例え.example".encode(),)


# EHLO and QUIT


async def test_a_downstream_without_ehlo_gets_helo(sending: Sending) -> None:
    with Witness({"ehlo": b"502 5.5.1 what?"}) as witness:
        assert isinstance(await sending.to(witness), Delivered)
        await sending.sender.close()
        await until(witness, lambda: witness.quits)
    assert witness.commands[:3] == [
        b"EHLO router.example",
        b"HELO router.example",
        b"MAIL FROM:<sender@a.example>",
    ]


@pytest.mark.parametrize("more", [{"user": "u", "pass": "p"}, {"tls": "starttls"}], ids=str)
async def test_helo_is_no_way_around_login_and_tls(sending: Sending, more: Config) -> None:
    with Witness({"ehlo": b"502 5.5.1 what?"}) as witness:
        assert isinstance(await sending.to(witness, more=more), Deferred)
        await sending.sender.close()
        await until(witness, lambda: witness.open_now == 0)
    assert witness.commands[:2] == [b"EHLO router.example", b"HELO router.example"]
    assert witness.commands[2:] in ([], [b"QUIT"])


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"ehlo": b"450 4.3.2 later"},
        {"mail": b"450 4.3.0 not now"},
        {"rcpt": b"550 5.1.1 not here"},
        {"data": b"451 4.3.0 not now"},
        {"final": b"550 5.7.1 spam"},
    ],
    ids=str,
)
async def test_good_bye_is_said(sending: Sending, script: dict[str, Plan]) -> None:
    """RFC 5321 4.1.1.10."""
    with Witness(script) as witness:
        await sending.to(witness)
        await sending.sender.close()
        await until(witness, lambda: witness.quits == 1)
        await until(witness, lambda: witness.open_now == 0)


@pytest.mark.parametrize("step", [b"554 5.0.0 no", b"what?", DROP, RESET], ids=str)
async def test_what_becomes_of_quit_does_not_matter(sending: Sending, step: Step) -> None:
    with Witness({"quit": step}) as witness:
        assert isinstance(await sending.to(witness), Delivered)
        await sending.sender.close()
        await until(witness, lambda: witness.open_now == 0)


async def test_the_outcome_does_not_wait_for_quit(sending: Sending) -> None:
    with Witness({"quit": HANG}) as witness:
        assert isinstance(await sending.to(witness), Delivered)
        await until(witness, lambda: witness.hanging)
        witness.release()
        await sending.sender.close()


# Content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"no end",
        b".",
        b".\r\n..\r\n...\r\n",
        b"A: b\r\n\r\n" + 100_000 * b"x",
        b"A: b\n\nbare\nlf\n.\nand\rcr\r.\r\r\n",
        b"A: b\r\n\r\nnul \0 8-bit \xff\xfe\r\n",
        bytes(range(256)) * 4,
    ],
    ids=lambda content: repr(content[:20]),
)
async def test_content_arrives_as_it_is_below_one_received(
    sending: Sending, w: Witness, content: bytes
) -> None:
    assert isinstance(await sending.to(w, make_message(content=content)), Delivered)
    end = b"" if not content or content.endswith(b"\r\n") else b"\r\n"
    assert w.deliveries[0].body_below_received == content + end


# TLS and login


async def test_auto_takes_starttls_where_it_is_offered(
    sending: Sending, server_tls: ssl.SSLContext
) -> None:
    with Witness(tls=server_tls) as witness:
        assert isinstance(await sending.to(witness), Delivered)
    assert witness.deliveries[0].tls
    assert witness.commands[:3] == [b"EHLO router.example", b"STARTTLS", b"EHLO router.example"]


async def test_auto_goes_on_in_clear_where_it_is_not(sending: Sending, w: Witness) -> None:
    assert isinstance(await sending.to(w, more={"tls": "auto"}), Delivered)
    assert not w.deliveries[0].tls


async def test_none_does_not_even_try(sending: Sending, server_tls: ssl.SSLContext) -> None:
    with Witness(tls=server_tls, auth=LOGIN) as witness:
        assert isinstance(await sending.to(witness, more={"tls": "none"}), Delivered)
    assert not witness.deliveries[0].tls
    assert b"STARTTLS" not in witness.commands


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_a_downstream_that_repeats_our_password_gets_it_into_no_outcome(
    sending: Sending, mechanism: str
) -> None:
    def repeat(line: bytes) -> bytes:
        return b"535 5.7.8 " + LOGIN[1].encode() + b" is wrong: " + line

    with Witness({"auth": repeat}, auth=LOGIN, auth_mechanisms=(mechanism,)) as witness:
        outcome = await sending.to(witness)
    assert isinstance(outcome, Deferred)
    assert "*** is wrong: " in str(outcome)
    for secret in (LOGIN[1], base64.b64encode(LOGIN[1].encode()).decode(), *_sent(witness)):
        assert secret not in str(outcome)


def _sent(witness: Witness) -> list[str]:
    """What the witness was sent for a login, in base64."""
    lines = [line.decode().split()[-1] for line in witness.commands if line]
    return [word for word in lines if LOGIN[1] in _decoded(word)]


def _decoded(word: str) -> str:
    try:
        return base64.b64decode(word, validate=True).decode("utf-8", "replace")
    except ValueError:
        return ""


async def test_implicit_speaks_tls_from_the_first_octet(
    sending: Sending, server_tls: ssl.SSLContext
) -> None:
    with Witness(tls=server_tls, implicit_tls=True, auth=LOGIN) as witness:
        assert isinstance(await sending.to(witness), Delivered)
    assert witness.deliveries[0].tls
    assert b"STARTTLS" not in witness.commands


@dataclass(frozen=True)
class Unsafe:
    """A downstream that cannot be talked to safely, and how the router is told to."""

    name: str
    tls: str = "starttls"
    offered: bool = True
    script: Mapping[str, Plan] = field(default_factory=dict)
    more: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


UNSAFE = (
    Unsafe("starttls is not offered", offered=False),
    Unsafe("454", script={"starttls": b"454 4.7.0 not now"}),
    Unsafe("500", script={"starttls": b"500 5.5.1 what?"}),
    Unsafe("garbage", script={"starttls": b"what?"}),
    Unsafe("250 instead of 220", script={"starttls": b"250 2.0.0 ok"}),
    Unsafe("a 220 and silence", script={"starttls": Then(b"220 2.0.0 go", DROP)}),
    Unsafe("a 220 and no TLS", script={"starttls": Then(Raw(b"220 2.0.0 go\r\n250 hi\r\n"), DROP)}),
    Unsafe("auto, 454", tls="auto", script={"starttls": b"454 4.7.0 not now"}),
    Unsafe("auto, garbage", tls="auto", script={"starttls": b"what?"}),
    Unsafe("wrong name", more={"addr": "127.0.0.1"}),
    Unsafe("auto, wrong name", tls="auto", more={"addr": "127.0.0.1"}),
    Unsafe("unknown authority", more={"tls_ca": None}),
    Unsafe("implicit, but it speaks first", tls="implicit", offered=False),
    Unsafe("implicit, wrong name", tls="implicit", more={"addr": "127.0.0.1"}),
    Unsafe("implicit, unknown authority", tls="implicit", more={"tls_ca": None}),
)


@pytest.mark.parametrize("unsafe", UNSAFE, ids=str)
async def test_where_tls_fails_neither_login_nor_mail_goes_out_in_clear(
    sending: Sending, unsafe: Unsafe, server_tls: ssl.SSLContext
) -> None:
    tls = server_tls if unsafe.offered else None
    implicit = unsafe.tls == "implicit" and unsafe.offered
    sending.timeouts = {"tls_s": 1, "banner_s": 1}
    script = dict(unsafe.script)
    with Witness(script, auth=LOGIN, tls=tls, implicit_tls=implicit) as witness:
        more = {"tls": unsafe.tls} | dict(unsafe.more)
        if "addr" in more:
            more["addr"] = witness.addr
        outcome = await sending.to(witness, more=more)
        await sending.sender.close()
        await until(witness, lambda: witness.open_now == 0)
    assert isinstance(outcome, Deferred)
    assert outcome.stage is (Stage.TLS if unsafe.offered or unsafe.tls != "implicit" else outcome.stage)
    assert set(witness.commands) <= {b"EHLO router.example", b"STARTTLS", b"QUIT"}
    assert not witness.deliveries


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_tls_verify_false_takes_any_certificate(
    sending: Sending, mode: str, server_tls: ssl.SSLContext
) -> None:
    with Witness(tls=server_tls, implicit_tls=mode == "implicit", auth=LOGIN) as witness:
        more = {"tls": mode, "tls_verify": False, "tls_ca": None, "addr": witness.addr}
        outcome = await sending.to(witness, more=more)
    assert isinstance(outcome, Delivered)
    assert witness.deliveries[0].tls


async def test_what_came_in_clear_behind_starttls_counts_for_nothing(
    sending: Sending, server_tls: ssl.SSLContext
) -> None:
    """RFC 3207 4.2: nor does what EHLO offered before it."""
    injected = Raw(b"220 2.0.0 go\r\n250-evil\r\n250 AUTH LOGIN\r\n")
    with Witness({"starttls": injected}, tls=server_tls) as witness:
        outcome = await sending.to(witness, more={"user": "u", "pass": "p"})
    assert outcome.stage is Stage.AUTH
    assert not [line for line in witness.commands if line.startswith(b"AUTH")]


class Elsewhere(Connection):
    """A connection whose far end is not this machine, as far as the decision goes."""

    def _is_loopback(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("policy", "login", "goes_on"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("none", True, True),  # who says so wants it so
        ("starttls", False, False),
    ],
)
async def test_stripped_starttls_stops_a_login_elsewhere(
    policy: str, *, login: bool, goes_on: bool
) -> None:
    with Witness(auth=LOGIN) as witness:
        entry = downstream(witness, tls=policy)
        if not login:
            del entry["user"], entry["pass"]
        settings = parse(json.dumps(one_user(entry)).encode(), Path("config.yaml")).settings
        end = asyncio.get_running_loop().time() + 5
        connection = Elsewhere(
            settings.users[0].downstreams[0], settings.timeouts, settings.hostname, end
        )
        try:
            if goes_on:
                await connection.open(ClientContexts())
            else:
                with pytest.raises(AttemptEnded) as ended:
                    await connection.open(ClientContexts())
                assert ended.value.outcome.stage is Stage.TLS
        finally:
            connection.abort()
        sent = [line.split()[0] for line in witness.commands]
    assert sent == ([b"EHLO", b"AUTH"] if goes_on and login else [b"EHLO"])


@pytest.mark.parametrize(
    ("offered", "used"),
    [
        (("PLAIN", "LOGIN"), b"PLAIN"),
        (("LOGIN", "PLAIN"), b"PLAIN"),
        (("LOGIN",), b"LOGIN"),
        (("PLAIN",), b"PLAIN"),
        (("CRAM-MD5", "LOGIN"), b"LOGIN"),
        (("CRAM-MD5",), None),
        ((), None),
    ],
)
async def test_the_mechanism_is_one_that_is_offered(
    sending: Sending, offered: tuple[str, ...], used: bytes | None
) -> None:
    with Witness(auth=LOGIN, auth_mechanisms=offered) as witness:
        outcome = await sending.to(witness)
    tried = [line.split()[1] for line in witness.commands if line.upper().startswith(b"AUTH ")]
    if used is None:
        assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.AUTH)
        assert not tried
    else:
        assert isinstance(outcome, Delivered)
        assert [name.upper() for name in tried] == [used]
        assert witness.deliveries[0].login == LOGIN[0].encode()


@pytest.mark.parametrize("reply", [b"535 5.7.8 no", b"504 5.5.4 not that", b"454 4.7.0 later"])
async def test_one_failed_login_is_not_followed_by_another(sending: Sending, reply: bytes) -> None:
    """Three of them lock an account."""
    with Witness({"auth": reply}, auth=LOGIN) as witness:
        outcome = await sending.to(witness)
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.AUTH)
    assert len([line for line in witness.commands if line.startswith(b"AUTH")]) == 1
    assert not [line for line in witness.commands if line.startswith(b"MAIL")]


async def test_a_login_demanded_at_mail_is_a_fault_of_the_session(sending: Sending) -> None:
    """530 is about the router's configuration, so the message is not refused for good."""
    with Witness({"mail": b"530 5.7.0 login first"}) as witness:
        outcome = await sending.to(witness)
    assert (outcome.kind, outcome.stage) == (OutcomeKind.DEFERRED, Stage.MAIL)


@pytest.mark.parametrize("login", [("ünï", "pässwörd ☃"), ("a b", "=*&%$#@!"), ("u", "x" * 500)])
async def test_any_login_gets_through(sending: Sending, login: tuple[str, str]) -> None:
    for mechanism in ("PLAIN", "LOGIN"):
        with Witness(auth=login, auth_mechanisms=(mechanism,)) as witness:
            assert isinstance(await sending.to(witness), Delivered)
