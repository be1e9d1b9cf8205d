"""A worker's process, started by the parent of a crew; not a command for anybody else."""

import gc
import sys

from smtp_router.cli import logs
from smtp_router.cli.common import run
from smtp_router.shared.memory import SharedMemory
from smtp_router.workers.order import Order
from smtp_router.workers.untorn import untorn
from smtp_router.workers.worker import Worker


def main() -> None:
    """Read what to do, and do it."""
    gc.disable()  # until all is there
    order = Order.read(sys.stdin.buffer.readline())
    memory = SharedMemory(order.memory, order.plan.words)
    sys.stderr = untorn(sys.stderr.fileno(), memory)
    journal = logs.configure(order.log_format, order.log_level)
    worker = Worker(order, memory, journal)
    run(worker.run)


if __name__ == "__main__":
    main()
