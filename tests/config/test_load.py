"""A configuration as it is read: in each form, from its file; and what can be used of an invalid one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_router import ConfigError
from smtp_router.config.load import InvalidConfigError, load, parse
from smtp_router.config.settings import Settings
from tests.config.configurations import FILE, VALID, changed, read
from tests.support import config_text, user_config


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
