"""What can be configured: names, types, defaults and their meaning. `docs/configuration.md` explains it.

All of it is immutable. Times are in seconds (`_s`), sizes in bytes (`_bytes`).
"""

import socket
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from smtp_router.config.auth import Auth
from smtp_router.config.health import Health
from smtp_router.config.limits import NO_LIMITS, Limits
from smtp_router.config.model import Model
from smtp_router.config.plugin_use import Canary, PluginUse
from smtp_router.config.pool import USUAL_POOL, PoolLimits
from smtp_router.config.presets import Presets
from smtp_router.config.provider_use import ProviderUse, fill_in
from smtp_router.config.replies import ReplyRule
from smtp_router.config.secret import Secret
from smtp_router.config.types import (
    NO_OPTIONS,
    Count,
    HostPort,
    IPAddress,
    ListenAddress,
    Network,
    NextHop,
    NonEmpty,
    Options,
    RatePerTime,
    Seconds,
    UnixPath,
    Workers,
)
from smtp_router.core.address import is_ehlo_name
from smtp_router.core.outcome import OutcomeKind
from smtp_router.core.periods import Kind
from smtp_router.core.replies import Rule
from smtp_router.credentials import kind_of

DEFAULT_PORT = 1025
SMTP_PORT = 25
IMPLICIT_TLS_PORT = 465  # RFC 8314 7.3


def _addr_or_provider(schema: dict[str, Any]) -> None:
    """Let the JSON Schema know that a provider stands for an address."""
    schema["required"].remove("addr")
    schema["anyOf"] = [{"required": ["addr"]}, {"required": ["provider"]}]


