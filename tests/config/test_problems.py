"""Every way a configuration can be wrong, with the very words that say so."""

import pytest

from tests.config.configurations import changed, problems, read
from tests.support import config_text, user_config

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
