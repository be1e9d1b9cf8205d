"""Every exception of the project that crosses a module's border.

    SmtpRouterError
    ├── ConfigError      the configuration cannot be used      → exit 2, or the old epoch stays
    ├── PluginError      a plugin misbehaved                   → 451 4.3.0, logged with its name
    └── Refusal          a hook's decision, not a fault
        ├── Defer        "not now"                             → its own 4yz reply
        └── Reject       "never"                               → its own 5yz reply

A failure in transport is no exception but a value: see `outcome.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from smtp_router.core.reply import Reply


class SmtpRouterError(Exception):
    """The root of the tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a configuration, and what to do about it.

    Args:
        message: what is wrong and what to do, one line, no secret in it.
        file: the configuration file, `""` when there is none.
        line: its line, counted from 1; 0 when unknown.
        key: the key path, as in `users[0].downstreams[1].addr`; `""` for the whole file.
    """

    message: str
    file: str = ""
    line: int = 0
    key: str = ""

    def __str__(self) -> str:
        """`file:line: key: message`, leaving out what is unknown."""
        where = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return ": ".join(part for part in (where, self.key, self.message) if part)


class ConfigError(SmtpRouterError):
    """A configuration that cannot be used; carries every problem found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Keep the problems; the text of the error has one line for each."""
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class PluginError(SmtpRouterError):
    """A plugin that cannot be loaded, or that failed while it was called."""

    def __init__(
        self, plugin: str, message: str, *, file: str = "", line: int = 0, key: str = ""
    ) -> None:
        """Name the plugin, and say what it did.

        Args:
            plugin: its name, as the configuration spells it.
            message: what it did, or what is wrong with it.
            file: the plugin's own file, where it is known.
            line: the line in that file; 0 when unknown.
            key: the key below the plugin's own in the configuration, as in `options.weight`.
        """
        self.plugin = plugin
        self.message: str = " ".join(message.split())  # one line, whatever an exception's text is like
        self.file = file
        self.line = line
        self.key = key
        where = f" ({file}:{line})" if file and line else ""
        super().__init__(f"{plugin}: {self.message}{where}")


class Refusal(SmtpRouterError):  # noqa: N818 - a decision, not an error
    """What `Defer` and `Reject` have in common: the reply that the client gets."""

    _kind = ""
    _class = 0

    def __init__(self, text: str, *, code: int, enhanced: str) -> None:
        """Check that code and enhanced code say the same as the class does.

        Raises:
            ValueError: they do not, or are malformed.
        """
        if code // 100 != self._class or not enhanced.startswith(f"{self._class}."):
            message = f"{self._kind} answers {self._class}yz, not {code} {enhanced}"
            raise ValueError(message)
        self.reply: Reply = Reply(code=code, enhanced=enhanced, text=text)
        super().__init__(str(self.reply))


class Defer(Refusal):
    """Raised by a hook: answer the client with a transient 4yz reply; it will try again.

    Args:
        text: for the client; made printable ASCII and at most 400 octets.
        code: a 4yz code.
        enhanced: the enhanced status code, `4.x.y`.

    Source: RFC 5321 4.2.1, RFC 3463.
    """

    _kind = "Defer"
    _class = 4

    def __init__(
        self, text: str = "Try again later", *, code: int = 451, enhanced: str = "4.7.0"
    ) -> None:
        """See the class."""
        super().__init__(text, code=code, enhanced=enhanced)


class Reject(Refusal):
    """Raised by a hook: refuse the message for good with a permanent 5yz reply.

    Args:
        text: for the client; made printable ASCII and at most 400 octets.
        code: a 5yz code.
        enhanced: the enhanced status code, `5.x.y`.

    Source: RFC 5321 4.2.1, RFC 3463.
    """

    _kind = "Reject"
    _class = 5

    def __init__(
        self, text: str = "Message refused", *, code: int = 550, enhanced: str = "5.7.1"
    ) -> None:
        """See the class."""
        super().__init__(text, code=code, enhanced=enhanced)
