"""The tables of docs/outcomes.md, made by asking the code itself.

A test compares them with the page; `python -m tests.docs.tables` writes them into it, and those of
the other pages with such tables into these.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations_with_replacement
from pathlib import Path

import pytest

from smtp_router import Deferred, Delivered, InDoubt, Outcome, Rejected, Reply, Stage
from smtp_router.config.load import parse
from smtp_router.config.settings import Settings
from smtp_router.core.blame import Blame, blame
from smtp_router.core.decision import (
    IN_DOUBT,
    OUR_FAULT,
    SERVICE_CLOSING,
    SESSION_REPLIES,
    TOO_LATE,
    UNREACHABLE,
    USED_UP,
    Limits,
    answer,
    give_up,
    next_step,
)
from smtp_router.core.message import TLS, Message
from smtp_router.core.outcome import SESSION_STAGES, OutcomeKind
from smtp_router.core.replies import ReplyClass, Rule, judge
from smtp_router.credentials import Kind, Verifier
from smtp_router.routing.again import delivered_already
from smtp_router.routing.policy import SENDER, TOO_OFTEN
from smtp_router.routing.router import UNKNOWN_USER
from smtp_router.smtp import login
from smtp_router.smtp.conversation import MAX_FAILED_LOGINS, MAX_UNKNOWN_COMMANDS, Conversation
from smtp_router.smtp.guard import BUSY, LOCKED_OUT, Guard
from smtp_router.smtp.offer import Offer
from smtp_router.smtp.parameters import Peer, mail_parameters
from smtp_router.smtp.patience import IDLE, TOO_SLOW
from smtp_router.smtp.session import READY_FOR_TLS, SHUTTING_DOWN, TOO_EARLY
from smtp_router.smtp.steps import Answer, Farewell, Receive
from smtp_router.smtp.transaction import MAX_RECEIVED_FIELDS
from smtp_router.smtp.verdict import LOGIN_CODES, AttemptEnded, together, verdict
from smtp_router.smtp.wire import Mark
from tests.docs import catalogue_tables, fault_tables, health_tables, provider_tables
from tests.docs.markdown import Row, table, write
from tests.support import VirtualClock, config_text, make_attempt, make_message

PAGE = Path(__file__).parents[2] / "docs" / "outcomes.md"
WORDS = "some words"
BIGGEST = 1234
BIG = (BIGGEST + 1) * b"x"
FULL = 5000
HERE, ELSEWHERE = "127.0.0.1", "192.0.2.1"


class Content(bytes):
    """What comes behind DATA or BDAT, as it goes over the wire, without the final dot."""

    __slots__ = ()


def from_code() -> dict[str, str]:
    """The same tables, made anew."""
    return {name: make() for name, make in _MAKERS.items()}


def verdicts() -> str:
    """What a reply at a stage makes of an attempt."""
    columns: Mapping[str, Iterable[int]] = {
        "2yz": range(200, 300),
        "4yz": range(400, 500),
        "5yz": sorted({*range(500, 600)} - LOGIN_CODES),
        " ".join(map(str, sorted(LOGIN_CODES))): sorted(LOGIN_CODES),
        "anything else": (-1, 0, 199, 600, 999, *range(300, 400)),
    }
    rows = []
    for stage in Stage:
        cells = [{_meaning(verdict(stage, code, WORDS)) for code in codes} for codes in columns.values()]
        rows.append((f"`{stage}`", *(_only(cell) for cell in cells)))
    return table(("stage", *columns), _joined(rows))


def classes() -> str:
    """What a rule makes of a refusal, when neither it nor the reply names a time."""
    rows = []
    for reply_class in ReplyClass:
        rule = Rule(name="rule", pattern=_Everything(), reply_class=reply_class)
        session = [judge(Deferred(stage=at, reply=_reply(550)), [rule]) for at in SESSION_STAGES]
        transaction = [at for at in Stage if at not in SESSION_STAGES]
        transient = [judge(Deferred(stage=at, reply=_reply(450)), [rule]) for at in transaction]
        permanent = [judge(Rejected(stage=at, reply=_reply(550)), [rule]) for at in transaction]
        rests = {_rest(one) for one in (*session, *transient, *permanent)}
        closing = [
            judge(Deferred(stage=at, reply=_reply(SERVICE_CLOSING)), [rule]) for at in transaction
        ]
        held = {blame(one) is Blame.ACCOUNT for one in transient}
        held_anyway = {blame(one) is Blame.ACCOUNT for one in closing}
        rows.append(
            (
                f"`{reply_class}`",
                *(_only({_meaning(one) for one in ones}) for ones in (session, transient, permanent)),
                _only(rests),
                _only(
                    {"yes" if one else "no" for one in held} if held == held_anyway else {"by the code"}
                ),
            )
        )
    head = (
        "class",
        "before MAIL",
        "4yz from MAIL on",
        "5yz from MAIL on",
        "rests for",
        "counts against health",
    )
    return table(head, rows)


def steps() -> str:
    """What is done after an outcome, with something left to try and time to try it."""
    return table(
        ("outcome", "by default", "with it in `failover_on`"),
        [
            (
                f"`{outcome.kind}`",
                _then(outcome, Limits(deadline=1, downstreams=2)),
                _then(outcome, Limits(deadline=1, downstreams=2, failover_on=frozenset(OutcomeKind))),
            )
            for outcome in (
                Delivered(reply=Reply(code=250)),
                Deferred(stage=Stage.MAIL),
                Rejected(stage=Stage.MAIL),
                InDoubt(),
            )
        ],
    )


def answers() -> str:
    """What the client hears when an outcome is the last word."""
    transaction = [stage for stage in Stage if stage not in SESSION_REPLIES]
    named = ", ".join(f"`{stage}`" for stage in transaction)
    cases: list[tuple[str, str, Sequence[Outcome]]] = [
        ("`delivered`", "`final`", [Delivered(reply=_reply(250))]),
        *(
            (
                "`deferred`",
                f"`{stage}`",
                [Deferred(stage=stage, reply=_reply(code)) for code in (421, 550)],
            )
            for stage in SESSION_REPLIES
        ),
        (
            "`deferred`, 4yz",
            named,
            [
                Deferred(stage=stage, reply=_reply(code))
                for stage in transaction
                for code in {*range(400, 500)} - {SERVICE_CLOSING}
            ],
        ),
        (
            f"`deferred`, {SERVICE_CLOSING}",
            named,
            [Deferred(stage=stage, reply=_reply(SERVICE_CLOSING)) for stage in transaction],
        ),
        (
            f"`deferred`, {' '.join(map(str, sorted(LOGIN_CODES)))}",
            named,
            [Deferred(stage=stage, reply=_reply(code)) for stage in transaction for code in LOGIN_CODES],
        ),
        ("`deferred`, no reply", named, [Deferred(stage=stage) for stage in transaction]),
        (
            "`rejected`",
            named,
            [
                Rejected(stage=stage, reply=_reply(code))
                for stage in transaction
                for code in range(500, 600)
            ],
        ),
        ("`in_doubt`", "`final`", [InDoubt()]),
    ]
    rows = [
        (what, where, _only({_heard(outcome) for outcome in outcomes}))
        for what, where, outcomes in cases
    ]
    accepting = Limits(deadline=1, downstreams=1, accepts_in_doubt=True)
    heard = next_step([make_attempt(outcome=InDoubt())], 0, accepting)
    rows.append(("`in_doubt`, with `in_doubt: accept`", "`final`", f"`{heard} as ID`"))
    return table(("outcome", "at stage", "the client hears"), rows)


def incapable() -> str:
    """What the client hears when no downstream has what its message needs."""
    cases = [
        ("8BITMIME: declared, and the content is not ASCII", {"BODY": "8BITMIME"}),
        ("SMTPUTF8: an address or the header is not ASCII", {"SMTPUTF8": None}),
        ("REQUIRETLS, over verified TLS", {"REQUIRETLS": None}),
    ]
    rows = []
    for what, parameters in cases:
        message = make_message(content="Subject: ü\r\n\r\n".encode(), mail_parameters=parameters)
        rows.append((what, _code(give_up([make_attempt(outcome=_lacking_everything(message))]))))
    return table(("the message needs", "the client hears"), rows)


def lmtp() -> str:
    """What becomes of a message by LMTP, by the replies of two recipients to the content."""
    replies = {"taken (2yz)": 250, "not now (4yz)": 450, "never (5yz)": 550, "no reply": None}
    rows = []
    for (first, code), (second, other) in combinations_with_replacement(replies.items(), 2):
        finals = [verdict(Stage.FINAL, each, WORDS) for each in (code, other) if each]
        outcome = together([final for final in finals if final], ["a@b.example", "c@b.example"])
        rows.append((first, second, f"`{outcome.kind}`"))
    return table(("a recipient", "another one", "the message"), rows)


def others() -> str:
    """Replies to a message that no outcome speaks for."""
    unheard = "[did not hear of it](in-doubt.md#a-client-did-not-hear)"
    return table(
        ("when", "the client hears"),
        [
            ("nothing is left to try, and no reply was transient", _code(UNREACHABLE)),
            (
                "time runs out with a downstream left to try, or the last one silent",
                _code(TOO_LATE),
            ),
            ("all downstreams that are left have reached their [limits](limits.md)", _code(USED_UP)),
            ("a plugin failed, or the router itself", _code(OUR_FAULT)),
            (
                f"the message was delivered before, as ID, and its client {unheard}",
                _code(delivered_already("ID")),
            ),
            ("the same, and it is still on its way when time runs out", _code(IN_DOUBT)),
            ("the user was taken out of the configuration during the session", _code(UNKNOWN_USER)),
        ],
    )


def session() -> str:
    """The replies of a session before a message is handed on."""
    ehlo, mail, rcpt = b"EHLO me", b"MAIL FROM:<a@a.example>", b"RCPT TO:<b@b.example>"
    circle = Content(b"Received: x\r\n" * MAX_RECEIVED_FIELDS + b"\r\n")
    bare = Content(b"Subject: x\r\n\r\na\nb\r\n")
    five = Content(b"12345")
    messages = [mail, b"RSET"] * 2
    rows = [
        ("AUTH, and the login is right", _says(ehlo, "right")),
        ("AUTH, and login or password is wrong", _says(ehlo, "wrong")),
        (f"the same, for the {MAX_FAILED_LOGINS}th time", _says(ehlo, *["wrong"] * MAX_FAILED_LOGINS)),
        ("AUTH with something that is not base64", _code(login.UNDECODABLE)),
        ("AUTH with another mechanism", _says(ehlo, b"AUTH CRAM-MD5")),
        ("AUTH where it is not offered", _says(ehlo, b"AUTH PLAIN", peer=ELSEWHERE)),
        ("AUTH from an address with too many failed logins", _code(LOCKED_OUT)),
        ("STARTTLS", f"`{READY_FOR_TLS.decode('ascii').rstrip()}`"),
        ("STARTTLS where it is not offered", _says(ehlo, b"STARTTLS", offer_starttls=False)),
        ("STARTTLS once more", _says("TLS", ehlo, b"STARTTLS")),
        ("MAIL or AUTH before STARTTLS, with `require_tls`", _says(ehlo, mail, require_tls=True)),
        ("MAIL or AUTH before EHLO", _says(b"MAIL FROM:<>")),
        ("MAIL before AUTH", _says(ehlo, mail)),
        ("RCPT before MAIL", _says(ehlo, "right", rcpt)),
        ("DATA before RCPT", _says(ehlo, "right", mail, b"DATA")),
        ("MAIL taken", _says(ehlo, "right", mail)),
        ("MAIL with a sender that `senders` does not allow", _code(SENDER)),
        ("MAIL beyond `rate`", _code(TOO_OFTEN)),
        ("MAIL beyond `max_transactions`", _says(ehlo, "right", *messages, mail)),
        ("REQUIRETLS in clear text", _says(ehlo, "right", mail + b" REQUIRETLS")),
        ("a malformed sender", _says(ehlo, "right", b"MAIL FROM:<a b@a.example>")),
        ("a malformed recipient", _says(ehlo, "right", mail, b"RCPT TO:<b@b..example>")),
        ("an empty recipient", _says(ehlo, "right", mail, b"RCPT TO:<>")),
        ("a source route", _says(ehlo, "right", mail, b"RCPT TO:<@a.example:b@b.example>")),
        ("an address that is not ASCII", _says(ehlo, "right", mail, "RCPT TO:<ü@b.example>".encode())),
        ("a parameter that is not known", _says(ehlo, "right", mail + b" BY=60;R")),
        ("a declared size above the limit", _says(ehlo, "right", mail + b" SIZE=%d" % (BIGGEST + 1))),
        ("RCPT taken", _says(ehlo, "right", mail, rcpt)),
        ("a recipient too many", _says(ehlo, "right", mail, rcpt, rcpt, rcpt)),
        ("content above the limit", _says(ehlo, "right", mail, rcpt, b"DATA", Content(BIG))),
        ("DATA with no room in `max_memory_bytes`", _says(ehlo, "right", mail, rcpt, "full", b"DATA")),
        (
            "content, when there is no room any more",
            _says(ehlo, "right", mail, rcpt, b"DATA", "full", Content(b"x\r\n")),
        ),
        (
            f"content with {MAX_RECEIVED_FIELDS} `Received:` fields or more",
            _says(ehlo, "right", mail, rcpt, b"DATA", circle),
        ),
        ("content with a bare CR, a bare LF or a NUL", _says(ehlo, "right", mail, rcpt, b"DATA", bare)),
        ("BDAT taken", _says(ehlo, "right", mail, rcpt, b"BDAT 5", five)),
        ("BDAT before RCPT, with its chunk", _says(ehlo, "right", mail, b"BDAT 5", five)),
        ("BDAT without a size", _says(ehlo, "right", mail, rcpt, b"BDAT")),
        ("DATA after BDAT", _says(ehlo, "right", mail, rcpt, b"BDAT 5", five, b"DATA")),
        ("VRFY", _says(b"VRFY b")),
        ("EXPN", _says(b"EXPN b")),
        ("an unknown command", _says(b"HELLO")),
        (f"the same, for the {MAX_UNKNOWN_COMMANDS}th time", _says(*[b"HELLO"] * MAX_UNKNOWN_COMMANDS)),
        ("a verb of HTTP", _says(b"POST / HTTP/1.1")),
        ("a control character in a command", _says(b"NOOP \0")),
        ("a line that is too long", _says(Mark.LINE_TOO_LONG)),
        ("too many connections: in all, from the address, or of the user", _code(BUSY)),
        ("anything said before the banner, and nothing after it", _code(TOO_EARLY)),
        ("no whole command, or nothing of the content, for `idle_s`", _code(IDLE)),
        ("content that is slower than `min_upload_bytes_per_s`", _code(TOO_SLOW)),
        ("the router stops, and no transaction is under way", _code(SHUTTING_DOWN)),
    ]
    return table(("when", "the client hears"), rows)


_MAKERS: Mapping[str, Callable[[], str]] = {
    "verdicts": verdicts,
    "classes": classes,
    "steps": steps,
    "answers": answers,
    "incapable": incapable,
    "lmtp": lmtp,
    "others": others,
    "session": session,
}


def _reply(code: int) -> Reply:
    return Reply(code=code, enhanced=f"{code // 100}.9.9", text=WORDS)


def _heard(outcome: Outcome) -> str:
    """A reply in words, when it is the downstream's; else as it is."""
    heard, own = answer(outcome), outcome.reply
    if isinstance(outcome, Delivered):
        return f"`{heard} as ID`"
    if heard == own:
        return "the downstream's own reply"
    if own and (heard.enhanced, heard.text) == (own.enhanced, own.text):
        return f"the downstream's own reply, as {heard.code}"
    return _code(heard)


