"""Floor 5: the commands, and the process of a worker, which needs no click. The only click import."""


def main(*arguments: object, **more: object) -> None:
    """What `smtp-router` runs."""
    from smtp_router.cli.commands import commands  # noqa: PLC0415 - see above

    commands(*arguments, **more)
