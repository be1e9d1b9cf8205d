"""Mail for the domains in `routes` goes to the downstream that each one names; all else, to the first.

    algorithm:
      use: ./algorithms/by_recipient_domain.py
      options: {routes: {example.org: inhouse, example.net: inhouse}}

A message goes to one downstream as a whole, so one for several domains follows them only if they agree.
"""

from collections.abc import Mapping, Sequence

from smtp_router import Downstream, Message, hookimpl


class ByRecipientDomain:
    """Knows a downstream's name for some domains."""

    def __init__(self, routes: Mapping[str, str]) -> None:
        self.routes = {domain.lower(): name for domain, name in routes.items()}

    @hookimpl
    def select_downstream(self, message: Message, downstreams: Sequence[Downstream]) -> Downstream:
        """The one that all recipients' domains name; the first, if there is none or it was tried."""
        wanted = {self.routes.get(address.rpartition("@")[2].lower()) for address in message.rcpt_tos}
        fitting = [downstream for downstream in downstreams if {downstream.name} == wanted]
        return (fitting or downstreams)[0]
