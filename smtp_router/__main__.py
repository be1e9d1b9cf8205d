"""`python -m smtp_router` is the same program as `smtp-router`."""

from smtp_router.cli import main

if __name__ == "__main__":
    main(prog_name="smtp-router")
