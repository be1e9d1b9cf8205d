"""Builds each distribution, installs the wheels in an empty environment, and uses them there.

The wheel is built from the sdist, so both are checked. What is installed is what `PINNED`
names and the wheels, nothing else; the commands run in an empty directory, so no source of the
repository is in reach. The last line counts; the exit code is 1 if anything failed.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from operator import itemgetter
from pathlib import Path

from tools.check_plugins import Place, check_plugins
from tools.check_tutorial import walk
from tools.checking import (
    AT_ONCE,
    ROOT,
    TIMEOUT_S,
    CheckError,
    Report,
    expect_all,
    expect_equal,
    expect_failure,
    expect_none,
    run,
)

BIN = Path(sys.executable).parent

CONFIG = """\
users:
  - email: user@example.com
    password: password
    algorithm: round_robin
    downstreams:
      - addr: 127.0.0.1:2525
      - addr: 127.0.0.1:2526
      - provider: sendgrid
"""

HOOKS = {
    "dkim": ["before_send"],
    "latency": ["select_downstream", "after_send"],
    "least_cost": ["select_downstream", "after_send", "check_downstreams", "close"],
    "rewrite": ["before_send"],
    "rules": ["select_downstream", "check_downstreams"],
    "sticky": ["select_downstream", "check_downstreams"],
    "webhook": ["after_send", "close"],
    "weighted": ["select_downstream", "check_downstreams"],
}
"""What our plugins implement; the other algorithms `select_downstream` alone."""

PINNED = ("run.txt", "dkim.txt", "rules.txt", "webhook.txt", "testing.txt")
"""What is installed of third parties; see `requirements/`."""

PUBLIC = ("smtp_router.core.", "smtp_router.hooks.spec.", "smtp_router.testing.")
"""What `smtp_router` is made of, which the import contracts know too, and the kit for tests."""
PRIVATE = ("smtp_router.testing.serving.", "smtp_router.testing.targets.")
"""What of the kit only the kit uses: it speaks of the router's inside."""

API = """\
from smtp_router import Downstream
from smtp_router_failover import select_downstream
offered = [Downstream(name=name, host="127.0.0.1", port=25) for name in ("main", "spare")]
print(select_downstream(offered).name)
"""


TESTS = """\
from smtp_router.testing import assert_share, conformance

test_conformance = conformance("round_robin")

def test_each_has_its_turn():
    assert_share("round_robin", {"a": 0.5, "b": 0.5}, within=1)

def test_it_is_routed(router, clock):
    with router("round_robin") as running:
        assert running.send().is_positive
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One of ours: where its source is, and what it installs."""

    folder: Path
    name: str
    version: str
    summary: str
    package: str
    modules: frozenset[str]
    plugins: tuple[str, ...]

    @property
    def stem(self) -> str:
        """How the names of its files begin."""
        return f"{self.name.replace('-', '_')}-{self.version}"


def main() -> int:
    """Run every check.

    Returns:
        The exit code.
    """
    distributions = [
        read(folder) for folder in (ROOT, *sorted((ROOT / "plugins").glob("*/"))) if holds_one(folder)
    ]
    report = Report()
    with tempfile.TemporaryDirectory(prefix="smtp-router-wheels-") as name:
        scratch = Path(name)
        dist = scratch / "dist"
        dist.mkdir()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for distribution, building in [
                (one, pool.submit(build, one, dist)) for one in distributions
            ]:
                print(distribution.name, flush=True)
                check_files(report, distribution, dist, building)
        with ThreadPoolExecutor(1) as pool:
            # Beside all that follows, with which it shares nothing.
            walked = pool.submit(walk, dist, scratch)
            print("in an empty environment", flush=True)
            check_use(report, distributions, scratch)
            print("plugins that come and go", flush=True)
            place = Place(environment=scratch / "environment", dist=dist, home=scratch / "home")
            check_plugins(report, place)
            with report.check(
                "an author's path, from new-plugin to a real mail, is as the tutorial says"
            ):
                walked.result()
    print(f"wheels: {report.passed} passed, {len(report.failed)} failed")
    return 1 if report.failed else 0