class Downstream(Model):
    """A server that mail can be handed to."""

    model_config = ConfigDict(json_schema_extra=_addr_or_provider, validate_default=False)

    provider: ProviderUse | None = Field(
        default=None,
        description="A provider that is known here (sendgrid), or {use: …, region: …}: its address, TLS "
        "and replies count wherever nothing else is said.",
    )
    addr: NextHop = Field(
        description="Where the server is: HOST:PORT, or unix:PATH. Not needed with a provider."
    )
    protocol: Literal["smtp", "lmtp"] = Field(
        default="smtp", description="What it speaks; lmtp: with a reply for each recipient (RFC 2033)."
    )
    source_address: IPAddress | None = Field(
        default=None, description="The address of this machine to connect from. Default: the system's."
    )
    user: NonEmpty | None = Field(default=None, description="Login name at the server.")
    password: Secret | None = Field(default=None, alias="pass", description="Password at the server.")
    auth: Auth | None = Field(
        default=None,
        description="How to log in. Default: by user and pass, with the best mechanism that is offered.",
    )
    name: str = Field(
        default="",
        description="For logs and algorithms; unique per user. Default: addr, or the provider.",
    )
    options: Options = Field(
        default_factory=lambda: NO_OPTIONS,
        repr=False,
        description="For the algorithm, as in {weight: 3}.",
    )
    tls: Literal["auto", "none", "starttls", "implicit"] = Field(
        default="auto",
        description="auto: implicit TLS on port 465, else STARTTLS whenever offered, and required "
        "before credentials go to an address that is not loopback.",
    )
    tls_verify: bool = Field(default=True, description="Whether the certificate is verified.")
    tls_ca: Path | None = Field(
        default=None, description="A file of CA certificates to trust instead of the system's."
    )
    tls_client_cert: Path | None = Field(
        default=None,
        description="The router's own certificate and its chain (PEM), for servers that ask for one; "
        "taken up anew when it changes.",
    )
    tls_client_key: Path | None = Field(
        default=None, description="Its private key (PEM). Default: in tls_client_cert."
    )
    limits: Limits = Field(default_factory=lambda: NO_LIMITS, description="How much it gets.")
    replies: tuple[ReplyRule, ...] = Field(
        default=(), description="What its replies mean, in order; the provider's rules come after them."
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """What its replies mean: own rules, then the provider's. Those that have some have them in place of
    this; a private attribute would be another dict in each of tens of thousands."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - not checked yet
        """What the provider's file says, wherever nothing else is said."""
        if not isinstance(given, dict) or given.get("provider") is None:
            return given
        return fill_in(given, info)

    @model_validator(mode="after")
    def _compile(self, info: ValidationInfo) -> Self:
        """Own rules come before the provider's: the first that fits counts."""
        own = (rule.compiled(f"replies[{position}]") for position, rule in enumerate(self.replies))
        known = Presets.of(info).get(self.provider.use).rules if self.provider else ()
        if rules := (*own, *known):
            vars(self)["rules"] = rules
        return self

    pool: PoolLimits = Field(
        default_factory=lambda: USUAL_POOL, description="How connections are kept and used again."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Name it, and see that what belongs together is there together."""
        message = self._addr_problem() or self._login_problem() or self._certificate_problem()
        if message:
            raise ValueError(message)
        if not self.name:
            object.__setattr__(self, "name", str(self.addr))
        return self

    def _addr_problem(self) -> str:
        if isinstance(self.addr, UnixPath):
            if self.tls not in ("auto", "none"):
                return f"tls is {self.tls}, and a Unix socket needs none: take it out"
            return "source_address is for TCP: take it out" if self.source_address else ""
        if self.addr.port == 0:
            return "addr: port 0 is no port to send to"
        if self.addr.port == SMTP_PORT and self.protocol == "lmtp":
            return "protocol: port 25 is for smtp, never for lmtp (RFC 2033 5)"
        return ""

    def _login_problem(self) -> str:
        if self.auth is not None and self.user is None:
            return f"auth of the type {self.auth.type} needs a user: add it"
        if self.auth is None or not self.auth.takes_token:
            one_is_missing = (self.user is None) != (self.password is None)
            return "user and pass go together: add the one that is missing" if one_is_missing else ""
        if self.password is not None:
            return f"pass is not for auth of the type {self.auth.type}: take one of the two out"
        if self.user is not None and not self.user.isprintable():
            return "user: has a control character, which cannot be said in such a login"
        return ""

    def _certificate_problem(self) -> str:
        if self.tls_client_cert is None:
            is_alone = self.tls_client_key is not None
            return "tls_client_key without tls_client_cert: add the certificate" if is_alone else ""
        return "tls_client_cert needs TLS, and tls is none" if self.tls == "none" else ""

    @property
    def implicit_tls(self) -> bool:
        """Whether TLS comes before the first word of SMTP."""
        if isinstance(self.addr, UnixPath):
            return False
        return self.tls == "implicit" or (self.tls == "auto" and self.addr.port == IMPLICIT_TLS_PORT)


def _offer_aliases(schema: dict[str, Any]) -> None:
    """Let the JSON Schema know the other spelling of `algorithm`."""
    schema["properties"]["selector_algo_path"] = {
        "type": "string",
        "description": "Another spelling of algorithm.",
    }
    schema["required"].remove("algorithm")
    schema["oneOf"] = [{"required": ["algorithm"]}, {"required": ["selector_algo_path"]}]


class User(Model):
    """Somebody who may send, and where that mail goes."""

    model_config = ConfigDict(json_schema_extra=_offer_aliases, validate_default=False)

    email: NonEmpty = Field(description="The login name; unique.")
    password: Secret = Field(
        description="An argon2 hash or SCRAM verifier (smtp-router hash-password makes them), or the "
        "password as it is."
    )
    algorithm: PluginUse = Field(
        description="The plugin that chooses a downstream: an entry point's name, a path, or "
        "{use: …, options: {…}}. selector_algo_path is another spelling of this key."
    )
    plugins: tuple[PluginUse, ...] = Field(
        default=(), description="More plugins, called in this order, before the algorithm."
    )
    shadow: PluginUse | None = Field(
        default=None,
        description="A candidate for algorithm: asked along with it, sends nothing; where the two "
        "differ is logged and counted.",
    )
    canary: Canary | None = Field(
        default=None, description="A candidate for algorithm that chooses for a share of the messages."
    )
    downstreams: tuple[Downstream, ...] = Field(
        min_length=1, description="The servers that the algorithm chooses from, in order."
    )
    networks: tuple[Network, ...] = Field(
        default=(), description="Clients from there are this user without AUTH; the longest prefix wins."
    )
    senders: tuple[NonEmpty, ...] = Field(
        default=(),
        description="Patterns of what may stand in MAIL FROM, as in '*@example.com'. Default: all.",
    )
    max_connections: Count | None = Field(
        default=None, description="Sessions at the same time. Default: no limit of its own."
    )
    rate: RatePerTime | None = Field(
        default=None, description="Messages per time, as in 100/min. Default: no limit."
    )
    failover_on: frozenset[Literal["deferred", "rejected", "in_doubt"]] = Field(
        default=frozenset({"deferred"}),
        description="After which outcomes another downstream is tried.",
    )
    in_doubt: Literal["defer", "accept", "failover"] = Field(
        default="defer",
        description="What follows when a downstream did not answer the final dot. defer: 451, and the "
        "client tries again; accept: 250, as if it had been taken; failover: the next downstream is "
        "tried, the same as in_doubt in failover_on.",
    )

    @field_validator("password")
    @classmethod
    def _is_known_form(cls, value: Secret) -> Secret:
        """A hash that is not known is not what a client sends: taken literally, it lets nobody in."""
        kind_of(value.reveal())
        return value

    @model_validator(mode="after")
    def _is_of_one_mind(self) -> Self:
        """See that `in_doubt` and `failover_on` say the same."""
        says_otherwise = "in_doubt" in self.model_fields_set and self.in_doubt != "failover"
        if says_otherwise and "in_doubt" in self.failover_on:
            message = f"in_doubt: {self.in_doubt} contradicts in_doubt in failover_on: remove one"
            raise ValueError(message)
        return self

    @cached_property
    def outcomes_that_fail_over(self) -> frozenset[OutcomeKind]:
        """`failover_on` in the router's own words, with what `in_doubt` says."""
        kinds = frozenset(map(OutcomeKind, self.failover_on))
        return kinds | {OutcomeKind.IN_DOUBT} if self.in_doubt == "failover" else kinds


class Listener(Model):
    """An address that clients connect to."""

    addr: ListenAddress = Field(
        description="HOST:PORT to listen on (port 0 picks a free one), unix:PATH, or systemd:NAME for a "
        "socket that systemd passes (systemd alone: the first)."
    )
    tls: Literal["none", "starttls", "implicit"] = Field(
        default="none", description="starttls: offered; implicit: from the first byte (RFC 8314)."
    )
    tls_cert: Path | None = Field(
        default=None, description="The certificate and its chain (PEM); taken up anew when it changes."
    )
    tls_key: Path | None = Field(
        default=None, description="Its private key (PEM). Default: in tls_cert."
    )
    proxy_protocol: tuple[Network, ...] = Field(
        default=(),
        description="Proxies that begin every connection with a PROXY header, v1 or v2; the client's "
        "address is taken from it, and from nobody else's.",
    )
    require_tls: bool = Field(
        default=False, description="With starttls: refuse logins and mail in clear text."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """See that TLS and its certificate come together."""
        if (self.tls == "none") != (self.tls_cert is None):
            message = "tls and tls_cert go together: add the one that is missing"
            raise ValueError(message)
        if self.tls_cert is None and self.tls_key is not None:
            message = "tls_key without tls_cert: add the certificate"
            raise ValueError(message)
        if self.require_tls and self.tls == "none":
            message = "require_tls needs tls: starttls or tls: implicit"
            raise ValueError(message)
        return self


class Timeouts(Model):
    """How long each stage at a downstream may take (RFC 5321 4.5.3.2), within the deadline."""

    connect_s: Seconds = Field(default=30, description="The TCP connection.")
    banner_s: Seconds = Field(default=300, description="The initial 220 message.")
    tls_s: Seconds = Field(default=30, description="STARTTLS and the TLS handshake.")
    ehlo_s: Seconds = Field(default=300, description="The reply to EHLO.")
    auth_s: Seconds = Field(default=60, description="The login.")
    mail_s: Seconds = Field(default=300, description="The reply to MAIL.")
    rcpt_s: Seconds = Field(default=300, description="The reply to each RCPT.")
    data_s: Seconds = Field(default=120, description="The 354 reply to DATA.")
    final_s: Seconds = Field(default=600, description="The reply to the final dot.")


def _local_hostname() -> str:
    """This host's name, if it can be said in SMTP; no look-up, which could take seconds."""
    name = socket.gethostname()
    return name if is_ehlo_name(name.encode(errors="replace")) else "localhost"


class Settings(Model):
    """The whole configuration file."""

    listen: tuple[Listener, ...] = Field(
        default=(Listener(addr=HostPort(host="127.0.0.1", port=DEFAULT_PORT)),),
        min_length=1,
        description="Where clients connect. Default: 127.0.0.1:1025.",
    )
    users: tuple[User, ...] = Field(min_length=1, description="Who may send.")
    hostname: str = Field(
        default_factory=_local_hostname,
        description="The router's own name in its banner, EHLO and Received. Default: this host's.",
    )
    allow_plaintext_auth: bool = Field(
        default=False,
        description="Offer AUTH without TLS to clients that are not on this machine, too.",
    )
    allow_writable_plugins: bool = Field(
        default=False, description="Load plugin files that other users may write, too."
    )
    workers: Workers = Field(
        default=1,
        description="Processes that take mail; auto: one for each core. They share limits, quotas and "
        "what is known of downstreams; a plugin's state is each one's own.",
    )
    deadline_s: Seconds = Field(
        default=120, description="How long a client waits at most for the reply to its message."
    )
    hook_timeout_s: Seconds = Field(
        default=5, description="How long one call of an async hook may take."
    )
    drain_s: Seconds = Field(
        default=30, description="How long running transactions may take when the router stops."
    )
    idle_s: Seconds = Field(
        default=300, description="How long a client may be silent (RFC 5321 4.5.3.2.7)."
    )
    max_message_bytes: Count = Field(
        default=50 * 1024 * 1024, description="The biggest message taken, in bytes."
    )
    max_recipients: Count = Field(default=1000, description="Recipients per message.")
    max_connections: Count = Field(
        default=5000,
        description="Clients at the same time; fewer if the process may not open enough files.",
    )
    max_connections_per_address: Count = Field(
        default=2500, description="Of these from one address, and never more than nine tenths."
    )
    auth_failures: Count = Field(
        default=5, description="Failed logins from one address before answers are delayed."
    )
    auth_window_s: Seconds = Field(
        default=600, description="How long a failed login counts against its address."
    )
    max_transactions: Count = Field(default=1000, description="Messages per session.")
    max_memory_bytes: Count = Field(
        default=1024 * 1024 * 1024, description="Content of messages under way, in all, in bytes."
    )
    min_upload_bytes_per_s: Count = Field(
        default=256, description="How fast content has to come, on average."
    )
    bare_newlines: Literal["reject", "accept"] = Field(
        default="reject",
        description="What to do with content that has a bare CR, a bare LF or a NUL: a laxer next hop "
        "could see a second message in it.",
    )
    timeouts: Timeouts = Field(
        default_factory=Timeouts, description="Time limits for each stage at a downstream."
    )
    in_doubt_s: Seconds = Field(
        default=3600,
        description="How long a message that is in doubt, or of whose delivery its client did not hear, "
        "is recognized when it comes again.",
    )
    duplicate_damping: bool = Field(
        default=True,
        description="Answer 250 without a second delivery when the same message comes again whose "
        "delivery the client could not be told of.",
    )
    state: Path = Field(
        default=Path("smtp-router.db"),
        description="The file that outlives a restart, for limits per day and per month and for what is "
        "in doubt.",
    )
    control: Path | None = Field(
        default=Path("smtp-router.sock"),
        description="The Unix socket on which smtp-router trace, status and explain ask the router "
        "while it runs; only its own user may. null: there is none.",
    )
    health: Health = Field(default_factory=Health, description="When a downstream is rested.")

    @cached_property
    def quotas(self) -> Mapping[str, Mapping[Kind, int]]:
        """What there is by the calendar, by the name under which it is counted."""
        found: dict[str, dict[Kind, int]] = {}
        for user in self.users:
            for downstream in user.downstreams:
                limits = downstream.limits
                if limits.quotas:
                    found.setdefault(limits.name(user.email, downstream.name), {}).update(limits.quotas)
        return found

    @field_validator("hostname")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if not is_ehlo_name(value.encode()):
            message = "must be a host name, as in mail.example.com"
            raise ValueError(message)
        return value

    @field_validator("max_memory_bytes")
    @classmethod
    def _has_room(cls, value: int, info: ValidationInfo) -> int:
        """See that the biggest message fits: a client with one that does not would try for days."""
        if value < info.data.get("max_message_bytes", 0):
            message = "must not be less than max_message_bytes"
            raise ValueError(message)
        return value
