"""A configuration that is valid, how tests change it, and what is said of it then."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from smtp_router import ConfigError
from smtp_router.config.load import Loaded, parse

FILE = Path("/etc/smtp-router/config.yaml")

VALID = """\
listen:
  - addr: 127.0.0.1:1025
deadline_s: 60
timeouts:
  connect_s: 5
users:
  - email: user@example.com
    password: password
    algorithm: round_robin
    plugins: [stamp]
    failover_on: [deferred]
    downstreams:
      - addr: a.example:25
        name: first
        user: apikey
        pass: secret
        tls: auto
        options: {weight: 3}
      - addr: b.example:25
"""


def read(text: str, environ: Mapping[str, str] | None = None, file: Path = FILE) -> Loaded:
    return parse(dedent(text).encode(), file, environ=environ or {})


def problems(text: str, environ: Mapping[str, str] | None = None, file: Path = FILE) -> list[str]:
    """What is wrong, line by line, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        read(text, environ, file)
    lines = [str(problem) for problem in caught.value.problems]
    assert all(line.startswith(f"{file}:") for line in lines)
    assert str(caught.value) == "\n".join(lines)
    return [line.removeprefix(f"{file}:") for line in lines]


def changed(old: str, new: str) -> str:
    assert VALID.count(old) == 1, f"{old!r} stands {VALID.count(old)} times in VALID"
    return VALID.replace(old, new)
