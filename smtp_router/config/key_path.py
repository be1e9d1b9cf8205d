"""Where something stands in a configuration."""

KeyPath = tuple[str | int, ...]


def key_path(path: KeyPath) -> str:
    """`users[0].downstreams[1].addr`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")
