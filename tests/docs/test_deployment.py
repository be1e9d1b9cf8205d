"""The files in examples/ that other programs read: fail2ban's filter and jail, systemd's units."""

import base64
import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from smtp_router.cli.words import FORMATS
from tests.docs.pages import DOCS, ROOT, blocks
from tests.docs.test_examples import EXAMPLES
from tests.rawclient import RawClient
from tests.running import Program

UNITS = sorted((EXAMPLES / "systemd").iterdir())
ADDR = r"(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9a-f:]*:[0-9a-f:.]*)"
CONFIG = """\
listen: [{addr: "127.0.0.1:0"}]
users:
  - email: app@example.com
    password: right
    algorithm: failover
    downstreams: [{addr: "127.0.0.1:9"}]
"""


@pytest.fixture(scope="module", params=FORMATS)
def failed_login(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the router logs when a client guesses wrong."""
    folder = tmp_path_factory.mktemp("router")
    (folder / "config.yaml").write_text(CONFIG, "utf-8")
    with Program("serve", "--log-format", request.param, cwd=folder) as router:
        port = int(router.wait_line(r"listening on 127\.0\.0\.1:(\d+)")[1])
        with RawClient("127.0.0.1", port) as client:
            assert client.command(b"EHLO client.example").code == 250
            wrong = base64.b64encode(b"\0app@example.com\0login failed peer=192.0.2.9")
            assert client.command(b"AUTH PLAIN " + wrong).code == 535
        return router.wait_line("^.*login failed.*$")[0]


def definition() -> configparser.SectionProxy:
    """fail2ban's filter, read as fail2ban reads it."""
    parser = configparser.ConfigParser()
    parser.read(EXAMPLES / "fail2ban" / "filter.d" / "smtp-router.conf", "utf-8")
    return parser["Definition"]


def matches(line: str) -> list[str]:
    """The addresses that the filter finds in a line."""
    patterns = [one.replace("<ADDR>", f"({ADDR})") for one in definition()["failregex"].splitlines()]
    return [match[1] for one in patterns if (match := re.search(one, line))]


def test_fail2ban_finds_the_address_in_a_log_file(failed_login: str) -> None:
    """It takes the time out of the line before it looks."""
    without_time = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "", failed_login, count=1)
    assert without_time != failed_login
    assert matches(without_time) == ["127.0.0.1"]


def test_fail2ban_finds_the_address_in_the_journal(failed_login: str) -> None:
    assert matches(f"host smtp-router[123]: {failed_login}") == ["127.0.0.1"]


def test_fail2ban_is_not_fooled_by_what_a_client_says(failed_login: str) -> None:
    for line in (f'x user="{failed_login}"', f"{failed_login} x", f'{{"user": "{failed_login}"}}'):
        assert matches(line) == []


def test_the_jail_has_the_filters_name() -> None:
    parser = configparser.ConfigParser()
    parser.read(EXAMPLES / "fail2ban" / "jail.d" / "smtp-router.conf", "utf-8")
    assert parser.sections() == ["smtp-router"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """But for the program's place, which is not on this machine."""
    for unit in UNITS:
        text = unit.read_text("utf-8").replace("/opt/smtp-router/bin/smtp-router", "/bin/true")
        (tmp_path / unit.name).write_text(text, "utf-8")
    command = ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, check=False, text=True)  # noqa: S603 - our own
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_the_page_shows_the_unit_as_it_is(unit: Path) -> None:
    shown = [block.text for block in blocks(DOCS / "howto.md") if block.is_a("ini")]
    assert unit.read_text("utf-8") in shown


def test_every_file_for_others_is_linked() -> None:
    page = (DOCS / "howto.md").read_text("utf-8")
    for file in [*UNITS, *(EXAMPLES / "fail2ban").rglob("*.conf")]:
        assert f"(../{file.relative_to(ROOT)})" in page
