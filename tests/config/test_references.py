"""What a reference stands for, and what is said of one that stands for nothing."""

from pathlib import Path

import pytest

from tests.config.configurations import changed, problems, read


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("${env:NAME}", "s3cret"),
        ("a-${env:NAME}-b", "a-s3cret-b"),
        ("${env:NAME}${env:OTHER}", "s3cretother"),
        ("${env:NESTED}", "${env:NAME}"),
        ("$NAME", "$NAME"),
        ("${env:NAME", "${env:NAME"),
        ("$${env:NAME}", "$s3cret"),
        ("${file:secret.txt}", "from a file"),
        ("${file:./folder/../secret.txt}", "from a file"),
        ("${file:two.txt}", "two\nlines"),
        ("${file:spaces.txt}", " kept "),
    ],
)
def test_a_reference_stands_for_what_it_names(tmp_path: Path, reference: str, value: str) -> None:
    (tmp_path / "secret.txt").write_text("from a file\n")
    (tmp_path / "two.txt").write_text("two\nlines\r\n\n")
    (tmp_path / "spaces.txt").write_text(" kept ")
    environ = {"NAME": "s3cret", "OTHER": "other", "NESTED": "${env:NAME}"}
    text = changed("password: password", f"password: '{reference}'")
    loaded = read(text, environ, tmp_path / "config.yaml")
    assert loaded.settings.users[0].password.reveal() == value


def test_a_reference_may_stand_in_any_value() -> None:
    environ = {"D": "7.5", "N": "100", "B": "true", "ADDR": "x.example:26", "A": "./algo.py", "W": "9"}
    text = """\
        deadline_s: ${env:D}
        max_recipients: ${env:N}
        allow_plaintext_auth: ${env:B}
        users:
          - email: a@b
            password: p
            algorithm: {use: "${env:A}", options: {weights: ["${env:W}"]}}
            downstreams: [{addr: "${env:ADDR}"}]
        """
    settings = read(text, environ).settings
    assert (settings.deadline_s, settings.max_recipients) == (7.5, 100)
    assert settings.allow_plaintext_auth
    (user,) = settings.users
    assert (user.algorithm.use, dict(user.algorithm.options)) == ("./algo.py", {"weights": ["9"]})
    assert str(user.downstreams[0].addr) == "x.example:26"


def test_what_a_reference_stands_for_is_taken_as_it_is_through_an_alias_too() -> None:
    text = """\
        users:
          - &first
            email: a@b
            password: &password ${env:ODD}
            algorithm: x
            downstreams: &downstreams [{addr: 'h:25', user: u, pass: "${env:ODD}"}]
          - {<<: *first, email: c@d}
          - {email: e@f, password: *password, algorithm: x, downstreams: *downstreams}
        """
    users = read(text, {"ODD": "${env:NAME}", "NAME": "not this"}).settings.users
    secrets = [secret for user in users for secret in (user.password, user.downstreams[0].password)]
    assert {secret.reveal() for secret in secrets if secret} == {"${env:NAME}"}


def test_a_key_is_no_place_for_a_reference() -> None:
    text = changed("{weight: 3}", "{'${env:NAME}': 3}")
    options = read(text, {"NAME": "s3cret"}).settings.users[0].downstreams[0].options
    assert dict(options) == {"${env:NAME}": 3}


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("${env:NONE}", "the environment has no variable NONE: set it, or take the reference out"),
        ("${file:none}", "the file none cannot be read: No such file or directory"),
        ("${file:.}", "the file . cannot be read: Is a directory"),
        ("${file:binary}", "the file binary is not UTF-8 text"),
        ("${file:big}", "the file big is bigger than 64 KiB"),
        ("${NAME}", "${NAME} is no reference: write ${env:NAME} or ${file:PATH}"),
        ("${vault:NAME}", "${vault:NAME} is no reference: write ${env:NAME} or ${file:PATH}"),
        ("${env}", "${env} is no reference: write ${env:NAME} or ${file:PATH}"),
        ("${}", "${} is no reference: write ${env:NAME} or ${file:PATH}"),
    ],
)
def test_a_reference_that_does_not_resolve_names_its_key(
    tmp_path: Path, reference: str, why: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "big").write_bytes(b"x" * (64 * 1024 + 1))
    text = changed("pass: secret", f"pass: '{reference}'")
    assert problems(text, {"NAME": "s3cret"}, tmp_path / "config.yaml") == [
        f"16: users[0].downstreams[0].pass: {why}"
    ]


def test_each_reference_that_does_not_resolve_is_named() -> None:
    text = changed("algorithm: round_robin", "algorithm: ${env:ONE}${env:TWO}")
    assert problems(text) == [
        f"9: users[0].algorithm: the environment has no variable {name}: "
        "set it, or take the reference out"
        for name in ("ONE", "TWO")
    ]
