"""Every way a configuration can be wrong, with the very words that say so."""

import logging
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import ConfigError
from smtp_router.config.load import InvalidConfigError, Loaded, load, parse
from smtp_router.config.settings import Settings
from tests.support import config_text, user_config

FILE = Path("/etc/smtp-router/config.yaml")

VALID = """\
listen:
  - addr: 127.0.0.1:1025
deadline_s: 60
timeouts:
  connect_s: 5
users:
  - email: user@example.com
    password: password
    algorithm: round_robin
    plugins: [stamp]
    failover_on: [deferred]
    downstreams:
      - addr: a.example:25
        name: first
        user: apikey
        pass: secret
        tls: auto
        options: {weight: 3}
      - addr: b.example:25
"""


ADDR = "13: users[0].downstreams[0].addr: "
NO_PORT = ADDR + "must be HOST:PORT with a port from 0 to 65535, as in smtp.example.com:587"
BAD_HOST = ADDR + "has a bad host: a name, an IPv4 address, or an IPv6 address in brackets"
BAD_LITERAL = ADDR + "has something in brackets that is not an IPv6 address"
LISTEN_KEYS = (
    "3: listen[0].zzz: is not a key here: "
    "the keys are addr, tls, tls_cert, tls_key, proxy_protocol, require_tls"
)
MAKE_ONE = "make one with smtp-router hash-password"
UNKNOWN_HASH = f"8: users[0].password: is a hash of a kind that is not known: {MAKE_ONE}"
BAD_ARGON2 = f"8: users[0].password: is a malformed argon2 hash: {MAKE_ONE}"
BAD_SCRAM = f"8: users[0].password: is a malformed SCRAM verifier: {MAKE_ONE} --scheme scram"


def read(text: str, environ: Mapping[str, str] | None = None, file: Path = FILE) -> Loaded:
    return parse(dedent(text).encode(), file, environ=environ or {})