def _meaning(outcome: Outcome | None) -> str:
    return "go on" if outcome is None else f"`{outcome.kind}`"


def _then(outcome: Outcome, limits: Limits) -> str:
    heard = next_step([make_attempt(outcome=outcome)], 0, limits)
    return "stop" if heard else "ask again, with this attempt in the history"


class _Everything:
    """A pattern that every reply fits."""

    def matches(self, text: str) -> bool:
        del text
        return True


def _rest(outcome: Outcome) -> str:
    return f"{outcome.rest_s:g} s" if isinstance(outcome, Deferred) and outcome.rest_s else "no time"


class _Site:
    """The router as a conversation sees it: everybody may do everything."""

    mechanisms = login.mechanisms_for(frozenset({Kind.PLAIN}))

    def __init__(self) -> None:
        limits = {
            "max_message_bytes": BIGGEST,
            "max_memory_bytes": FULL,
            "max_recipients": 2,
            "max_transactions": 2,
        }
        text = config_text(settings=limits)
        self.settings: Settings = parse(text.encode(), Path("config.yaml")).settings
        self.guard = Guard(self.settings, VirtualClock(), max_files=100)

    def user_at(self, address: str) -> None:
        del address

    def mail_refusal(self, user: str, mail_from: str) -> None:
        del user, mail_from

    def max_sessions(self, user: str) -> None:
        del user

    def known(self, response: bytes) -> str | None:
        raise NotImplementedError

    async def authenticate(self, login: str, password: str) -> bool:
        raise NotImplementedError

    async def scram_verifier(self, login: str) -> Verifier:
        raise NotImplementedError

    async def route(self, message: Message) -> Reply:
        raise NotImplementedError

    def gone(self, message: Message, unheard: Reply | None = None) -> None:
        raise NotImplementedError

    def new_id(self) -> str:
        return "1"

    def wall_clock(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


def _lacking_everything(message: Message) -> Outcome:
    """What becomes of a message at a downstream that offers no extension."""
    with pytest.raises(AttemptEnded) as ended:
        mail_parameters(Peer(is_verified=True), message)
    return ended.value.outcome


def _says(
    *events: bytes | str | Mark,
    peer: str = HERE,
    offer_starttls: bool = True,
    require_tls: bool = False,
) -> str:
    """The last reply to these command lines, and to the `Content` behind some of them.

    `"right"` and `"wrong"` are logins that have ended, `"TLS"` is a handshake, and with `"full"` other
    sessions have brought as much content as may be in memory.
    """
    site = _Site()
    offer = Offer(site, starttls=offer_starttls, require_tls=require_tls)
    conversation = Conversation(offer, (peer, 1234))
    answer: object = None
    for event in events:
        if event == "TLS":
            conversation.started_tls(TLS(version="TLSv1.3", cipher="AES"))
        elif event == "full":
            site.guard.hold(FULL + 1)
        elif isinstance(event, str):
            answer = conversation.logged_in("user@example.com" if event == "right" else None)
        elif isinstance(event, Content):
            answer = _sends(conversation, answer, event)
        else:
            answer = conversation.on(event)
    assert isinstance(answer, Answer), answer
    reply = answer.octets.decode("ascii").rstrip().replace(str(BIGGEST), "N")
    return f"`{reply}`" + (", and the end" if isinstance(answer, Farewell) else "")


def _sends(conversation: Conversation, awaited: object, content: Content) -> object:
    """What follows from content that was awaited: behind DATA all of it, behind BDAT a chunk."""
    if isinstance(awaited, Receive):
        assert awaited.octets == len(content)
        if awaited.body:
            awaited.body.add(content)
        return conversation.on(Mark.CHUNK)
    assert conversation.awaits_content
    body = conversation.begin_content()
    body.add(content)
    body.end()
    return conversation.on(Mark.CONTENT)


def _code(reply: Reply) -> str:
    return f"`{reply}`" + (", and the end" if reply.code == SERVICE_CLOSING else "")


def _only(cells: set[str]) -> str:
    (cell,) = cells
    return cell


def _joined(rows: list[Row]) -> list[Row]:
    """Rows that differ in their first cell only become one."""
    stages: dict[Row, list[str]] = {}
    for stage, *cells in rows:
        stages.setdefault(tuple(cells), []).append(stage)
    return [(", ".join(names), *cells) for cells, names in stages.items()]


def main() -> None:
    write(PAGE, _MAKERS)
    write(catalogue_tables.PAGE, catalogue_tables.MAKERS)
    write(provider_tables.PAGE, provider_tables.MAKERS)
    write(health_tables.PAGE, health_tables.MAKERS)
    write(fault_tables.PAGE, fault_tables.MAKERS)


if __name__ == "__main__":
    main()
