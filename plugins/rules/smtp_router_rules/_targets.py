"""Where a rule sends mail: a downstream, some in order, or whatever another algorithm chooses."""

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from smtp_router import Algorithm, Algorithms, Attempt, Downstream, Message
from smtp_router_rules._reading import mapping, texts

Answer = Downstream | Awaitable[Downstream | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A choice of downstreams, and who chooses among them.

    Args:
        text: what it is called, for people.
        names: which downstreams; `None`: all.
        algorithm: who chooses; `None`: the first one that is offered, in the order of `names`.
        place: the option's path.
    """

    text: str
    place: str
    names: tuple[str, ...] | None = None
    algorithm: Algorithm | None = None

    def among(self, downstreams: Sequence[Downstream]) -> Sequence[Downstream]:
        """Those of the offered ones that it may choose from."""
        if self.names is None:
            return downstreams
        offered = {downstream.name: downstream for downstream in downstreams}
        return [offered[name] for name in self.names if name in offered]

    def ask(
        self, message: Message, downstreams: Sequence[Downstream], attempts: Sequence[Attempt]
    ) -> Answer:
        """Choose among these, of which there is at least one."""
        if self.algorithm is None:
            return downstreams[0]
        return self.algorithm.select_downstream(message, downstreams, attempts)


class Targets:
    """Reads targets, knowing the tiers.

    Raises:
        ValueError: a tier is not valid.
    """

    def __init__(self, tiers: object, algorithms: Algorithms) -> None:
        self._algorithms = algorithms
        self._made: list[Target] = []
        self._tiers: dict[str, Target] = {}
        for name, given in mapping("tiers", tiers).items() if tiers is not None else ():
            self._tiers[name] = self._keep(self._tier(f"tiers.{name}", name, given))

    def read(self, place: str, given: object) -> Target:
        """What stands under `to` or `default`.

        Raises:
            ValueError: it is no target.
        """
        if isinstance(given, str) and given in self._tiers:
            return self._tiers[given]
        if isinstance(given, str | list):
            return self._keep(self._listed(place, given))
        if isinstance(given, Mapping):
            algorithm = self._algorithms.make(given, at=place)
            return Target(text=algorithm.name, place=place, algorithm=algorithm)
        raise ValueError(
            f"{place}: must be a downstream's or tier's name, a list of some, or {{use: …}}"
        )

    def check(self, downstreams: Sequence[Downstream]) -> None:
        """See that every name is a downstream's, and no tier's is.

        Raises:
            ValueError: one is not; names the option.
        """
        known = [downstream.name for downstream in downstreams]
        for name in self._tiers:
            if name in known:
                raise ValueError(f"tiers.{name}: a downstream is called so, too")
        for target in self._made:
            for name in target.names or ():
                if name not in known:
                    raise ValueError(f"{target.place}: {self._unknown(name, known)}")

    def _unknown(self, name: str, known: Sequence[str]) -> str:
        if name in self._tiers:
            return f"{name} is a tier; only a tier by itself, without a list, can stand here"
        either = f"no downstream is called {name} (there are {', '.join(known)})"
        tiers = f", and no tier ({', '.join(self._tiers)})" if self._tiers else ""
        return f"{either}{tiers}; an algorithm is written {{use: {name}}}"

    def _tier(self, place: str, name: str, given: object) -> Target:
        if not isinstance(given, Mapping):
            return self._listed(place, given, text=name)
        mapping(place, given, "downstreams", "use", "options")
        for key in ("downstreams", "use"):
            if key not in given:
                raise ValueError(f"{place}.{key}: is missing")
        use = {key: given[key] for key in ("use", "options") if key in given}
        listed = self._listed(f"{place}.downstreams", given["downstreams"], text=name)
        algorithm = self._algorithms.make(use, at=place)
        return Target(text=name, place=listed.place, names=listed.names, algorithm=algorithm)

    def _listed(self, place: str, given: object, *, text: str = "") -> Target:
        names = tuple(texts(place, given))
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{place}: {name} is there twice")
        return Target(text=text or ", ".join(names), place=place, names=names)

    def _keep(self, target: Target) -> Target:
        self._made.append(target)
        return target


def each_rule(given: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The rules with their paths.

    Raises:
        ValueError: not a list of mappings with the right keys.
    """
    if not isinstance(given, list) or not given:
        raise ValueError("rules: must be a list of rules, and not empty")
    for number, one in enumerate(given):
        place = f"rules.{number}"
        rule = mapping(place, one, "name", "if", "to", "else", "recipients")
        for key in ("if", "to"):
            if key not in rule:
                raise ValueError(f"{place}.{key}: is missing")
        yield place, rule
