"""Stored passwords: which forms there are, what each answers, and SCRAM to the letter of RFC 7677."""

import base64
import re
from contextlib import suppress

import pytest
import scramp  # type: ignore[import-untyped]  # it has no types
from hypothesis import given, settings
from hypothesis import strategies as st

from smtp_router.credentials import (
    Kind,
    ScramExchange,
    derive,
    for_show,
    kind_of,
    make,
    verifier_of,
    verify,
)

PASSWORD = "pencil"
STORED = {kind: make(kind, PASSWORD) for kind in Kind}
SALT, KEY = base64.b64encode(16 * b"s").decode(), base64.b64encode(32 * b"k").decode()


def verifier(iterations: object = 4096, salt: str = SALT, stored: str = KEY, server: str = KEY) -> str:
    return f"SCRAM-SHA-256${iterations}:{salt}${stored}:{server}"


# Forms


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        *(pytest.param(stored, kind, id=f"made for {kind}") for kind, stored in STORED.items()),
        ("", Kind.PLAIN),
        ("$", Kind.PLAIN),
        ("$ecret", Kind.PLAIN),
        ("$2 for you", Kind.PLAIN),
        ("argon2id", Kind.PLAIN),
        ("SCRAM", Kind.PLAIN),
        ("{}", Kind.PLAIN),
        ("{lower}", Kind.PLAIN),
        ("$argon2i$v=19$m=512,t=2,p=2$aI2R0hpDyLm3ltLa+1/rvQ$LqPKjd6n8yniKtAithoR7A", Kind.ARGON2),
        (verifier(), Kind.SCRAM),
        (verifier(9_999_999), Kind.SCRAM),
    ],
)
def test_a_stored_form_is_known_by_how_it_begins(stored: str, kind: Kind) -> None:
    assert kind_of(stored) is kind


@pytest.mark.parametrize(
    "stored",
    [
        "$argon2id$",
        "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ",
        "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaGhhc2g",  # a salt too short
        "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$hi",  # a hash too short
        "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhb!Q$aGFzaGhhc2g",
        "$argon2x$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g",
        pytest.param(STORED[Kind.ARGON2] + "\n", id="one with an end of line"),
        "SCRAM-SHA-256$",
        verifier("many"),
        verifier(4095),  # RFC 7677 4
        verifier(0),
        verifier(10_000_000),
        verifier(salt=""),
        verifier(salt="c2FsdA=="),  # too short for the library that answers with it
        verifier(salt=SALT[:-1]),
        verifier(stored="AAAA"),
        verifier(server=KEY + KEY),
        verifier() + "x",
        verifier() + "\n",
        "SCRAM-SHA-1$4096:c2FsdA==$AAAA:AAAA",
        "SCRAM-SHA-512$4096:c2FsdA==$AAAA:AAAA",
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
        "$1$salt$hash",
        "$5$salt$hash",
        "$6$salt$hash",
        "$y$j9T$salt$hash",
        "$apr1$salt$hash",
        "$scrypt$ln=16,r=8,p=1$salt$hash",
        "$pbkdf2-sha256$29000$salt$hash",
        "{SSHA}c2VjcmV0c2VjcmV0",
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g",
    ],
)
def test_a_hash_that_nobody_could_match_is_refused_and_not_shown(stored: str) -> None:
    with pytest.raises(ValueError, match=r"^is a .*: make one with smtp-router hash-password") as caught:
        kind_of(stored)
    shown = str(caught.value).replace("hash-password", "").replace("SCRAM verifier", "")
    assert not [part for part in re.split(r"[$:,=]", stored) if len(part) > 4 and part in shown]
    assert caught.value.__cause__ is None


# Passwords


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("password", "right"),
    [
        (PASSWORD, True),
        ("", False),
        ("Pencil", False),
        ("pencil ", False),
        ("pencil\0", False),
        (10_000 * "x", False),
        ("\u0221", False),  # unassigned in Unicode 3.2, which SASLprep refuses
        ("\ue000", False),  # private use, too
    ],
)
def test_only_the_password_itself_is_right(kind: Kind, password: str, *, right: bool) -> None:
    assert verify(STORED[kind], password) is right


@pytest.mark.parametrize("kind", Kind)
def test_a_password_may_be_any_text(kind: Kind) -> None:
    assert verify(make(kind, "grüße, \u65e5\u672c"), "grüße, \u65e5\u672c")


@pytest.mark.parametrize("kind", [Kind.ARGON2, Kind.SCRAM])
def test_the_same_password_is_stored_in_another_way_each_time(kind: Kind) -> None:
    assert make(kind, PASSWORD) != make(kind, PASSWORD)
    assert PASSWORD not in make(kind, PASSWORD)


@pytest.mark.parametrize("stored", [kind.value for kind in Kind])
def test_a_hash_is_no_password(stored: str) -> None:
    """Who reads the configuration has not yet the password."""
    if Kind(stored) is not Kind.PLAIN:
        assert not verify(STORED[Kind(stored)], STORED[Kind(stored)])


