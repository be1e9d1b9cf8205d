"""What can be configured: names, types, defaults and their meaning. `docs/configuration.md` explains it.

All of it is immutable. Times are in seconds (`_s`), sizes in bytes (`_bytes`).
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from smtp_router.config.auth import Auth
from smtp_router.config.health import Health
from smtp_router.config.limits import NO_LIMITS, Limits
from smtp_router.config.plugin_use import Canary, PluginUse
from smtp_router.config.pool import USUAL_POOL, PoolLimits
from smtp_router.config.provider_use import ProviderUse
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
from smtp_router.config.value import STRICT, As, Value, key
from smtp_router.core.address import is_ehlo_name
from smtp_router.core.outcome import OutcomeKind
from smtp_router.core.periods import Kind
from smtp_router.core.replies import Rule
from smtp_router.credentials import kind_of

if TYPE_CHECKING:
    from pydantic import ValidationInfo

DEFAULT_PORT = 1025
SMTP_PORT = 25
IMPLICIT_TLS_PORT = 465  # RFC 8314 7.3


def _addr_or_provider(schema: dict[str, Any]) -> None:
    """Let the JSON Schema know that a provider stands for an address."""
    schema["required"].remove("addr")
    schema["anyOf"] = [{"required": ["addr"]}, {"required": ["provider"]}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Downstream(Value):
    """A server that mail can be handed to."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {
        **STRICT,
        "validate_default": False,
        "json_schema_extra": _addr_or_provider,
    }

    provider: ProviderUse | None = key(
        "A provider that is known here (sendgrid), or {use: …, region: …}: its address, TLS "
        "and replies count wherever nothing else is said.",
        default=None,
    )
    addr: NextHop = key("Where the server is: HOST:PORT, or unix:PATH. Not needed with a provider.")
    protocol: Literal["smtp", "lmtp"] = key(
        "What it speaks; lmtp: with a reply for each recipient (RFC 2033).", default="smtp"
    )
    source_address: IPAddress | None = key(
        "The address of this machine to connect from. Default: the system's.", default=None
    )
    user: NonEmpty | None = key("Login name at the server.", default=None)
    password: Secret | None = key("Password at the server.", default=None, spelled="pass")
    auth: Auth | None = key(
        "How to log in. Default: by user and pass, with the best mechanism that is offered.",
        default=None,
    )
    name: str = key(
        "For logs and algorithms; unique per user. Default: addr, or the provider.", default=""
    )
    options: Options = key(
        "For the algorithm, as in {weight: 3}.", default_factory=lambda: NO_OPTIONS, repr=False
    )
    tls: Literal["auto", "none", "starttls", "implicit"] = key(
        "auto: implicit TLS on port 465, else STARTTLS whenever offered, and required "
        "before credentials go to an address that is not loopback.",
        default="auto",
    )
    tls_verify: bool = key("Whether the certificate is verified.", default=True)
    tls_ca: Path | None = key(
        "A file of CA certificates to trust instead of the system's.", default=None
    )
    tls_client_cert: Path | None = key(
        "The router's own certificate and its chain (PEM), for servers that ask for one; "
        "taken up anew when it changes.",
        default=None,
    )
    tls_client_key: Path | None = key(
        "Its private key (PEM). Default: in tls_client_cert.", default=None
    )
    limits: Limits = key("How much it gets.", default_factory=lambda: NO_LIMITS)
    replies: tuple[ReplyRule, ...] = key(
        "What its replies mean, in order; the provider's rules come after them.", default=()
    )

    pool: PoolLimits = key(
        "How connections are kept and used again.", default_factory=lambda: USUAL_POOL
    )
    rules: tuple[Rule, ...] = field(init=False, repr=False, compare=False)
    """What its replies mean: own rules, then the provider's. No key, as it has no default."""

    def __post_init__(self) -> None:
        """Own rules come before the provider's: the first that fits counts."""
        own = (rule.compiled(f"replies[{position}]") for position, rule in enumerate(self.replies))
        object.__setattr__(self, "rules", tuple(own))

    @classmethod
    def completed(cls, given: Any, info: "ValidationInfo[Any]") -> Any:  # noqa: ANN401 - not checked yet
        """What the provider's file says, wherever nothing else is said."""
        if not isinstance(given, dict) or given.get("provider") is None:
            return given
        return info.context.fill_in(given)

    def checked(self, given: Mapping[str, Any], info: "ValidationInfo[Any]") -> Self:
        """Name it, and see that what belongs together is there together."""
        del given
        if self.provider:
            object.__setattr__(self, "rules", (*self.rules, *info.context.rules(self.provider)))
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


DOWNSTREAM_KEYS = frozenset(each.name for each in fields(Downstream) if each.init)
"""What can be said of a downstream."""


