import copy
import json
import pickle

import pytest
from pydantic import TypeAdapter, ValidationError

from smtp_router.config.secret import Secret

TEXT = "hunter2"


@pytest.mark.parametrize(
    "shown",
    [
        str(Secret(TEXT)),
        repr(Secret(TEXT)),
        f"{Secret(TEXT)}",
        f"{Secret(TEXT)!s:>3}",
        "%s" % Secret(TEXT),  # noqa: UP031 - one of the ways
        repr([Secret(TEXT)]).strip("[]"),
    ],
)
def test_a_secret_prints_as_stars(shown: str) -> None:
    assert shown == "***"


def test_its_length_does_not_show() -> None:
    assert str(Secret("a")) == str(Secret("a" * 50))


def test_only_reveal_gives_its_text() -> None:
    secret = Secret(TEXT)
    assert secret.reveal() == TEXT
    assert not hasattr(secret, "__dict__")
    with pytest.raises(TypeError):
        json.dumps(secret)


@pytest.mark.parametrize("travel", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_does_not_travel(travel: object) -> None:
    assert callable(travel)
    with pytest.raises(TypeError, match=r"^a secret cannot be pickled$"):
        travel(Secret(TEXT))


def test_secrets_compare_by_text() -> None:
    secret = Secret(TEXT)
    assert secret == Secret(TEXT)
    assert hash(secret) == hash(Secret(TEXT))
    assert secret != Secret("other")
    assert secret != TEXT


@pytest.mark.parametrize("value", ["", 5, None, b"bytes", ["x"]])
def test_a_secret_is_made_of_text(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Secret).validate_python(value)
