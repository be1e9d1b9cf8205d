"""What options and plugins cost: CPU time per message, beside a router without them.

    python -m bench.options [--cases 'latency,a shadow'] [--mode keep] [--repetitions 5]

The base is what the other benches measure: `round_robin`, a `before_send` and an `after_send` plugin,
limits, a log as text; `smtp-router serve` with two `sink.c` behind and `load.c` in front of it: 1 KB.
Both run, and are loaded in turns; the ratios are medians over these pairs, and the row `the same` says
how far they can be trusted. The exit code is 1 if a message failed.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench import load, report
from bench.contestants import MANY, PASSWORD, STAMP, USER
from bench.load import Load, Measured
from bench.peers import Peer, sink
from bench.serving import serving
from smtp_router import credentials

Keys = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """How a configuration differs from the base.

    Args:
        router: keys at the top.
        user: of the user.
        downstream: of both downstreams.
        plugin: the body of another `before_send`, in a file.
        serve: options of the command.
    """

    router: Keys = field(default_factory=dict)
    user: Keys = field(default_factory=dict)
    downstream: Keys = field(default_factory=dict)
    plugin: str = ""
    serve: tuple[str, ...] = ()


LIMITS = {"concurrency": 1000, "per_second": MANY}
BY_HEADER = {
    "rules": [{"if": {"header": {"List-Unsubscribe": "*"}}, "to": "a"}],
    "tiers": {"both": {"downstreams": ["a", "b"], "use": "round_robin"}},
    "default": "both",
}
VARIANTS: Mapping[str, Variant] = {
    "the same": Variant(),
    "no plugin": Variant(user={"plugins": []}),
    "no limits": Variant(downstream={"limits": {}}),
    "a limit by the day": Variant(downstream={"limits": {**LIMITS, "per_day": MANY}}),
    "failover": Variant(user={"algorithm": "failover"}),
    "weighted": Variant(user={"algorithm": "weighted"}, downstream={"options": {"weight": 3}}),
    "sticky": Variant(user={"algorithm": {"use": "sticky", "options": {"by": "recipient_domain"}}}),
    "latency": Variant(user={"algorithm": "latency"}),
    "rules by a header": Variant(user={"algorithm": {"use": "rules", "options": BY_HEADER}}),
    "rewrite": Variant(
        user={
            "plugins": [
                STAMP,
                {"use": "rewrite", "options": {"default": {"headers": {"set": {"X-A": "b"}}}}},
            ]
        }
    ),
    "one more before_send": Variant(plugin="def before_send(message): ..."),
    "one that reads a header": Variant(
        plugin="def before_send(message): message.headers.get('Subject')"
    ),
    "one that reads the content": Variant(plugin="def before_send(message): len(message.content)"),
    "an async one": Variant(plugin="async def before_send(message): ..."),
    "a shadow": Variant(user={"shadow": "failover"}),
    "a hashed password": Variant(user={"password": credentials.make(credentials.Kind.ARGON2, PASSWORD)}),
    "a log in JSON": Variant(serve=("--log-format", "json")),
    "two workers": Variant(router={"workers": 2}),
}


def router(stack: ExitStack, folder: Path, name: str, variant: Variant, behind: Sequence[Peer]) -> Peer:
    """Start one, in front of these.

    Raises:
        RuntimeError: it does not start.
    """
    user: dict[str, Any] = {
        "email": USER,
        "password": PASSWORD,
        "algorithm": "round_robin",
        "plugins": [STAMP],
        "downstreams": [
            {"name": letter, "addr": f"127.0.0.1:{each.port}", "limits": LIMITS, **variant.downstream}
            for letter, each in zip("ab", behind, strict=True)
        ],
        **variant.user,
    }
    if variant.plugin:
        file = folder / f"{name.replace(' ', '_')}.py"
        file.write_text(f"from smtp_router import hookimpl\n\n@hookimpl\n{variant.plugin}\n")
        user["plugins"] = [*user["plugins"], str(file)]
    settings = {"max_transactions": MANY, "users": [user], **variant.router}
    return stack.enter_context(serving(folder, name.replace(" ", "_"), settings, *variant.serve))


def measure(
    cases: Sequence[str], busy: Load, *, repetitions: int, seconds: float
) -> dict[str, list[tuple[Measured, Measured]]]:
    """Each case beside the base, again and again."""
    runs: dict[str, list[tuple[Measured, Measured]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory(prefix="bench-options-") as name:
        folder = Path(name)
        program, sinks = load.build("load", folder), load.build("sink", folder)
        for case in cases:
            with ExitStack() as stack:
                behind = [stack.enter_context(sink(sinks)) for _ in range(2)]
                base = router(stack, folder, "base", Variant(), behind)
                other = router(stack, folder, case, VARIANTS[case], behind)
                for each in (base, other):
                    load.run(program, busy, each, min(seconds, 0.5))  # caches, connections, a login
                for number in range(repetitions):
                    print(f"{number + 1}/{repetitions} {case}", file=sys.stderr)
                    pair = [load.run(program, busy, each, seconds) for each in (base, other)]
                    runs[case].append((pair[0], pair[1]))
    return runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if a message failed."""
    parser = report.parser(__doc__)
    parser.add_argument("--cases", default=",".join(VARIANTS))
    parser.add_argument("--mode", choices=("keep", "new"), default="keep")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="per run")
    asked = parser.parse_args(arguments)
    busy = Load(size=1024, clients=asked.clients, mode=asked.mode)
    runs = measure(asked.cases.split(","), busy, repetitions=asked.repetitions, seconds=asked.seconds)
    rows = [
        (
            case,
            round(median(base.cpu_ms for base, _ in pairs), 3),
            round(median(other.cpu_ms for _, other in pairs), 3),
            round(median(other.cpu_ms / max(base.cpu_ms, 1e-9) for base, other in pairs), 2),
        )
        for case, pairs in runs.items()
    ]
    report.show(("with", "base, cpu ms/msg", "so", "ratio"), rows, markdown=asked.markdown)
    errors = [
        f"{case}: {run.told.first_error}"
        for case, pairs in runs.items()
        for pair in pairs
        for run in pair
        if run.told.failed
    ]
    if errors:
        print(f"{len(errors)} runs had failures; the first: {errors[0]}", file=sys.stderr)
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(main())
