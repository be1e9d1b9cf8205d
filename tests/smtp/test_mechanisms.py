"""What is said to which challenge: the examples of the RFCs, and servers that do not keep to them."""

import base64
import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router.config.types import HostPort
from smtp_router.credentials import MAX_ITERATIONS, ScramLogin
from smtp_router.smtp.mechanisms import (
    CramMD5,
    Login,
    Mechanism,
    OAuthBearer,
    Plain,
    ScramSHA256,
    XOAuth2,
)

SERVER = HostPort(host="server.example.com", port=587)


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def test_plain_is_that_of_rfc_4616() -> None:
    assert Plain("tim", "tanstaaftanstaaf").begin() == b"\0tim\0tanstaaftanstaaf"


def test_cram_md5_is_that_of_rfc_2195() -> None:
    challenge = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
    said = CramMD5("tim", "tanstaaftanstaaf").answer(challenge)
    assert said == b"tim b913a602c7eda7a495b4e6e7334d3890"


def test_scram_sha_256_is_that_of_rfc_7677() -> None:
    login = ScramLogin("user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO")
    assert login.begin() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    said = login.answer(b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert said == b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    login.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def test_xoauth2_is_that_of_google() -> None:
    said = XOAuth2("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg").begin()
    assert b64(said) == (
        "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="
    )


def test_oauthbearer_is_that_of_rfc_7628() -> None:
    said = OAuthBearer("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", SERVER).begin()
    assert said == (
        b"n,a=user@example.com,\1host=server.example.com\1port=587\1"
        b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1"
    )
    assert OAuthBearer("a,b=c", "t", SERVER).begin().startswith(b"n,a=a=2Cb=3Dc,\1")


def test_login_says_user_and_password_whatever_it_is_asked() -> None:
    login = Login("ünï", "pass")
    assert [login.answer(word) for word in ("VXNlcm5hbWU6", "not base64!")] == ["ünï".encode(), b"pass"]
    with pytest.raises(ValueError, match="out of place"):
        login.answer("")


@pytest.mark.parametrize(
    ("mechanism", "challenges"),
    [
        (Plain("u", "p"), [""]),
        (CramMD5("u", "p"), ["PDFAYT4=", "PDFAYT4="]),
        (CramMD5("u", "p"), ["no base64"]),
        (XOAuth2("u", "t"), ["e30=", "e30="]),
        (OAuthBearer("u", "t", SERVER), ["e30=", "e30="]),
    ],
    ids=lambda value: value.name if isinstance(value, Mechanism) else str(len(value)),
)
def test_a_server_that_asks_out_of_place_gets_nothing_more(
    mechanism: Mechanism, challenges: list[str]
) -> None:
    *others, last = challenges
    for challenge in others:
        mechanism.answer(challenge)
    with pytest.raises(ValueError, match="challenge"):
        mechanism.answer(last)


def server_first(mechanism: ScramSHA256, **changed: str) -> str:
    nonce = mechanism.begin().decode().rpartition("r=")[2]
    parts = {"r": nonce + "more", "s": "W22ZaJ0SNY7soEsUEjb6gQ==", "i": "4096"} | changed
    return b64(",".join(f"{key}={value}" for key, value in parts.items()))


@pytest.mark.parametrize(
    "changed",
    [
        {"r": "of another login"},
        {"i": "1"},
        {"i": str(MAX_ITERATIONS + 1)},
        {"i": "9" * 5000},
        {"i": "-4096"},
        {"s": "YQ=="},
        {"s": "no base64"},
        {"m": "an extension that has to be known"},
        {"e": "other-error"},
    ],
    ids=str,
)
def test_scram_answers_no_challenge_that_breaks_the_rules(changed: dict[str, str]) -> None:
    mechanism = ScramSHA256("user", "pencil")
    with pytest.raises(ValueError, match=r"challenge|iterations"):
        mechanism.answer(server_first(mechanism, **changed))


@pytest.mark.parametrize(
    "final", ["", b64("v=" + b64(32 * b"x")), b64("e=invalid-proof"), "!", b64(b"\xff")]
)
def test_scram_believes_no_server_that_does_not_know_the_password(final: str) -> None:
    mechanism = ScramSHA256("user", "pencil")
    mechanism.answer(server_first(mechanism))
    with pytest.raises(ValueError, match=r".+"):
        mechanism.answer(final)
    with pytest.raises(ValueError, match="has not shown"):
        mechanism.end()


@pytest.mark.parametrize(
    "mechanism", [CramMD5("u", "p"), ScramSHA256("u", "p")], ids=lambda one: one.name
)
def test_a_yes_before_the_proof_is_none(mechanism: Mechanism) -> None:
    with pytest.raises(ValueError, match=r".+"):
        mechanism.end()


def test_what_a_mechanism_cannot_say_is_told_before_anything_is_said() -> None:
    with pytest.raises(ValueError, match="NUL"):
        Plain("u", "a\0b")
    with pytest.raises(ValueError, match="SCRAM does not allow") as told:
        ScramSHA256("u", "secret\x07")
    assert "secret" not in str(told.value)


MAKERS: tuple[Callable[[], Mechanism], ...] = (
    lambda: Plain("u", "p"),
    lambda: Login("u", "p"),
    lambda: CramMD5("u", "p"),
    lambda: ScramSHA256("u", "p"),
    lambda: XOAuth2("u", "t"),
    lambda: OAuthBearer("u", "t", SERVER),
)


@given(
    make=st.sampled_from(MAKERS),
    challenges=st.lists(
        st.text()
        | st.binary().map(b64)
        | st.text(alphabet="rsiev=,0123456789abcABC+/").map(b64)
        | st.sampled_from(["", "=", "v=", b64("r=x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")]),
        max_size=4,
    ),
)
def test_no_challenge_does_more_than_end_the_login(
    make: Callable[[], Mechanism], challenges: list[str]
) -> None:
    mechanism = make()
    mechanism.begin()
    with contextlib.suppress(ValueError):
        for challenge in challenges:
            mechanism.answer(challenge)
        mechanism.end()
