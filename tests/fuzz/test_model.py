"""Sessions of commands in any order, against a model of the session that shares no code with it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.fuzz.effort import examples
from tests.fuzz.grammar import BODIES, RIGHT, b64, cut
from tests.fuzz.model import Limits, Mail, Model
from tests.fuzz.rig import BAD_SENDER, BUSY_SENDER, USER, make_settings, rig
from tests.fuzz.transcript import read_replies
from tests.fuzz.vocabulary import (
    FIXED,
    GOOD_BYES,
    LIMITS,
    MAIL_PARAMETERS,
    NAMES,
    PASSWORDS,
    PLAIN_RESPONSES,
    RCPT_PARAMETERS,
    RECIPIENTS,
    SENDERS,
)


def one_of(table: Mapping[bytes, object]) -> st.SearchStrategy[bytes]:
    return st.sampled_from(list(table))


def of_size(beyond: int, piece: bytes) -> Callable[[int], bytes]:
    """Content as big as the limit, or more by so many octets, made of this piece."""

    def make(limit: int) -> bytes:
        size = limit + beyond
        return ((piece * size)[: size - 2] + b"\r\n") if size > 2 else b""

    return make


CONTENTS = st.one_of(
    BODIES.map(lambda body: lambda _: body),
    st.builds(
        of_size, st.sampled_from([-1, 0, 1, 100]), st.sampled_from([b"x", b".", b".\r\n", b"\r\n"])
    ),
    st.sampled_from([99, 100]).map(lambda times: lambda _: times * b"Received: x\r\n" + b"\r\n"),
)


def goes_on(function: Callable[..., None]) -> Callable[..., None]:
    """A rule for sessions that have not ended."""
    return precondition(lambda self: not self.model.ended)(function)


def anonymous(function: Callable[..., None]) -> Callable[..., None]:
    """A rule for sessions without a login, which have not ended."""
    return precondition(lambda self: not self.model.ended and not self.model.logged_in)(function)


class Sessions(RuleBasedStateMachine):
    """Says the same to a session and to the model."""

    @initialize(
        limits=st.sampled_from(LIMITS),
        takes_s=st.sampled_from([0.0, 1.0]),
        start=st.sampled_from([0, 1, 1, 2]),
    )
    def connect(self, limits: Limits, takes_s: float, start: int) -> None:
        self.stack = ExitStack()
        site = make_settings(
            max_message_bytes=limits.octets,
            max_recipients=limits.recipients,
            max_transactions=limits.transactions,
            auth_failures=limits.failures,
            bare_newlines="reject" if limits.strict else "accept",
        )
        self.meeting = self.stack.enter_context(rig()).meet(site, takes_s=takes_s)
        self.model = Model(limits, {BUSY_SENDER: 450, BAD_SENDER: 550})
        self.held = b""
        self.codes = [220]
        if start > 0:
            self.say(b"EHLO client.example\r\n", self.model.greet(extended=True))
        if start > 1:
            self.say(b"AUTH PLAIN " + RIGHT + b"\r\n", self.model.log_in(right=True))

    def say(self, octets: bytes, *codes: int) -> None:
        self.held += octets
        self.codes += codes

    @precondition(lambda self: self.held)
    @rule(gaps=st.lists(st.integers(0, 40), max_size=8), pause_s=st.sampled_from([None, 0.0, 0.4]))
    def send(self, gaps: list[int], pause_s: float | None) -> None:
        cuts = [sum(gaps[: end + 1]) for end in range(len(gaps))]
        self.meeting.say(cut(self.held, cuts), pause_s=pause_s)
        self.meeting.wait()
        self.held = b""
        self.compare()

    def compare(self) -> None:
        assert [reply.code for reply in read_replies(bytes(self.meeting.pipe.heard))] == self.codes
        assert [
            replace(mail, content=mail.content.removesuffix(b"\r\n")) for mail in self.model.routed
        ] == [
            Mail(message.mail_from, message.rcpt_tos, message.content.removesuffix(b"\r\n"))
            for message in self.meeting.keeper.messages
        ]
        assert self.meeting.pipe.is_closing() == self.model.ended

    # The connection, and what is the same at any time

    @goes_on
    @rule(line=one_of(FIXED))
    def fixed(self, line: bytes) -> None:
        self.say(line + b"\r\n", FIXED[line])

    @goes_on
    @rule(
        verb=st.sampled_from([b"EHLO", b"HELO", b"ehlo"]), name=st.sampled_from([b"a", b"[192.0.2.1]"])
    )
    def greet(self, verb: bytes, name: bytes) -> None:
        self.say(b"%b %b\r\n" % (verb, name), self.model.greet(extended=verb != b"HELO"))

    @goes_on
    @rule(verb=st.sampled_from([b"TURN", b"X", b"XCLIENT a=b", b"RCPT2"]), times=st.integers(1, 8))
    def unknown(self, verb: bytes, times: int) -> None:
        for _ in range(times):
            if not self.model.ended:
                self.say(verb + b"\r\n", self.model.no_command())

    @goes_on
    @rule(line=one_of(GOOD_BYES), really=st.integers(0, 5))
    def good_bye(self, line: bytes, really: int) -> None:
        if really == 5:
            self.say(line + b"\r\n", self.model.good_bye(GOOD_BYES[line]))

    @precondition(lambda self: self.model.ended)
    @rule(octets=BODIES)
    def go_on_behind_the_end(self, octets: bytes) -> None:
        self.say(octets)

    # Logging in

    @anonymous
    @rule(
        mechanism=st.sampled_from([b"PLAIN", b"plain", b"CRAM-MD5", b""]),
        response=one_of(PLAIN_RESPONSES),
        at_once=st.booleans(),
        greet=st.booleans(),
    )
    def plain(self, mechanism: bytes, response: bytes, *, at_once: bool, greet: bool) -> None:
        if greet:
            self.prepare_login()
        refusal = self.model.may_log_in(known=mechanism in (b"PLAIN", b"plain"))
        initial = b" " + (response or b"=") if at_once else b""
        self.say(
            b"AUTH " + mechanism + initial + b"\r\n",
            *([refusal] if refusal else [] if at_once else [334]),
        )
        if refusal:
            return
        right = PLAIN_RESPONSES[response]
        self.say(
            b"" if at_once else response + b"\r\n",
            501 if right is None else self.model.log_in(right=right),
        )

    @anonymous
    @rule(name=one_of(NAMES), password=one_of(PASSWORDS), at_once=st.booleans(), greet=st.booleans())
    def login(self, name: bytes, password: bytes, *, at_once: bool, greet: bool) -> None:
        if greet:
            self.prepare_login()
        refusal = self.model.may_log_in(known=True)
        self.say(
            b"AUTH LOGIN" + (b" " + (name or b"=") if at_once else b"") + b"\r\n",
            *([refusal] if refusal else [] if at_once else [334]),
        )
        if refusal:
            return
        self.say(b"" if at_once else name + b"\r\n", 501 if NAMES[name] is None else 334)
        if NAMES[name] is None:
            return
        right = PASSWORDS[password]
        end = 501 if right is None else self.model.log_in(right=right and name == b64(USER))
        self.say(password + b"\r\n", end)

    @anonymous
    @rule(times=st.integers(2, 6))
    def guess(self, times: int) -> None:
        self.prepare_login()
        for _ in range(times):
            if not self.model.ended:
                self.plain(b"PLAIN", b64(f"\0{USER}\0wrong"), at_once=True, greet=False)

    @precondition(lambda self: not self.model.ended and self.model.logged_in)
    @rule(initial=st.sampled_from([b"", b" " + RIGHT, b" *"]))
    def log_in_again(self, initial: bytes) -> None:
        refusal = self.model.may_log_in(known=True)
        assert refusal
        self.say(b"AUTH PLAIN" + initial + b"\r\n", refusal)

    # Mail

    @goes_on
    @rule(path=one_of(SENDERS), parameters=one_of(MAIL_PARAMETERS))
    def mail(self, path: bytes, parameters: bytes) -> None:
        if SENDERS[path]:
            parameters = b""  # which of two faults is told is nobody's business
        code = self.model.mail(
            path[1:-1].decode(),
            SENDERS[path] or MAIL_PARAMETERS[parameters],
            parameters=bool(parameters),
        )
        self.say(b"MAIL FROM:" + path + parameters + b"\r\n", code)

    @goes_on
    @rule(times=st.integers(1, 5))
    def recipients(self, times: int) -> None:
        if self.prepare():
            for _ in range(times):
                self.rcpt(b"<b@b.example>", b"")

    @goes_on
    @rule(path=one_of(RECIPIENTS), parameters=one_of(RCPT_PARAMETERS))
    def rcpt(self, path: bytes, parameters: bytes) -> None:
        if RECIPIENTS[path]:
            parameters = b""
        code = self.model.rcpt(
            path[1:-1].decode(),
            RECIPIENTS[path] or RCPT_PARAMETERS[parameters],
            parameters=bool(parameters),
        )
        self.say(b"RCPT TO:" + path + parameters + b"\r\n", code)

    @goes_on
    @rule(make=CONTENTS, prepared=st.booleans())
    def data(self, make: Callable[[int], bytes], *, prepared: bool) -> None:
        if prepared and not self.prepare():
            return
        code = self.model.data()
        self.say(b"DATA\r\n", code)
        if code == 354:
            content = make(self.model.limits.octets)
            if content and not content.endswith(b"\r\n"):
                content += b"\r\n"
            wire = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
            self.say(wire + b".\r\n", self.model.content(content))

    @goes_on
    @rule(make=CONTENTS, last=st.booleans(), prepared=st.booleans())
    def chunk(self, make: Callable[[int], bytes], *, last: bool, prepared: bool) -> None:
        if prepared and not self.prepare():
            return
        octets = make(self.model.limits.octets)
        line = b"BDAT %d%b\r\n" % (len(octets), b" LAST" if last else b"")
        self.say(line + octets, self.model.chunk(octets, last=last))

    def prepare_login(self) -> None:
        """Say EHLO, if it is missing."""
        if not (self.model.greeted and self.model.extended):
            self.greet(b"EHLO", b"a")

    def prepare(self) -> bool:
        """Say what is missing before content; whether the session has survived it."""
        self.prepare_login()
        if not self.model.logged_in:
            self.plain(b"PLAIN", RIGHT, at_once=True, greet=False)
        if not self.model.ended and self.model.sender is None:
            self.mail(b"<a@a.example>", b"")
        if not self.model.ended and not self.model.recipients:
            self.rcpt(b"<b@b.example>", b"")
        return not self.model.ended

    @goes_on
    @rule()
    def rset(self) -> None:
        self.say(b"RSET\r\n", self.model.rset())

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            with self.stack:
                self.meeting.say([self.held])
                self.meeting.wait()
                self.compare()
                self.meeting.end()


TestSessions = Sessions.TestCase
TestSessions.settings = settings(examples(60), stateful_step_count=40)
