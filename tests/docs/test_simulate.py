"""docs/simulate.md names every key of a scenario with its default, and no other; what it shows works."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from smtp_router.config.behaviour import Behaviour, Failure, Failures, Outage, ServerLimits
from smtp_router.config.scenario import Kind, Scenario, load
from smtp_router.config.spread import Spread
from smtp_router.simulation.clock import START
from tests.docs.pages import DOCS, ROOT, Block, all_blocks, sections, unquoted

PAGE = DOCS / "simulate.md"
NAMES = ("main", "bulk")

MODELS: Mapping[type[BaseModel], str] = {
    Scenario: "The scenario",
    Kind: "mail[]",
    Behaviour: "downstreams.NAME",
    Failures: "failure",
    Failure: "failure.deferred and failure.rejected",
    Outage: "outages[]",
    ServerLimits: "limits",
}
IN_WORDS = {
    "start": f"`{START.isoformat().replace('+00:00', 'Z')}`",
    "mail": "one kind, all defaults",
    "downstreams": "none",
    "failure": "nothing",
    "limits": "none",
    "stage": "see below",
}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_of_a_scenario_is_in_the_reference_with_its_default(model: type[BaseModel]) -> None:
    told = {unquoted(key): default for key, default, _ in sections(PAGE)[MODELS[model]].rows}
    assert told == {
        field.alias or name: default_in_words(model, name, field)
        for name, field in model.model_fields.items()
    }


def default_in_words(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    if model is not Failure and name in IN_WORDS:
        return IN_WORDS[name]
    default: Any = field.get_default(call_default_factory=True, validated_data={})
    if default is None:
        return "as above" if model is Failure else "none"
    return f"`{shown(name, default)}`"


def shown(name: str, default: Any) -> str:  # noqa: ANN401 - of any key
    match default:
        case Failure():
            return "0"
        case Spread(p50=p50, p95=p95) if name == "bytes":
            return f"{{p50: {p50:.0f}, p95: {p95:.0f}}}"
        case Spread(p50=p50, p95=p95):
            return f"{{p50: {1000 * p50:g}ms, p95: {1000 * p95:g}ms}}"
        case dict():
            return f"{{{', '.join(f'{key}: {one}' for key, one in default.items())}}}"
        case _:
            return str(default).replace("()", "[]")


@pytest.mark.parametrize(
    "block",
    [block for block in all_blocks("yaml", "scenario") if len(block.words) == 2],  # others are run
    ids=str,
)
def test_a_scenario_of_the_documentation_is_one(block: Block, tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text(block.text, "utf-8")
    assert load(tmp_path / "scenario.yaml", NAMES).downstreams.keys() == set(NAMES)


def test_the_bundled_scenario_fits_the_configuration_of_the_readme() -> None:
    scenario = load(ROOT / "examples" / "scenarios" / "outage.yaml", NAMES)
    assert scenario.behaviour("main").outages


def test_the_picture_is_small() -> None:
    assert (DOCS / "simulate.png").stat().st_size < 100_000
