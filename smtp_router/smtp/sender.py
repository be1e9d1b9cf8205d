"""The sender: one message to one downstream over real SMTP, recipients all or nothing."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from smtp_router.config.settings import Downstream, Settings
from smtp_router.core.message import Message, on_the_wire
from smtp_router.core.outcome import InDoubt, Outcome, Rejected, Stage
from smtp_router.routing.shield import to_the_end
from smtp_router.smtp.connection import AttemptEnded, Connection
from smtp_router.smtp.parameters import mail_parameters, rcpt_parameters
from smtp_router.smtp.received import received_field
from smtp_router.smtp.tls import ClientContexts
from smtp_router.smtp.verdict import name_recipient


class SmtpSender:
    """Sends messages, each over a connection of its own."""

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._contexts = ClientContexts()
        self._quitting: set[asyncio.Task[None]] = set()

    async def send(
        self,
        message: Message,
        downstream: Downstream,
        settings: Settings,
        *,
        until: float,
        deadline: float,
        on_final: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Try to deliver; see `smtp_router.routing.ports.Sender`."""
        connection = Connection(downstream, settings.timeouts, settings.hostname, until)
        dot_is_out = False
        try:
            await connection.open(self._contexts)
            content = on_the_wire(message).below(received_field(message, settings.hostname))
            await _envelope(connection, message, settings, size=content.size)
            await connection.data()
            dot_is_out = True  # as good as: from here on the outcome has to be known
            wire = (*content.pieces, b".\r\n")
            return await to_the_end(connection.content(wire, deadline, on_final))
        except AttemptEnded as ended:
            return ended.outcome
        except asyncio.CancelledError:
            if dot_is_out:
                return InDoubt(reason="the router was stopped")
            raise
        finally:
            self._part(connection)

    async def close(self) -> None:
        """Wait for the connections that are being closed."""
        await asyncio.gather(*self._quitting, return_exceptions=True)

    def _part(self, connection: Connection) -> None:
        """Say QUIT in the background, so that no client waits for it."""
        if not connection.in_sync:
            connection.abort()
            return
        task = asyncio.create_task(connection.quit())
        self._quitting.add(task)
        task.add_done_callback(self._quitting.discard)


async def _envelope(connection: Connection, message: Message, settings: Settings, *, size: int) -> None:
    """MAIL and every RCPT; all recipients are taken, or the attempt ends before DATA.

    One refusal for good outweighs any that are transient, whatever their order: the message as it
    stands will never be taken.

    Raises:
        AttemptEnded: with the refusal.
    """
    parameters = mail_parameters(connection, message, size)
    words = [b"FROM:<%b>" % message.mail_from.encode(), *parameters]
    refusal = await connection.command(Stage.MAIL, settings.timeouts.mail_s, b"MAIL", *words)
    if refusal is not None:
        raise AttemptEnded(refusal)
    refusals = []
    for position, recipient in enumerate(message.rcpt_tos):
        words = [b"TO:<%b>" % recipient.encode(), *rcpt_parameters(connection, message, position)]
        refusal = await connection.command(Stage.RCPT, settings.timeouts.rcpt_s, b"RCPT", *words)
        if refusal is not None:
            refusals.append(name_recipient(refusal, recipient))
            if not connection.in_sync:
                break
    if refusals:
        if connection.in_sync:
            with suppress(AttemptEnded):  # the refusal counts, not what happens after it
                await connection.command(Stage.RCPT, settings.timeouts.rcpt_s, b"RSET")
        permanent = [refusal for refusal in refusals if isinstance(refusal, Rejected)]
        raise AttemptEnded((permanent or refusals)[0])
