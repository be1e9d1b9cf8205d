"""What the README shows works: its algorithm is run, its commands exist."""

import re
from pathlib import Path

import pytest

from tests.docs.asking import ask, load
from tests.docs.pages import ROOT, blocks, text_of
from tests.support import make_message

README = ROOT / "README.md"
NEWSLETTER = make_message(
    content=b"Subject: News\r\nlist-unsubscribe: <https://a.example>\r\n\r\nHello\r\n"
)
RESET = make_message(content=b"Subject: Your new password\r\n\r\nHello\r\n")


def algorithm() -> str:
    (block,) = (block for block in blocks(README) if block.is_a("python"))
    return block.text


def test_the_algorithm_has_twelve_lines() -> None:
    assert len(algorithm().splitlines()) == 12


@pytest.mark.parametrize(
    ("offered", "newsletter", "password"),
    [(("main", "bulk"), "bulk", "main"), (("main",), "main", "main"), (("bulk",), "bulk", "bulk")],
)
async def test_the_algorithm_does_what_its_first_line_says(
    tmp_path: Path, offered: tuple[str, ...], newsletter: str, password: str
) -> None:
    (tmp_path / "newsletters.py").write_text(algorithm(), "utf-8")
    plugin = load(tmp_path, "./newsletters.py", {})
    assert await ask(plugin, NEWSLETTER, offered) == newsletter
    assert await ask(plugin, RESET, offered) == password


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = ROOT / "Makefile"
    if not makefile.exists():
        pytest.skip("not in an sdist")
    wanted = re.findall(r"^    make (\w+)", text_of(README), re.MULTILINE)
    assert wanted == ["run", "test"]
    assert all(f"\n{target}: " in makefile.read_text("utf-8") for target in wanted)
