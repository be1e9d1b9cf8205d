"""What most clients open with is taken as a whole; what comes of it is what comes of it in steps."""

from dataclasses import replace
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from smtp_router.config.load import parse
from smtp_router.core.message import TLS
from smtp_router.smtp.conversation import LOGGED_IN, Conversation
from smtp_router.smtp.guard import BUSY
from smtp_router.smtp.offer import Offer
from smtp_router.smtp.steps import LogIn, StartTls, Step
from tests.site import OpenSite
from tests.support import config_text

USER, RESPONSE = "a", b"AGEAYg=="
SETTINGS = parse(config_text().encode(), Path("config.yaml")).settings
KNOWN = b"AUTH PLAIN " + RESPONSE
ENCRYPTED = TLS(version="TLSv1.3", cipher="any")


class Site(OpenSite):
    """Knows somebody."""

    def known(self, response: bytes) -> str | None:
        return USER if response == RESPONSE else None


EHLO, HELO, TLS_NOW = b"EHLO client.example", b"HELO x", b"STARTTLS"
USUAL = st.sampled_from([KNOWN, EHLO, HELO])
ODD = st.one_of(
    st.sampled_from([b"EHLO [127.0.0.1]", TLS_NOW, b"RSET", b"QUIT"]),
    st.sampled_from([b"EHLO", b"EHLO ", b"EHLO x ", b"ehlo x", b"EHLO x y", b"EHLO  x", b"EHLO x\x00"]),
    st.sampled_from([b"EHLO -", b"EHLO " + 255 * b"x", b"EHLO " + 256 * b"x", b"EHLO " + 506 * b"x"]),
    st.sampled_from([KNOWN + b" ", KNOWN + b" x", KNOWN[:-1], KNOWN.lower(), b"auth PLAIN " + RESPONSE]),
    st.sampled_from([b"AUTH PLAIN", b"AUTH LOGIN " + RESPONSE, b"AUTH  PLAIN " + RESPONSE]),
    st.builds(
        lambda one, two: one + two,
        st.sampled_from([b"EHLO ", KNOWN]),
        st.binary(max_size=5).map(lambda octets: octets.replace(b"\n", b"")),
    ),
)
LINES = st.lists(USUAL | USUAL | ODD, max_size=8)
PEERS = st.sampled_from(["127.0.0.1", "::1", "192.0.2.1", ""])


@given(
    lines=LINES,
    peer=PEERS,
    starttls=st.booleans(),
    require_tls=st.booleans(),
    allow=st.booleans(),
)
@example(lines=[EHLO, HELO, KNOWN], peer="::1", starttls=False, require_tls=False, allow=False)
@example(lines=[EHLO, KNOWN], peer="192.0.2.1", starttls=False, require_tls=False, allow=False)
@example(lines=[EHLO, KNOWN, KNOWN], peer="::1", starttls=False, require_tls=False, allow=False)
@example(lines=[EHLO, TLS_NOW, KNOWN], peer="::1", starttls=True, require_tls=False, allow=False)
@example(lines=[EHLO, TLS_NOW, KNOWN], peer="192.0.2.1", starttls=True, require_tls=False, allow=True)
def test_an_opening_is_taken_as_a_whole_as_it_is_in_steps(
    *, lines: list[bytes], peer: str, starttls: bool, require_tls: bool, allow: bool
) -> None:
    site = Site(replace(SETTINGS, allow_plaintext_auth=allow))
    offer = Offer(site, starttls=starttls, require_tls=require_tls)
    talks = whole, in_steps = [Conversation(offer, (peer, 1)) for _ in range(2)]
    for line in lines:
        step, careful = whole.at_once(whole, line + b"\r\n"), in_steps.on(line)
        if (line, careful) == (KNOWN, LogIn("PLAIN", RESPONSE)):
            careful = in_steps.logged_in(USER)
        assert step == careful
        if isinstance(step, StartTls):
            for talk in talks:
                talk.started_tls(ENCRYPTED)
        assert _state(whole) == _state(in_steps)


def _state(talk: Conversation) -> object:
    return talk.session, talk.user, talk.counted_as


def test_somebody_who_is_known_is_let_in_at_once_unless_a_login_from_there_has_failed() -> None:
    site = Site(SETTINGS)

    def says() -> Step | None:
        talk = Conversation(Offer(site), ("127.0.0.1", 1))
        talk.on(EHLO)
        return talk.at_once(talk, KNOWN + b"\r\n")

    assert says() == LOGGED_IN
    site.guard.login_begins("127.0.0.2")
    assert says() == LOGGED_IN
    site.guard.login_begins("127.0.0.1")
    assert says() == LogIn("PLAIN", RESPONSE)


def test_who_logs_in_is_no_longer_counted_as_the_user_of_the_network() -> None:
    site = Site(SETTINGS)
    talk = Conversation(Offer(site), ("127.0.0.1", 1))
    assert talk.count("network") is None
    talk.logged_in(USER)
    assert talk.counted_as == USER
    assert [site.guard.logged_in(user, 1) for user in ("network", USER)] == [None, BUSY]


def test_what_is_no_whole_line_is_not_taken_as_a_whole() -> None:
    talk = Conversation(Offer(Site(SETTINGS)), ("127.0.0.1", 1))
    for line in (EHLO, KNOWN):
        for beginning in (line, line + b"\r", line + b"\n", line + b"xx", line + b"\r\nNO"):
            assert talk.at_once(talk, beginning) is None
        talk.on(EHLO)
