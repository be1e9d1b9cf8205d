"""Failover: the first downstream that works, in the order of the configuration.

The router asks again after each attempt that failed, and offers only the downstreams that it has
not yet tried for this message. So the first one offered that works gets it, and that is the first of
the configuration again as soon as that one is back.
"""

from collections.abc import Sequence

from smtp_router import Downstream, hookimpl

__all__ = ["select_downstream"]


@hookimpl
def select_downstream(downstreams: Sequence[Downstream]) -> Downstream:
    """Choose the first that is left.

    Args:
        downstreams: those still worth trying for this message, in the order of the configuration,
            at least one.

    Returns:
        The first of `downstreams`.
    """
    return downstreams[0]
