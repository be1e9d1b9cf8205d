"""A worker, in its process."""

import sys

from smtp_router.cli import logs
from smtp_router.cli.loop import run
from smtp_router.config.aside import Reading
from smtp_router.shared.memory import SharedMemory
from smtp_router.workers.order import Order
from smtp_router.workers.untorn import untorn
from smtp_router.workers.worker import Worker


def work(order: Order, reading: Reading) -> None:
    """Do what is ordered, with the configuration that is being read."""
    memory = SharedMemory(order.memory, order.plan.words)
    sys.stderr = untorn(sys.stderr.fileno(), memory)
    journal = logs.configure(order.log_format, order.log_level)
    worker = Worker(order, reading, memory, journal)
    run(worker.run())
