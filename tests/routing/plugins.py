"""Plugins' sources, for those that more than one file of tests uses."""

TOLD = """\
from smtp_router import hookimpl

SEEN = []

@hookimpl
def after_send(message, attempt):
    SEEN.append((message, attempt))
"""

STAMP = """\
from smtp_router import hookimpl

@hookimpl
def before_send(message, downstream):
    return message.with_header("X-Downstream", downstream.name)
"""


def raising(hook: str, what: str) -> str:
    """One that raises this from this hook."""
    return f"""\
        from smtp_router import Defer, PluginError, Reject, hookimpl

        @hookimpl
        def {hook}():
            raise {what}
        """
