"""No error and no repr shows what a reference or a secret holds."""

import logging

import pytest

from smtp_router import ConfigError
from tests.config.configurations import changed, read

CANARY = "c4n4ry"

LEAKS = {
    "of a wrong type": changed("tls: auto", "tls: ${env:SECRET}"),
    "in an address": changed("a.example:25", "${env:SECRET}"),
    "in brackets": changed("a.example:25", "'[${env:SECRET}]:25'"),
    "as a port": changed("a.example:25", "a.example:${env:SECRET}"),
    "as a number": changed("60", "${env:SECRET}"),
    "as a flag": changed("tls: auto", "tls_verify: ${env:SECRET}"),
    "as a list": changed("[deferred]", "${env:SECRET}"),
    "as a word": changed("[deferred]", "['${env:SECRET}']"),
    "as a mapping": changed("{weight: 3}", "${env:SECRET}"),
    "as a host name": changed("deadline_s: 60", "hostname: '${env:SECRET} x'"),
    "as a file": changed("tls: auto", "tls_ca: ${env:SECRET}"),
    "as a twin": changed("- addr: b.example:25", "- {addr: 'b:1', name: '${env:SECRET}'}").replace(
        "name: first", "name: ${env:SECRET}"
    ),
    "as a hash": changed("password: password", "password: $2b$${env:SECRET}"),
    "without its user": changed("        user: apikey\n", "").replace("secret", "${env:SECRET}"),
    "in the file": changed("        user: apikey\n", "").replace("secret", CANARY),
    "a hash in the file": changed("password: password", f"password: $2b${CANARY}"),
}


@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS)
def test_no_error_shows_what_a_reference_or_a_secret_holds(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ConfigError) as caught:
        read(text, {"SECRET": CANARY})
    shown = [str(caught.value), repr(caught.value), repr(caught.value.problems), caplog.text]
    assert not any(CANARY in text for text in shown)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or CANARY not in str(caught.value.__context__)


def test_no_repr_of_the_settings_shows_a_secret() -> None:
    text = (
        changed("password: password", f"password: {CANARY}1")
        .replace("pass: secret", f"pass: {CANARY}2")
        .replace("{weight: 3}", f"{{token: {CANARY}3}}")
        .replace("algorithm: round_robin", f"algorithm: {{use: x, options: {{token: {CANARY}4}}}}")
    )
    settings = read(text).settings
    user = settings.users[0]
    for value in (settings, user, user.downstreams[0], user.algorithm, user.password):
        assert CANARY not in repr(value)
        assert CANARY not in str(value)
    assert "***" in repr(user)