def problems(text: str, environ: Mapping[str, str] | None = None, file: Path = FILE) -> list[str]:
    """What is wrong, line by line, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        read(text, environ, file)
    lines = [str(problem) for problem in caught.value.problems]
    assert all(line.startswith(f"{file}:") for line in lines)
    assert str(caught.value) == "\n".join(lines)
    return [line.removeprefix(f"{file}:") for line in lines]


def changed(old: str, new: str) -> str:
    assert VALID.count(old) == 1, f"{old!r} stands {VALID.count(old)} times in VALID"
    return VALID.replace(old, new)


def test_the_configuration_that_the_others_are_made_from_is_valid() -> None:
    assert read(VALID).settings.users[0].downstreams[1].name == "b.example:25"


def test_the_original_short_form_works_as_it_is() -> None:
    text = """\
        users:
          - email: "user@example.com"
            password: "password"
            selector_algo_path: "./round_robin.py"
            downstreams:
              - addr: "smtp.provider1.com:587"
                user: "apikey"
                pass: "secret"
              - addr: "smtp.provider2.com:587"
                user: "user"
                pass: "pass"
        """
    (user,) = read(text).settings.users
    assert (user.email, user.password.reveal()) == ("user@example.com", "password")
    assert (user.algorithm.use, dict(user.algorithm.options)) == ("./round_robin.py", {})
    first, second = user.downstreams
    assert (str(first.addr), first.name, first.user) == (
        "smtp.provider1.com:587",
        "smtp.provider1.com:587",
        "apikey",
    )
    assert first.password is not None
    assert first.password.reveal() == "secret"
    assert (str(second.addr), second.user) == ("smtp.provider2.com:587", "user")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # Unknown keys, with the nearest known one.
        (
            "deadline_s:",
            "deadlines:",
            "3: deadlines: is not a key here: did you mean deadline_s?",
        ),
        (
            "connect_s:",
            "conect_s:",
            "5: timeouts.conect_s: is not a key here: did you mean connect_s?",
        ),
        (
            "        pass: ",
            "        password: ",
            "16: users[0].downstreams[0].password: is not a key here: did you mean pass?",
        ),
        (
            "    plugins:",
            "    plugin:",
            "10: users[0].plugin: is not a key here: did you mean plugins?",
        ),
        (
            "addr: 127.0.0.1:1025",
            "addr: 127.0.0.1:1025\n    zzz: 1",
            LISTEN_KEYS,
        ),
        (
            "algorithm: round_robin",
            "algorithm: {use: x, option: {}}",
            "9: users[0].algorithm.option: is not a key here: did you mean options?",
        ),
        (
            "plugins: [stamp]",
            "plugins: [{use: x, zzz: 1}]",
            "10: users[0].plugins[0].zzz: is not a key here: the keys are use, options",
        ),
        # Missing keys: the line is that of the mapping they are missing from.
        ("email: user@example.com\n    ", "", "7: users[0].email: is missing: add it"),
        ("    password: password\n", "", "7: users[0].password: is missing: add it"),
        ("    algorithm: round_robin\n", "", "7: users[0].algorithm: is missing: add it"),
        (
            "algorithm: round_robin",
            "algorithm: {options: {}}",
            "9: users[0].algorithm.use: is missing: add it",
        ),
        (
            "- addr: b.example:25",
            "- name: second",
            "19: users[0].downstreams[1].addr: is missing: add it",
        ),
        # Wrong types.
        ("user@example.com", "5", "7: users[0].email: must be text: put it in quotes"),
        ("user@example.com", "[a]", "7: users[0].email: must be text: put it in quotes"),
        ("user@example.com", "{a: b}", "7: users[0].email: must be text: put it in quotes"),
        ("user@example.com", "", "7: users[0].email: must be text: put it in quotes"),
        ("user@example.com", '""', "7: users[0].email: must not be empty"),
        (
            "password: password",
            "password: 12345",
            "8: users[0].password: must be text: put it in quotes",
        ),
        (
            "password: password",
            "password: 12:30",
            "8: users[0].password: must be text: put it in quotes",
        ),
        ("password: password", "password: ''", "8: users[0].password: must not be empty"),
        ("password: password", "password:", "8: users[0].password: must be text: put it in quotes"),
        ("name: first", "name: [x]", "14: users[0].downstreams[0].name: must be text: put it in quotes"),
        ("60", "soon", "3: deadline_s: must be a number"),
        ("60", "true", "3: deadline_s: must be a number"),
        ("60", "[60]", "3: deadline_s: must be a number"),
        ("60", "0", "3: deadline_s: must be more than 0"),
        ("60", "-1", "3: deadline_s: must be more than 0"),
        ("60", ".nan", "3: deadline_s: must be at most 86400"),
        ("60", ".inf", "3: deadline_s: must be at most 86400"),
        ("60", "86401", "3: deadline_s: must be at most 86400"),
        ("deadline_s: 60", "max_recipients: 1.5", "3: max_recipients: must be a whole number"),
        ("deadline_s: 60", "max_recipients: many", "3: max_recipients: must be a whole number"),
        ("deadline_s: 60", "max_recipients: [1]", "3: max_recipients: must be a whole number"),
        ("deadline_s: 60", "max_recipients: false", "3: max_recipients: must be a number"),
        ("deadline_s: 60", "max_message_bytes: 0", "3: max_message_bytes: must be more than 0"),
        ("deadline_s: 60", "allow_plaintext_auth: 2", "3: allow_plaintext_auth: must be true or false"),
        (
            "deadline_s: 60",
            "allow_plaintext_auth: [x]",
            "3: allow_plaintext_auth: must be true or false",
        ),
        ("deadline_s: 60", "hostname: 5", "3: hostname: must be text: put it in quotes"),
        (
            "deadline_s: 60",
            "hostname: a b",
            "3: hostname: must be a host name, as in mail.example.com",
        ),
        (
            "deadline_s: 60",
            "hostname: ''",
            "3: hostname: must be a host name, as in mail.example.com",
        ),
        ("\n  connect_s: 5", " 5", "4: timeouts: must be a mapping (key: value)"),
        ("\n  connect_s: 5", "", "4: timeouts: must be a mapping (key: value)"),
        ("[stamp]", "stamp", "10: users[0].plugins: must be a list (lines that start with -)"),
        ("[stamp]", "{a: b}", "10: users[0].plugins: must be a list (lines that start with -)"),
        ("[stamp]", "[5]", "10: users[0].plugins[0]: must be a mapping (key: value)"),
        ("[stamp]", "['']", "10: users[0].plugins[0].use: must not be empty"),
        ("[deferred]", "deferred", "11: users[0].failover_on: must be a list, as in [deferred]"),
        (
            "[deferred]",
            "[delivered]",
            "11: users[0].failover_on[0]: must be 'deferred', 'rejected' or 'in_doubt'",
        ),
        (
            "[deferred]",
            "[in_doubt]\n    in_doubt: accept",
            "7: users[0]: in_doubt: accept contradicts in_doubt in failover_on: remove one",
        ),
        (
            "tls: auto",
            "tls: ssl",
            "17: users[0].downstreams[0].tls: must be 'auto', 'none', 'starttls' or 'implicit'",
        ),
        (
            "tls: auto",
            "tls_verify: maybe",
            "17: users[0].downstreams[0].tls_verify: must be true or false",
        ),
        (
            "{weight: 3}",
            "3",
            "18: users[0].downstreams[0].options: must be a mapping (key: value)",
        ),
        (
            "tls: auto",
            "tls_ca: ./none.pem",
            "17: users[0].downstreams[0].tls_ca: is no file: give the path of a PEM file",
        ),
        ("- addr: b.example:25", "- 5", "19: users[0].downstreams[1]: must be a mapping (key: value)"),
        # Addresses and ports.
        *(
            (
                "a.example:25",
                address,
                NO_PORT,
            )
            for address in (
                "a.example",
                "'a.example:'",
                "a.example:smtp",
                "a.example:65536",
                "a.example:-1",
                "'a.example: 25'",
                "a.example:025",
                "a.example:99999999999999999999",
                "a.example:٢٥",
                "''",
            )
        ),
        *(
            (
                "a.example:25",
                address,
                BAD_HOST,
            )
            for address in ("':25'", "'a b:25'", "2001:db8::1:25", "smtp://a.example:25", "'[::1:25'")
        ),
        *(
            (
                "a.example:25",
                address,
                BAD_LITERAL,
            )
            for address in ("'[a.example]:25'", "'[127.0.0.1]:25'", "'[]:25'", "'[::g]:25'")
        ),
        ("a.example:25", "25", "13: users[0].downstreams[0].addr: must be HOST:PORT in quotes"),
        ("a.example:25", "[a]", "13: users[0].downstreams[0].addr: must be HOST:PORT in quotes"),
        ("a.example:25", "", "13: users[0].downstreams[0].addr: must be HOST:PORT in quotes"),
        (
            "b.example:25",
            "b.example:0",
            "19: users[0].downstreams[1]: addr: port 0 is no port to send to",
        ),
        # Credentials.
        (
            "        user: apikey\n",
            "",
            "13: users[0].downstreams[0]: user and pass go together: add the one that is missing",
        ),
        (
            "        pass: secret\n",
            "",
            "13: users[0].downstreams[0]: user and pass go together: add the one that is missing",
        ),
        *(
            ("password: password", f"password: '{digest}'", remedy)
            for digest, remedy in {
                "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$hash": BAD_ARGON2,
                "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW": UNKNOWN_HASH,
                "$scrypt$ln=16,r=8,p=1$salt$hash": UNKNOWN_HASH,
                "$pbkdf2-sha256$29000$salt$hash": UNKNOWN_HASH,
                "SCRAM-SHA-256$4096:salt$stored:server": BAD_SCRAM,
                "{SCRAM-SHA-256}4096,salt,stored,server": UNKNOWN_HASH,
            }.items()
        ),
        # Duplicates.
        (
            "- addr: b.example:25",
            "- {addr: b.example:25, name: first}",
            "19: users[0].downstreams[1].name: is the name of downstreams[0], too: add another name",
        ),
        (
            "- addr: b.example:25",
            "- addr: b.example:25\n      - addr: b.example:25",
            "20: users[0].downstreams[2].addr: is the name of downstreams[1], too: add another name",
        ),
        (
            "name: first",
            "name: b.example:25",
            "19: users[0].downstreams[1].addr: is the name of downstreams[0], too: add another name",
        ),
        # Spelled twice.
        (
            "plugins: [stamp]",
            "selector_algo_path: ./x.py",
            "10: users[0].selector_algo_path: says the same as algorithm: keep one of the two",
        ),
    ],
)
def test_what_is_wrong_is_said_with_line_key_and_remedy(old: str, new: str, expected: str) -> None:
    assert problems(changed(old, new)) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1: must be a mapping with the key users (see docs/configuration.md)"]),
        ("- a", ["1: must be a mapping with the key users (see docs/configuration.md)"]),
        ("text", ["1: must be a mapping with the key users (see docs/configuration.md)"]),
        ("listen: [{addr: 'a:1'}]", ["1: users: is missing: add it"]),
        ("users: []", ["1: users: must not be empty"]),
        ("users:", ["1: users: must be a list (lines that start with -)"]),
        ("users: {}", ["1: users: must be a list (lines that start with -)"]),
        ("users: [5]", ["1: users[0]: must be a mapping (key: value)"]),
        ("users: [[]]", ["1: users[0]: must be a mapping (key: value)"]),
        (
            "users: [{email: e, password: p, algorithm: x, downstreams: []}]",
            ["1: users[0].downstreams: must not be empty"],
        ),
        (
            "users: [{email: e, password: p, algorithm: x, downstreams: [{}]}]",
            ["1: users[0].downstreams[0].addr: is missing: add it"],
        ),
    ],
)
def test_a_file_that_is_something_else_is_refused(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_a_login_stands_there_once() -> None:
    text = config_text(user_config(email="a@b"), user_config(email="c@d"), user_config(email="a@b"))
    line = text[: text.rindex("email: a@b")].count("\n") + 1
    assert problems(text) == [f"{line}: users[2].email: is the same login as that of users[0]"]


def test_one_name_may_stand_at_two_users() -> None:
    assert len(read(config_text(user_config(email="a"), user_config(email="b"))).settings.users) == 2


def test_all_problems_are_said_at_once_in_the_order_of_lines() -> None:
    text = """\
        listen: [{addr: nowhere}]
        deadline: 5
        users:
          - email: a@b
            algorithm: ${env:MISSING}
            downstreams:
              - {addr: 'h:25', user: u}
              - {addr: 'h:25', tls: always}
        """
    said = problems(text)
    expected = [
        "1: listen[0].addr: must be HOST:PORT",
        "2: deadline: is not a key here",
        "4: users[0].password: is missing",
        "5: users[0].algorithm: the environment has no variable MISSING",
        "7: users[0].downstreams[0]: user and pass go together",
        "8: users[0].downstreams[1].tls: must be",
        "8: users[0].downstreams[1].addr: is the name of downstreams[0], too",
    ]
    assert len(said) == len(expected)
    assert all(line.startswith(start) for line, start in zip(said, expected, strict=True))


def test_a_problem_in_an_alias_is_said_where_the_alias_stands() -> None:
    text = """\
        users:
          - email: a@b
            password: p
            algorithm: &missing ${env:MISSING}
            plugins:
              - *missing
            downstreams: [{addr: 'h:25'}]
        """
    assert [line.split(": the")[0] for line in problems(text)] == [
        "4: users[0].algorithm",
        "6: users[0].plugins[0]",
    ]


def test_merge_keys_and_aliases_share_what_users_have_in_common() -> None:
    text = """\
        users:
          - &common
            email: a@b
            password: &password p
            algorithm: x
            downstreams: &downstreams [{addr: 'h:25'}]
          - {<<: *common, email: c@d}
          - {email: e@f, password: *password, selector_algo_path: ./y.py, downstreams: *downstreams}
        """
    settings = read(text).settings
    assert [user.email for user in settings.users] == ["a@b", "c@d", "e@f"]
    assert {user.password.reveal() for user in settings.users} == {"p"}
    assert [user.algorithm.use for user in settings.users] == ["x", "x", "./y.py"]


# What can be used of an invalid configuration.


def test_the_users_without_a_problem_stay_usable() -> None:
    text = config_text(
        user_config(email="a", failover_on="x"),
        user_config(email="b"),
        settings={"allow_writable_plugins": True, "deadline_s": 0},
    )
    with pytest.raises(InvalidConfigError) as caught:
        read(text)
    usable = caught.value.usable
    assert [user.email for user in usable.settings.users] == ["b"]
    assert list(usable.positions) == [1]
    assert usable.settings.allow_writable_plugins


# Files.


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for file, why in [
        (tmp_path / "none.yaml", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load(file)
        assert str(caught.value) == f"{file}: cannot be read: {why}; -c FILE names another one"


def test_a_file_is_loaded_and_watched(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(VALID)
    loaded = load(file, environ={})
    assert loaded.file == file
    assert [watch.path for watch in loaded.watches] == [file]
    assert not loaded.watches[0].changed()
    file.write_text(VALID + "#")
    assert loaded.watches[0].changed()


def test_a_file_of_more_than_10_mib_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    with file.open("wb") as output:
        output.write(VALID.encode() + b"#")
        output.truncate(10 * 2**20 + 1)
    with pytest.raises(ConfigError) as caught:
        load(file, environ={})
    assert str(caught.value) == f"{file}: is bigger than 10 MiB"


def test_relative_paths_start_from_the_configurations_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ca.pem").write_text("certificate")
    (tmp_path / "etc" / "secret").write_text("s3cret\n")
    text = changed("tls: auto", "tls_ca: ca.pem").replace("pass: secret", "pass: ${file:./secret}")
    (tmp_path / "etc" / "config.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    loaded = load(Path("etc/config.yaml"))
    first = loaded.settings.users[0].downstreams[0]
    assert first.tls_ca == tmp_path / "etc" / "ca.pem"
    assert first.password is not None
    assert first.password.reveal() == "s3cret"
    assert [watch.path for watch in loaded.watches] == [
        Path("etc/config.yaml"),
        tmp_path / "etc" / "secret",
    ]


# References.


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


# Secrets.

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


# Whatever is in the file.


@given(st.data())
def test_a_mutilated_configuration_is_valid_or_a_config_error(data: st.DataObject) -> None:
    text = VALID.encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    junk = data.draw(
        st.sampled_from(["", "[", "{", ":", "- ", "\n", "5", "~", "&a ", "*a", "x: ", "\t", "!"])
    )
    try:
        loaded = parse(text[:start] + junk.encode() + text[end:], FILE, environ={})
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - as good as a valid one
    else:
        assert isinstance(loaded.settings, Settings)


def test_what_stands_in_a_list_and_elsewhere_is_in_both_places() -> None:
    """The tree is taken apart as it is read, list by list."""
    text = """\
users:
  - &first {email: a@example.com, password: p, algorithm: x, downstreams: &theirs [{addr: a.example:25}]}
  - {<<: *first, email: b@example.com}
  - {email: c@example.com, password: p, algorithm: x, downstreams: *theirs}
"""
    users = parse(text.encode(), FILE).settings.users
    assert [user.email[0] for user in users] == ["a", "b", "c"]
    assert {str(user.downstreams[0].addr) for user in users} == {"a.example:25"}
    with pytest.raises(ConfigError, match=r"users\[0\]\.addr: is not a key here"):
        parse(b"listen: &all [{addr: 'x:1'}]\nusers: *all\n", FILE)
