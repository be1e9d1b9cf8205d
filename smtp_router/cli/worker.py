"""A worker's process, started by the parent of a crew; not a command for anybody else."""

import gc
import sys

from smtp_router.config.aside import Reading
from smtp_router.workers.order import Order


def main() -> None:
    """Read what to do, and do it."""
    gc.disable()  # until all is there
    order = Order.read(sys.stdin.buffer.readline())
    reading = Reading(order.config)
    # Meanwhile this process imports the router, which takes as long.
    from smtp_router.cli import working  # noqa: PLC0415 - see above

    working.work(order, reading)


if __name__ == "__main__":
    main()
