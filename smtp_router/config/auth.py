"""How the router logs in at a downstream. `docs/logins.md` explains it."""

import re
import shlex
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from smtp_router.config.model import Model
from smtp_router.config.secret import Secret
from smtp_router.config.types import NonEmpty, Seconds
from smtp_router.core.address import is_loopback

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
    AfterValidator(_token_url),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https?://"}),
]
Command = Annotated[
    tuple[NonEmpty, ...],
    BeforeValidator(_words),
    Field(min_length=1),
    AfterValidator(_program),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
            ]
        }
    ),
]


def _say_what_goes_together(schema: dict[str, Any]) -> None:
    schema["dependentRequired"] = {
        "token_url": ["client_id", "refresh_token"],
        **{key: ["token_url"] for key in _OF_AN_ENDPOINT},
    }


class Auth(Model):
    """The mechanism of a login, and where its token comes from if it takes one."""

    model_config = ConfigDict(json_schema_extra=_say_what_goes_together)

    type: Literal["plain", "login", "cram-md5", "scram-sha-256", "xoauth2", "oauthbearer"] = Field(
        description="The mechanism. The first four take user and pass, the last two user and a token."
    )
    token_url: TokenUrl | None = Field(
        default=None, description="Where an OAuth 2.0 refresh token is exchanged for an access token."
    )
    client_id: NonEmpty | None = Field(default=None, description="Who the router is there.")
    client_secret: Secret | None = Field(
        default=None, description="Its secret there, if clients of this kind have one."
    )
    refresh_token: Secret | None = Field(default=None, description="What is exchanged.")
    scope: NonEmpty | None = Field(
        default=None, description="What to ask for. Default: what the refresh token was given for."
    )
    token_command: Command | None = Field(
        default=None,
        repr=False,
        description="In place of token_url: a command whose first line of output is an access token.",
    )
    token_lifetime_s: Seconds = Field(
        default=300, description="How long a token is used that does not say so itself."
    )

    @property
    def takes_token(self) -> bool:
        """Whether a token, not a password, is what logs in."""
        return self.type in ("xoauth2", "oauthbearer")

    @property
    def credential(self) -> Hashable:
        """What a token depends on: downstreams that have this in common share one."""
        endpoint = (self.token_url, *(getattr(self, key) for key in _OF_AN_ENDPOINT))
        return (*endpoint, self.token_command, self.token_lifetime_s)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """See that everything is there that the type takes, and nothing else."""
        endpoint = [key for key in _OF_AN_ENDPOINT if getattr(self, key) is not None]
        message = ""
        if not self.takes_token:
            for key in (*endpoint, "token_url", "token_command", "token_lifetime_s"):
                if key in endpoint or key in self.model_fields_set:
                    message = f"{key} is for the types xoauth2 and oauthbearer, not for {self.type}"
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
