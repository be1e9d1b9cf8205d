"""What rules ask of a message, each worked out once, when the first rule asks."""

from functools import cached_property

from smtp_router import Message
from smtp_router_rules import _domains


class Facts:
    """One message, as rules see it."""

    def __init__(self, message: Message) -> None:
        """Nothing is worked out yet."""
        self.message: Message = message

    @cached_property
    def sender(self) -> tuple[str, ...]:
        """The sender's address; empty text for the null sender."""
        return (str(_domains.parse(self.message.mail_from)),)

    @cached_property
    def sender_domain(self) -> tuple[str, ...]:
        """The sender's domain; none for the null sender."""
        domain = _domains.parse(self.message.mail_from).domain
        return (domain,) if domain else ()

    @cached_property
    def sender_site(self) -> tuple[str, ...]:
        """What the sender's domain is registered as."""
        return tuple(map(_domains.site, self.sender_domain))

    @cached_property
    def recipient(self) -> tuple[str, ...]:
        """The recipients' addresses."""
        return tuple(map(str, self._recipients))

    @cached_property
    def recipient_domain(self) -> tuple[str, ...]:
        """The recipients' domains."""
        return tuple(address.domain for address in self._recipients)

    @cached_property
    def recipient_site(self) -> tuple[str, ...]:
        """What the recipients' domains are registered as."""
        return tuple(map(_domains.site, self.recipient_domain))

    @cached_property
    def user(self) -> tuple[str, ...]:
        """The login name."""
        return (self.message.user,)

    @cached_property
    def _recipients(self) -> tuple[_domains.Address, ...]:
        return tuple(map(_domains.parse, self.message.rcpt_tos))
