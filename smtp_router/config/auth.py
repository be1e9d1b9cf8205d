"""How the router logs in at a downstream. `docs/logins.md` explains it."""

import re
import shlex
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self
from urllib.parse import SplitResult, urlsplit

from smtp_router.config.secret import Secret
from smtp_router.config.types import NonEmpty, Seconds
from smtp_router.config.value import STRICT, As, Value, key
from smtp_router.core.address import is_loopback

if TYPE_CHECKING:
    from pydantic import ValidationInfo

_OF_AN_ENDPOINT = ("client_id", "client_secret", "refresh_token", "scope")
"""Keys that say something only together with `token_url`."""
_URL = re.compile(r"[!-~]+")


def _token_url(value: str) -> str:
    """See that a token and what it is got with cross no network in clear."""
    url = _split(value)
    if url is None:
        message = "must be a URL, as in https://login.example.com/oauth2/token"
        raise ValueError(message)
    if url.username is not None or url.password is not None or "#" in value:
        message = "must have neither a user or password nor a fragment (#…) in it"
        raise ValueError(message)
    if url.scheme != "https" and not (url.scheme == "http" and _is_this_machine(url.hostname or "")):
        message = "must begin with https://; http:// is for loopback addresses only"
        raise ValueError(message)
    return value


def _split(value: str) -> SplitResult | None:
    with suppress(ValueError):  # which would show the text
        url = urlsplit(value)
        if url.hostname and url.port != 0 and _URL.fullmatch(value):
            return url
    return None


def _is_this_machine(host: str) -> bool:
    return host == "localhost" or is_loopback(host)


def _words(value: object) -> object:
    """A line as a shell would split it; no shell runs it."""
    if not isinstance(value, str):
        return value
    try:
        words = shlex.split(value)
    except ValueError:
        message = "has a quotation mark that is not closed"
        raise ValueError(message) from None
    if not words:
        message = "must not be empty"
        raise ValueError(message)
    return words


def _program(words: tuple[str, ...]) -> tuple[str, ...]:
    if any("\0" in word for word in words):
        message = "has a NUL in it"
        raise ValueError(message)
    if "/" in words[0] and not Path(words[0]).is_absolute():
        message = "must begin with a program's whole path, or with a name that PATH has"
        raise ValueError(message)
    return words


TokenUrl = Annotated[
    NonEmpty,
    As(then=_token_url, schema={"type": "string", "format": "uri", "pattern": "^https?://"}),
]
Command = Annotated[
    tuple[NonEmpty, ...],
    As(
        first=_words,
        min_length=1,
        then=_program,
        schema={
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
            ]
        },
    ),
]


def _say_what_goes_together(schema: dict[str, Any]) -> None:
    schema["dependentRequired"] = {
        "token_url": ["client_id", "refresh_token"],
        **{name: ["token_url"] for name in _OF_AN_ENDPOINT},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth(Value):
    """The mechanism of a login, and where its token comes from if it takes one."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {
        **STRICT,
        "json_schema_extra": _say_what_goes_together,
    }

    type: Literal["plain", "login", "cram-md5", "scram-sha-256", "xoauth2", "oauthbearer"] = key(
        "The mechanism. The first four take user and pass, the last two user and a token."
    )
    token_url: TokenUrl | None = key(
        "Where an OAuth 2.0 refresh token is exchanged for an access token.", default=None
    )
    client_id: NonEmpty | None = key("Who the router is there.", default=None)
    client_secret: Secret | None = key(
        "Its secret there, if clients of this kind have one.", default=None
    )
    refresh_token: Secret | None = key("What is exchanged.", default=None)
    scope: NonEmpty | None = key(
        "What to ask for. Default: what the refresh token was given for.", default=None
    )
    token_command: Command | None = key(
        "In place of token_url: a command whose first line of output is an access token.",
        default=None,
        repr=False,
    )
    token_lifetime_s: Seconds = key("How long a token is used that does not say so itself.", default=300)

    @property
    def takes_token(self) -> bool:
        """Whether a token, not a password, is what logs in."""
        return self.type in ("xoauth2", "oauthbearer")

    @property
    def credential(self) -> Hashable:
        """What a token depends on: downstreams that have this in common share one."""
        endpoint = (self.token_url, *(getattr(self, name) for name in _OF_AN_ENDPOINT))
        return (*endpoint, self.token_command, self.token_lifetime_s)

    def checked(self, given: Mapping[str, Any], info: "ValidationInfo[Any]") -> Self:
        """See that everything is there that the type takes, and nothing else."""
        del info
        endpoint = [name for name in _OF_AN_ENDPOINT if getattr(self, name) is not None]
        message = ""
        if not self.takes_token:
            for name in (*endpoint, "token_url", "token_command", "token_lifetime_s"):
                if name in endpoint or name in given:
                    message = f"{name} is for the types xoauth2 and oauthbearer, not for {self.type}"
        elif self.token_url is not None and self.token_command is not None:
            message = "token_url and token_command both say where the token is from: keep one of the two"
        elif self.token_command is not None and endpoint:
            message = f"{endpoint[0]} goes with token_url, not with token_command"
        elif self.token_url is not None:
            missing = {"client_id", "refresh_token"} - set(endpoint)
            message = f"token_url needs {' and '.join(sorted(missing))}, too" if missing else ""
        elif self.token_command is None:
            message = f"type {self.type} needs token_url (and what goes with it) or token_command"
        if message:
            raise ValueError(message)
        return self