def test_a_verifier_is_read_back_as_it_was_made() -> None:
    known = verifier_of(STORED[Kind.SCRAM])
    assert derive(PASSWORD, salt=known.salt, iterations=known.iterations) == known


def test_what_scram_cannot_have_as_a_password_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match=r"\S"):
        make(Kind.SCRAM, "\u0221")


# SCRAM: RFC 7677 3

RFC_SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
RFC_KNOWN = derive("pencil", salt=RFC_SALT)
C_NONCE, S_NONCE = "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FIRST = f"n,,n=user,r={C_NONCE}".encode()
FINAL = f"c=biws,r={C_NONCE}{S_NONCE},p=".encode()
PROOF = b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> ScramExchange:
    """With the server's nonce of RFC 7677."""
    nonce = scramp.core.Nonce(S_NONCE)
    monkeypatch.setattr(scramp.core.Nonce, "create", classmethod(lambda _: nonce))
    return ScramExchange()


def test_scram_is_that_of_rfc_7677(exchange: ScramExchange) -> None:
    assert exchange.read_name(FIRST) == "user"
    challenge = exchange.challenge(RFC_KNOWN)
    assert challenge == f"r={C_NONCE}{S_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
    assert exchange.finish(FINAL + PROOF) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize(
    "final",
    [
        FINAL + b"A" + PROOF[1:],
        FINAL,
        FINAL + b"!",
        FINAL + b"AAAA",
        FINAL.replace(b"biws", b"eSws") + PROOF,  # y,, where n,, was said
        FINAL.replace(C_NONCE.encode(), b"other") + PROOF,
        FINAL.replace(S_NONCE.encode(), b"") + PROOF,
        FINAL.replace(b",p=", b",x=1,p=") + PROOF,
        b"p=" + PROOF,
        b"",
        b"*",
        b"\xff",
        b",,,",
    ],
)
def test_a_wrong_proof_is_refused(exchange: ScramExchange, final: bytes) -> None:
    exchange.read_name(FIRST)
    exchange.challenge(RFC_KNOWN)
    with pytest.raises(ValueError, match=r".*"):
        exchange.finish(final)


def test_the_right_proof_for_another_password_is_refused(exchange: ScramExchange) -> None:
    exchange.read_name(FIRST)
    exchange.challenge(derive("pencils", salt=RFC_SALT))
    with pytest.raises(ValueError, match=r".*"):
        exchange.finish(FINAL + PROOF)


@pytest.mark.parametrize(
    ("first", "name"),
    [
        (b"n,,n=user,r=abc", "user"),
        (b"y,,n=user,r=abc", "user"),
        (b"n,a=user,n=user,r=abc", "user"),
        (b"n,,n=a=2Cb=3Dc,r=abc", "a,b=c"),
        (b"n,a==2C=3D,n==2C=3D,r=abc", ",="),
        (b"n,,n==3D2C,r=abc", "=2C"),
        ("n,,n=jürgen@a.example,r=abc".encode(), "jürgen@a.example"),
    ],
)
def test_the_login_is_read_from_the_first_message(first: bytes, name: str) -> None:
    assert ScramExchange().read_name(first) == name


@pytest.mark.parametrize(
    "first",
    [
        b"n,a=root,n=user,r=abc",
        b"n,root,n=user,r=abc",
        b"n,a=User,n=user,r=abc",
        b"n,a=a=2Cb,n=a,r=abc",
        b"n,,user,r=abc",
        b"n,,r=abc,n=user",
        b"n,,m=ext,n=user,r=abc",
        b"n=user,r=abc",
        b"",
        b"\xff",
    ],
)
def test_nobody_acts_for_somebody_else(first: bytes) -> None:
    """And what cannot be read is nobody."""
    with pytest.raises(ValueError, match=r".*"):
        ScramExchange().read_name(first)


@pytest.mark.parametrize("kind", Kind)
def test_what_is_for_show_is_as_slow_to_compare_with_as_the_real_one_and_nobodys(kind: Kind) -> None:
    shown, real = for_show(kind), make(kind, "password")
    assert kind_of(shown) is kind
    assert re.sub(r"[A-Za-z0-9+/=]{20,}", "", shown) == re.sub(r"[A-Za-z0-9+/=]{20,}|password", "", real)
    assert len(shown) == len(real) or kind is Kind.PLAIN
    assert not verify(shown, "password")
    assert shown != for_show(kind)


@given(
    first=st.binary(max_size=20) | st.just(FIRST) | st.text("ny,=par", max_size=12).map(str.encode),
    final=st.binary(max_size=20)
    | st.lists(st.sampled_from(["c=biws", "r=x", "p=AAAA", "", "=", "x", "r=", "p="])).map(
        lambda parts: ",".join(parts).encode()
    ),
)
@settings(max_examples=100)
def test_whatever_a_client_says_is_a_refusal_and_no_error_of_ours(first: bytes, final: bytes) -> None:
    exchange = ScramExchange()
    with suppress(ValueError):
        exchange.read_name(first)
        exchange.challenge(RFC_KNOWN)
        exchange.finish(final)
        pytest.fail("that was no proof")