def holds_one(folder: Path) -> bool:
    """Whether a distribution's source is here."""
    return (folder / "pyproject.toml").is_file()


def read(folder: Path) -> Distribution:
    """What pyproject.toml says of itself."""
    document = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    package, *modules = document["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    project = document["project"]
    return Distribution(
        folder=folder,
        name=project["name"],
        version=project["version"],
        summary=project["description"],
        package=package,
        modules=frozenset(modules),
        plugins=tuple(project.get("entry-points", {}).get("smtp_router", {})),
    )


def build(distribution: Distribution, out: Path) -> None:
    """Build the sdist, and from it the wheel."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, distribution.folder)


def check_files(report: Report, distribution: Distribution, out: Path, building: Future[None]) -> None:
    """Wait until both are built, and look into them."""
    with report.check("builds an sdist, and a wheel from the sdist"):
        building.result()
    wheel = out / f"{distribution.stem}-py3-none-any.whl"
    sdist = out / f"{distribution.stem}.tar.gz"
    package, info = distribution.package, f"{distribution.stem}.dist-info"
    with report.check("the wheel is typed, licensed, and holds what it should and nothing else"):
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
        expect_all(names, f"{package}/__init__.py", f"{package}/py.typed", f"{info}/licenses/LICENSE")
        expect_all(names, *templates(distribution))
        expect_none(names, lambda name: name.split("/")[0] not in {package, info, *distribution.modules})
        expect_none(names, lambda name: "__pycache__" in name)
    with report.check("the wheel's metadata are complete"):
        with zipfile.ZipFile(wheel) as archive:
            metadata = message_from_bytes(archive.read(f"{info}/METADATA"))
        expect_equal(metadata["Name"], distribution.name)
        expect_equal(metadata["Version"], distribution.version)
        expect_equal(metadata["License-Expression"], "MIT")
        expect_equal(metadata["Requires-Python"], ">=3.11")
        expect_all(set(metadata.keys()), "Summary", "Keywords", "Classifier", "Requires-Dist")
        expect_equal(metadata["Description-Content-Type"], "text/markdown")
        readme = (distribution.folder / "README.md").read_text("utf-8")
        expect_equal(description(metadata).strip(), readme.strip())
    with report.check("the sdist holds the package, its licence and its tests"):
        with tarfile.open(sdist) as archive:
            paths = {name.partition("/")[2] for name in archive.getnames()}
        expect_all(paths, "pyproject.toml", "README.md", "LICENSE", f"{package}/py.typed")
        if not any(path.startswith("tests/test_") for path in paths):
            raise CheckError("no tests")


def templates(distribution: Distribution) -> list[str]:
    """The templates that belong into its wheel, as paths in there."""
    source = distribution.folder / distribution.package
    return [str(path.relative_to(distribution.folder)) for path in source.rglob("*.jinja")]


def description(metadata: Message) -> str:
    """The text below the fields, which is UTF-8 though no field says so."""
    payload = metadata.get_payload(decode=True)
    return payload.decode("utf-8") if isinstance(payload, bytes) else ""


def check_use(report: Report, distributions: list[Distribution], scratch: Path) -> None:
    """Install everything in an empty environment, and run what a user runs first."""
    home = scratch / "home"
    home.mkdir()
    (home / "config.yaml").write_text(CONFIG, "utf-8")
    environment = scratch / "environment"
    python, command = environment / "bin" / "python", environment / "bin" / "smtp-router"
    core = distributions[0]
    greeting = f"{core.name} {core.version}\n"

    with report.check("installs what is pinned, and the wheels without anything more"):
        install(environment, sorted((scratch / "dist").glob("*.whl")))
    with report.check("smtp-router --version"):
        expect_equal(run(command, "--version", cwd=home), greeting)
    with report.check("python -m smtp_router --version"):
        expect_equal(run(python, "-m", core.package, "--version", cwd=home), greeting)
    with report.check("smtp-router plugins --json lists the algorithms and where they are from"):
        listed = json.loads(run(command, "plugins", "--json", cwd=home))
        ours = [
            {
                "name": name,
                "distribution": origin.name,
                "version": origin.version,
                "hooks": HOOKS.get(name, ["select_downstream"]),
                "summary": origin.summary,
                "homepage": "",
            }
            for origin in distributions
            for name in origin.plugins
        ]
        expect_equal(sorted(listed, key=itemgetter("name")), sorted(ours, key=itemgetter("name")))
    with report.check("smtp-router-bill says that a file is not there"):
        bill = (environment / "bin" / "smtp-router-bill", home / "costs.db")
        expect_equal(expect_failure(1, *bill), f"smtp-router-bill: {home / 'costs.db'} is not there\n")
    with report.check("smtp-router check, with a configuration that names round_robin"):
        run(command, "check", "-c", home / "config.yaml", cwd=home)
    with report.check("smtp-router hash-password makes what smtp-router check takes"):
        for scheme in ("argon2", "scram"):
            hashed = run(command, "hash-password", "--scheme", scheme, cwd=home, stdin="secret\n")
            text = CONFIG.replace("password: password", f"password: '{hashed.strip()}'")
            (home / f"{scheme}.yaml").write_text(text, "utf-8")
            run(command, "check", "-c", home / f"{scheme}.yaml", cwd=home)
    with report.check("smtp-router schema prints JSON"):
        json.loads(run(command, "schema", cwd=home))
    with report.check("smtp-router simulate needs its extra for pages only, and says so"):
        simulate = (command, "simulate", "-c", home / "config.yaml", "--messages", "100")
        (simulated,) = json.loads(run(*simulate, "--json", "-", cwd=home))["runs"]
        expect_equal(simulated["messages"]["delivered"], 100)
        said = expect_failure(2, *simulate, "--html", home / "a.html")
        expect_all(set(said.split()), "'smtp-router[simulate]'")
        expect_all({path.name for path in environment.rglob("page.html")}, "page.html")
    with report.check("a plugin is called through the public API"):
        expect_equal(run(python, "-c", API, cwd=home), "main\n")
    with report.check("an author's tests find the kit, with conformance and its fixtures"):
        (home / "test_mine.py").write_text(TESTS, "utf-8")
        said = run(python, "-m", "pytest", "-q", "-W", "error", "test_mine.py", cwd=home)
        if not re.search(r"^\d\d+ passed", said, re.MULTILINE):
            raise CheckError(said)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for package, checking in [
            (one.package, pool.submit(check_types, environment, one.package, home))
            for one in distributions
        ]:
            with report.check(f"every public name of {package} has its type"):
                checking.result()


def install(environment: Path, wheels: list[Path]) -> None:
    """Make an environment that holds what is pinned, and the wheels."""
    venv.create(environment, with_pip=True, symlinks=True)
    pip = (environment / "bin" / "python", "-m", "pip", "-qq", "--disable-pip-version-check")
    for pinned in PINNED:
        run(*pip, "install", "--no-deps", "--require-hashes", "-r", ROOT / "requirements" / pinned)
    run(*pip, "install", "--no-deps", "--no-index", *wheels)
    run(*pip, "check")


def check_types(environment: Path, package: str, cwd: Path) -> None:
    """Ask pyright which types of the public names a user's type checker would have to guess."""
    verify = subprocess.run(
        [BIN / "basedpyright", "--outputjson", "--ignoreexternal", "--verifytypes", package],
        cwd=cwd,
        env=os.environ | {"PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        check=False,  # its exit code counts the modules that are not public, too
        encoding="utf-8",
        timeout=TIMEOUT_S,
    )
    found = json.loads(verify.stdout)["typeCompleteness"]
    if not (found["pyTypedPath"] and found["symbols"]):
        raise CheckError(f"nothing to verify:\n{verify.stdout}{verify.stderr}")
    guessed = [
        f"{symbol['name']}: {diagnostic['message']}"
        for symbol in found["symbols"]
        if not symbol["isTypeKnown"] and is_public(symbol["name"])
        for diagnostic in symbol["diagnostics"]
    ]
    if guessed:
        raise CheckError("\n".join(guessed))


def is_public(name: str) -> bool:
    """Whether a name is the public API's; of a plugin, every name is."""
    if name.startswith("smtp_router."):
        return name.startswith(PUBLIC) and not name.startswith(PRIVATE)
    return True


if __name__ == "__main__":
    sys.exit(main())
