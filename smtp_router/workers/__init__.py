"""Floor above the service: a parent that takes no mail, and the workers that do.

Each worker is a fresh process with a whole `Service`, so plugins, threads and event loops never meet a
fork. The parent opens what is listened on, starts the workers, watches them, starts them again, drains
them, and sees that all serve the same epoch. What they count together is in `smtp_router.shared`.
"""
