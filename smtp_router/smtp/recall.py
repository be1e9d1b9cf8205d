"""What clients say again and again, read once.

An application gives the same name with each EHLO, and has few senders. To find such a line again takes a
tenth of what it takes to read it, by a regular expression.
"""

from typing import TypeVar

from smtp_router.core.message import NO_PARAMETERS, Parameters
from smtp_router.smtp.commands import plain_ehlo, plain_mail, plain_mail_parameters

MOST = 64
"""Lines of a kind that are known at a time; who says more different ones has each of them read."""

Meaning = TypeVar("Meaning")


class Recall:
    """What the last plain EHLO and MAIL have said, by the octets that they were."""

    __slots__ = ("mails", "names")

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.names: dict[bytes, str] = {}
        """Lines with EHLO, and the names they give."""
        self.mails: dict[bytes, tuple[str, Parameters]] = {}
        """Lines with MAIL that have no parameters, and what `plain_mail` says of them."""

    def name(self, command: bytes) -> str | None:
        """The name that a plain EHLO gives; from now on it is in `names`."""
        name = plain_ehlo(command)
        return None if name is None else _keep(self.names, command, name.decode("ascii"))

    def mail(self, command: bytes) -> tuple[str, Parameters] | None:
        """The same as `plain_mail` says; the sender is known from now on, whatever comes behind it."""
        path, _, rest = command.partition(b">")
        alone = path + b">\r\n"
        known = self.mails.get(alone)
        if known is not None:
            parameters = plain_mail_parameters(rest)
            return None if parameters is None else (known[0], parameters)
        found = plain_mail(command)
        if found is not None:
            _keep(self.mails, alone, (found[0], NO_PARAMETERS))
        return found


def _keep(known: dict[bytes, Meaning], line: bytes, meaning: Meaning) -> Meaning:
    if len(known) >= MOST:
        known.clear()
    known[line] = meaning
    return meaning