def _offer_aliases(schema: dict[str, Any]) -> None:
    """Let the JSON Schema know the other spelling of `algorithm`."""
    schema["properties"]["selector_algo_path"] = {
        "type": "string",
        "description": "Another spelling of algorithm.",
    }
    schema["required"].remove("algorithm")
    schema["oneOf"] = [{"required": ["algorithm"]}, {"required": ["selector_algo_path"]}]


def _of_a_known_form(value: Secret) -> Secret:
    """A hash that is not known is not what a client sends: taken literally, it lets nobody in."""
    kind_of(value.reveal())
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Value):
    """Somebody who may send, and where that mail goes."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {
        **STRICT,
        "validate_default": False,
        "json_schema_extra": _offer_aliases,
    }

    email: NonEmpty = key("The login name; unique.")
    password: Annotated[Secret, As(then=_of_a_known_form)] = key(
        "An argon2 hash or SCRAM verifier (smtp-router hash-password makes them), or the "
        "password as it is."
    )
    algorithm: PluginUse = key(
        "The plugin that chooses a downstream: an entry point's name, a path, or "
        "{use: …, options: {…}}. selector_algo_path is another spelling of this key."
    )
    plugins: tuple[PluginUse, ...] = key(
        "More plugins, called in this order, before the algorithm.", default=()
    )
    shadow: PluginUse | None = key(
        "A candidate for algorithm: asked along with it, sends nothing; where the two "
        "differ is logged and counted.",
        default=None,
    )
    canary: Canary | None = key(
        "A candidate for algorithm that chooses for a share of the messages.", default=None
    )
    downstreams: Annotated[tuple[Downstream, ...], As(min_length=1)] = key(
        "The servers that the algorithm chooses from, in order."
    )
    networks: tuple[Network, ...] = key(
        "Clients from there are this user without AUTH; the longest prefix wins.", default=()
    )
    senders: tuple[NonEmpty, ...] = key(
        "Patterns of what may stand in MAIL FROM, as in '*@example.com'. Default: all.", default=()
    )
    max_connections: Count | None = key(
        "Sessions at the same time. Default: no limit of its own.", default=None
    )
    rate: RatePerTime | None = key("Messages per time, as in 100/min. Default: no limit.", default=None)
    failover_on: frozenset[Literal["deferred", "rejected", "in_doubt"]] = key(
        "After which outcomes another downstream is tried.", default=frozenset({"deferred"})
    )
    in_doubt: Literal["defer", "accept", "failover"] = key(
        "What follows when a downstream did not answer the final dot. defer: 451, and the "
        "client tries again; accept: 250, as if it had been taken; failover: the next downstream is "
        "tried, the same as in_doubt in failover_on.",
        default="defer",
    )

    def checked(self, given: Mapping[str, Any], info: "ValidationInfo[Any]") -> Self:
        """See that `in_doubt` and `failover_on` say the same."""
        del info
        says_otherwise = "in_doubt" in given and self.in_doubt != "failover"
        if says_otherwise and "in_doubt" in self.failover_on:
            message = f"in_doubt: {self.in_doubt} contradicts in_doubt in failover_on: remove one"
            raise ValueError(message)
        return self

    @property
    def outcomes_that_fail_over(self) -> frozenset[OutcomeKind]:
        """`failover_on` in the router's own words, with what `in_doubt` says."""
        kinds = frozenset(map(OutcomeKind, self.failover_on))
        return kinds | {OutcomeKind.IN_DOUBT} if self.in_doubt == "failover" else kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener(Value):
    """An address that clients connect to."""

    addr: ListenAddress = key(
        "HOST:PORT to listen on (port 0 picks a free one), unix:PATH, or systemd:NAME for a "
        "socket that systemd passes (systemd alone: the first)."
    )
    tls: Literal["none", "starttls", "implicit"] = key(
        "starttls: offered; implicit: from the first byte (RFC 8314).", default="none"
    )
    tls_cert: Path | None = key(
        "The certificate and its chain (PEM); taken up anew when it changes.", default=None
    )
    tls_key: Path | None = key("Its private key (PEM). Default: in tls_cert.", default=None)
    proxy_protocol: tuple[Network, ...] = key(
        "Proxies that begin every connection with a PROXY header, v1 or v2; the client's "
        "address is taken from it, and from nobody else's.",
        default=(),
    )
    require_tls: bool = key("With starttls: refuse logins and mail in clear text.", default=False)

    def checked(self, given: Mapping[str, Any], info: "ValidationInfo[Any]") -> Self:
        """See that TLS and its certificate come together."""
        del given, info
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts(Value):
    """How long each stage at a downstream may take (RFC 5321 4.5.3.2), within the deadline."""

    connect_s: Seconds = key("The TCP connection.", default=30)
    banner_s: Seconds = key("The initial 220 message.", default=300)
    tls_s: Seconds = key("STARTTLS and the TLS handshake.", default=30)
    ehlo_s: Seconds = key("The reply to EHLO.", default=300)
    auth_s: Seconds = key("The login.", default=60)
    mail_s: Seconds = key("The reply to MAIL.", default=300)
    rcpt_s: Seconds = key("The reply to each RCPT.", default=300)
    data_s: Seconds = key("The 354 reply to DATA.", default=120)
    final_s: Seconds = key("The reply to the final dot.", default=600)


