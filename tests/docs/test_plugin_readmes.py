"""The configurations in the READMEs of the plugins are such, with the plugins' own options.

What they need beside them (keys, files) is theirs to test; only blocks marked `yaml config` count here.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from smtp_router.hooks.registry import Registry
from smtp_router.routing.epoch import build
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.test_blocks import loaded

CONFIGURATIONS = [
    block
    for page in sorted(ROOT.glob("plugins/*/README.md"))
    for block in blocks(page)
    if block.is_a("yaml", "config")
]


@pytest.mark.parametrize(
    "block", CONFIGURATIONS, ids=lambda block: f"{block.page.parent.name}:{block.line}"
)
def test_a_plugins_configuration_is_valid(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = block.text.replace("/var/lib/smtp-router", str(tmp_path))
    assert build(loaded(replace(block, text=text), tmp_path, monkeypatch), Registry()).routes
