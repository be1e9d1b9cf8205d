"""Writes into every message which downstream it was handed to: `X-Routed-Via: main`.

    plugins:
      - ./plugins/stamp.py
      - {use: ./plugins/stamp.py, options: {field: X-Mail-Route}} # or under another name

A field on top leaves signatures whole, unless they were made to forbid just that field.
"""

from smtp_router import Downstream, Message, hookimpl


class Stamp:
    """Adds one header field."""

    def __init__(self, field: str = "X-Routed-Via") -> None:
        self.field = field

    @hookimpl
    def before_send(self, message: Message, downstream: Downstream) -> Message:
        """The message with the downstream's name; the next attempt starts without it."""
        return message.with_header(self.field, downstream.name)