def _local_hostname() -> str:
    """This host's name, if it can be said in SMTP; no look-up, which could take seconds."""
    name = socket.gethostname()
    return name if is_ehlo_name(name.encode(errors="replace")) else "localhost"


def _host_name(value: str) -> str:
    if not is_ehlo_name(value.encode()):
        message = "must be a host name, as in mail.example.com"
        raise ValueError(message)
    return value


def _has_room(value: int, above: Mapping[str, Any]) -> int:
    """See that the biggest message fits: a client with one that does not would try for days."""
    if value < above.get("max_message_bytes", 0):
        message = "must not be less than max_message_bytes"
        raise ValueError(message)
    return value


def _show_default(schema: dict[str, Any]) -> None:
    """Let the JSON Schema say where it listens without a word, as a configuration does."""
    schema["properties"]["listen"]["default"] = [{"addr": f"127.0.0.1:{DEFAULT_PORT}"}]


@dataclass(frozen=True, kw_only=True)
class Settings(Value):
    """The whole configuration file."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {
        **STRICT,
        "json_schema_extra": _show_default,
    }

    listen: Annotated[tuple[Listener, ...], As(min_length=1)] = key(
        "Where clients connect. Default: 127.0.0.1:1025.",
        default=(Listener(addr=HostPort(host="127.0.0.1", port=DEFAULT_PORT)),),
    )
    users: Annotated[tuple[User, ...], As(min_length=1)] = key("Who may send.")
    hostname: Annotated[str, As(then=_host_name)] = key(
        "The router's own name in its banner, EHLO and Received. Default: this host's.",
        default_factory=_local_hostname,
    )
    allow_plaintext_auth: bool = key(
        "Offer AUTH without TLS to clients that are not on this machine, too.", default=False
    )
    allow_writable_plugins: bool = key(
        "Load plugin files that other users may write, too.", default=False
    )
    workers: Workers = key(
        "Processes that take mail; auto: one for each core. They share limits, quotas and "
        "what is known of downstreams; a plugin's state is each one's own.",
        default=1,
    )
    deadline_s: Seconds = key(
        "How long a client waits at most for the reply to its message.", default=120
    )
    hook_timeout_s: Seconds = key("How long one call of an async hook may take.", default=5)
    drain_s: Seconds = key("How long running transactions may take when the router stops.", default=30)
    idle_s: Seconds = key("How long a client may be silent (RFC 5321 4.5.3.2.7).", default=300)
    max_message_bytes: Count = key("The biggest message taken, in bytes.", default=50 * 1024 * 1024)
    max_recipients: Count = key("Recipients per message.", default=1000)
    max_connections: Count = key(
        "Clients at the same time; fewer if the process may not open enough files.", default=5000
    )
    max_connections_per_address: Count = key(
        "Of these from one address, and never more than nine tenths.", default=2500
    )
    auth_failures: Count = key("Failed logins from one address before answers are delayed.", default=5)
    auth_window_s: Seconds = key("How long a failed login counts against its address.", default=600)
    max_transactions: Count = key("Messages per session.", default=1000)
    max_memory_bytes: Annotated[Count, As(beside=_has_room)] = key(
        "Content of messages under way, in all, in bytes.", default=1024 * 1024 * 1024
    )
    min_upload_bytes_per_s: Count = key("How fast content has to come, on average.", default=256)
    bare_newlines: Literal["reject", "accept"] = key(
        "What to do with content that has a bare CR, a bare LF or a NUL: a laxer next hop "
        "could see a second message in it.",
        default="reject",
    )
    timeouts: Timeouts = key("Time limits for each stage at a downstream.", default_factory=Timeouts)
    in_doubt_s: Seconds = key(
        "How long a message that is in doubt, or of whose delivery its client did not hear, "
        "is recognized when it comes again.",
        default=3600,
    )
    duplicate_damping: bool = key(
        "Answer 250 without a second delivery when the same message comes again whose "
        "delivery the client could not be told of.",
        default=True,
    )
    state: Path = key(
        "The file that outlives a restart, for limits per day and per month and for what is in doubt.",
        default=Path("smtp-router.db"),
    )
    control: Path | None = key(
        "The Unix socket on which smtp-router trace, status and explain ask the router "
        "while it runs; only its own user may. null: there is none.",
        default=Path("smtp-router.sock"),
    )
    health: Health = key("When a downstream is rested.", default_factory=Health)

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
