"""How a login at a downstream may be configured, and what is said of what may not."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from smtp_router.config.auth import Auth
from smtp_router.config.explain import keys_of
from smtp_router.config.load import parse
from smtp_router.config.reading import validated
from smtp_router.config.settings import Downstream
from smtp_router.core.errors import ConfigError

ENDPOINT: Mapping[str, object] = {
    "type": "xoauth2",
    "token_url": "https://login.example/token",
    "client_id": "router",
    "client_secret": "s3cret-1",
    "refresh_token": "s3cret-2",
}
COMMAND: Mapping[str, object] = {"type": "oauthbearer", "token_command": ["/bin/token", "--for", "mail"]}
PASSWORD: Mapping[str, object] = {"user": "u", "pass": "p"}


def downstream(**entry: object) -> Downstream:
    """A downstream with this in its entry.

    Raises:
        ConfigError: it cannot be.
    """
    user = {
        "email": "a@b",
        "password": "p",
        "algorithm": "x",
        "downstreams": [{"addr": "a.example:587"} | entry],
    }
    text = json.dumps({"users": [user]}).encode()
    return parse(text, Path("config.yaml"), environ={"KEY": "s3cret-3"}).settings.users[0].downstreams[0]


@pytest.mark.parametrize("kind", ["plain", "login", "cram-md5", "scram-sha-256"])
def test_a_mechanism_can_be_told(kind: str) -> None:
    auth = downstream(**PASSWORD, auth={"type": kind}).auth
    assert auth is not None
    assert (auth.type, auth.takes_token) == (kind, False)


@pytest.mark.parametrize(
    "auth", [ENDPOINT, COMMAND, {**ENDPOINT, "client_secret": None, "scope": "a b"}]
)
def test_a_token_takes_the_place_of_a_password(auth: Mapping[str, object]) -> None:
    found = downstream(user="u", auth=auth).auth
    assert found is not None
    assert found.takes_token


def test_secrets_may_be_references_and_print_as_stars() -> None:
    found = downstream(user="u", auth={**ENDPOINT, "refresh_token": "${env:KEY}"})
    assert found.auth is not None
    assert found.auth.refresh_token is not None
    assert found.auth.refresh_token.reveal() == "s3cret-3"
    assert "s3cret" not in repr(found) + str(found)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("get-token", ("get-token",)),
        ("/bin/get 'for mail' \"$HOME\" *", ("/bin/get", "for mail", "$HOME", "*")),
    ],
)
def test_a_command_may_be_one_line_that_no_shell_reads(line: str, words: tuple[str, ...]) -> None:
    assert validated(Auth, {"type": "xoauth2", "token_command": line}).token_command == words


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/t?x=y",
        "https://[2001:db8::1]:8443",
        "http://127.0.0.1:1/t",
        "http://[::1]/t",
        "http://localhost:8080/token",
    ],
)
def test_a_token_endpoint_is_https_or_on_this_machine(url: str) -> None:
    assert validated(Auth, {**ENDPOINT, "token_url": url}).token_url == url


TYPES = "'plain', 'login', 'cram-md5', 'scram-sha-256', 'xoauth2' or 'oauthbearer'"
WHERE = "1: users[0].downstreams[0]"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"auth": {"type": "plain"}}, ": auth of the type plain needs a user: add it"),
        ({"auth": ENDPOINT}, ": auth of the type xoauth2 needs a user: add it"),
        (
            {"user": "u", "auth": {"type": "plain"}},
            ": user and pass go together: add the one that is missing",
        ),
        (
            {**PASSWORD, "auth": ENDPOINT},
            ": pass is not for auth of the type xoauth2: take one of the two out",
        ),
        (
            {"user": "u\1", "auth": ENDPOINT},
            ": user: has a control character, which cannot be said in such a login",
        ),
        ({**PASSWORD, "auth": "plain"}, ".auth: must be a mapping (key: value)"),
        ({**PASSWORD, "auth": {}}, ".auth.type: is missing: add it"),
        (
            {**PASSWORD, "auth": {"type": "gssapi"}},
            f".auth.type: must be {TYPES}",
        ),
        (
            {**PASSWORD, "auth": {"type": "plain", "token": "x"}},
            ".auth.token: is not a key here: did you mean token_url?",
        ),
        (
            {**PASSWORD, "auth": {"type": "plain", "scope": "x"}},
            ".auth: scope is for the types xoauth2 and oauthbearer, not for plain",
        ),
        (
            {**PASSWORD, "auth": {"type": "cram-md5", "token_lifetime_s": 5}},
            ".auth: token_lifetime_s is for the types xoauth2 and oauthbearer, not for cram-md5",
        ),
        (
            {"user": "u", "auth": {"type": "xoauth2"}},
            ".auth: type xoauth2 needs token_url (and what goes with it) or token_command",
        ),
        (
            {"user": "u", "auth": {**ENDPOINT, **COMMAND}},
            ".auth: token_url and token_command both say where the token is from: keep one of the two",
        ),
        (
            {"user": "u", "auth": {**COMMAND, "client_id": "x"}},
            ".auth: client_id goes with token_url, not with token_command",
        ),
        (
            {"user": "u", "auth": {"type": "xoauth2", "token_url": "https://a.example"}},
            ".auth: token_url needs client_id and refresh_token, too",
        ),
        (
            {"user": "u", "auth": {**ENDPOINT, "token_url": "http://a.example/s3cret"}},
            ".auth.token_url: must begin with https://; http:// is for loopback addresses only",
        ),
        (
            {"user": "u", "auth": {**ENDPOINT, "token_url": "https://me:s3cret@a.example"}},
            ".auth.token_url: must have neither a user or password nor a fragment (#…) in it",
        ),
        *(
            (
                {"user": "u", "auth": {**ENDPOINT, "token_url": url}},
                ".auth.token_url: must be a URL, as in https://login.example.com/oauth2/token",
            )
            for url in (
                "s3cret",
                "https://",
                "https://a b",
                "https://ü.example",
                "https://a:99999/",
                "https://[1/",
            )
        ),
        (
            {"user": "u", "auth": {"type": "xoauth2", "token_command": "a 's3cret"}},
            ".auth.token_command: has a quotation mark that is not closed",
        ),
        (
            {"user": "u", "auth": {"type": "xoauth2", "token_command": "./s3cret"}},
            ".auth.token_command: must begin with a program's whole path, or with a name that PATH has",
        ),
        (
            {"user": "u", "auth": {"type": "xoauth2", "token_command": " "}},
            ".auth.token_command: must not be empty",
        ),
        (
            {"user": "u", "auth": {"type": "xoauth2", "token_command": []}},
            ".auth.token_command: must not be empty",
        ),
        (
            {"user": "u", "auth": {"type": "xoauth2", "token_command": ["a", "b\0"]}},
            ".auth.token_command: has a NUL in it",
        ),
        ({"tls_client_key": __file__}, ": tls_client_key without tls_client_cert: add the certificate"),
        ({"tls_client_cert": __file__, "tls": "none"}, ": tls_client_cert needs TLS, and tls is none"),
        ({"tls_client_cert": "./none.pem"}, ".tls_client_cert: is no file: give the path of a PEM file"),
    ],
)
def test_what_cannot_be_is_said_with_its_key_and_without_secrets(
    entry: Mapping[str, object], problem: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        downstream(**entry)
    said = [re.sub("^config.yaml:", "", str(one)) for one in raised.value.problems]
    assert said == [WHERE + problem]
    assert "s3cret" not in str(raised.value)


def test_what_differs_in_what_a_token_depends_on_shares_none() -> None:
    changes: Mapping[str, object] = {
        "token_url": "https://b.example",
        "client_id": "other",
        "client_secret": "other",
        "refresh_token": "other",
        "scope": "other",
        "token_lifetime_s": 5,
    }
    one = validated(Auth, ENDPOINT)
    assert one.credential == validated(Auth, {**ENDPOINT, "type": "oauthbearer"}).credential
    others = [validated(Auth, {**ENDPOINT, key: value}) for key, value in changes.items()]
    others += [validated(Auth, COMMAND), validated(Auth, {**COMMAND, "token_command": "x"})]
    assert len({auth.credential for auth in (one, *others)}) == len(others) + 1


def test_every_key_but_the_type_is_part_of_the_credential() -> None:
    with pytest.raises(ValidationError):
        validated(Auth, {**ENDPOINT, "more": 1})
    assert len(validated(Auth, ENDPOINT).credential) == len(keys_of(Auth)) - 1  # type: ignore[arg-type]
