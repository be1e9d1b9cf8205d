"""The extra `smtp-router[simulate]`: what draws pictures and pages, asked for only by who wants some."""

from importlib.util import find_spec

NEEDED = ("jinja2", "matplotlib")


def missing() -> str:
    """What to install, in a sentence; `""`: all is there."""
    names = [name for name in NEEDED if find_spec(name) is None]
    if not names:
        return ""
    return f"takes {' and '.join(names)}: pip install 'smtp-router[simulate]'"
