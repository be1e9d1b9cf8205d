"""Rewrites the envelope's sender, `From` and other header fields, by the downstream that was chosen.

What no rule names stays as it is, octet for octet.
"""

from collections.abc import Mapping

from smtp_router import Downstream, Message, hookimpl
from smtp_router_rewrite import _rules

__all__ = ["Rewrite"]


class Rewrite:
    """Applies the rules of the downstream, or the default ones.

    Args:
        downstreams: a downstream's name → its rules; the default ones do not count for it.
        default: the rules for all other downstreams; none: their messages stay as they are.

    Rules are a mapping of any of `mail_from`, `from` and `headers`; `headers` of any of `remove`, `set`
    and `add`.

    Raises:
        ValueError: an option is not valid; the text names it.
    """

    def __init__(
        self,
        downstreams: Mapping[str, object] | None = None,
        default: Mapping[str, object] | None = None,
    ) -> None:
        if not downstreams and not default:
            raise ValueError("takes rules for downstreams, or default ones, or both")
        given: object = downstreams or {}
        if not isinstance(given, Mapping):
            raise ValueError("downstreams: a mapping of names to rules")
        self._rules = {name: _rules.read(f"downstreams.{name}", rules) for name, rules in given.items()}
        self._default = _rules.read("default", default) if default else None

    @hookimpl
    def before_send(self, message: Message, downstream: Downstream) -> Message | None:
        """Apply the rules that count for this downstream."""
        rules = self._rules.get(downstream.name, self._default)
        return rules.apply(message) if rules else None
