"""What is known of the providers that mail is handed to: a file for each, and a source for each fact.

The files are in `providers/`; docs/providers.md prints them, and says how to add one.
"""

import difflib
from importlib.resources import files
from typing import TYPE_CHECKING

from pydantic import ValidationInfo

from smtp_router.config import tree

if TYPE_CHECKING:
    from smtp_router.config.provider import Provider


class Presets:
    """The providers' files, each read once, when it is first asked for.

    One of these goes with the loading of one configuration, as pydantic's context.
    """

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._folder = files("smtp_router.config") / "providers"
        self._known: dict[str, Provider] = {}

    @classmethod
    def of(cls, info: ValidationInfo) -> "Presets":
        """Those that go with a validation."""
        return info.context if isinstance(info.context, cls) else cls()

    @property
    def names(self) -> tuple[str, ...]:
        """All there are."""
        found = (entry.name for entry in self._folder.iterdir())
        return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))

    def get(self, name: str) -> "Provider":
        """One of them.

        Raises:
            ValueError: there is none of this name; the error names the nearest.
        """
        if name not in self._known:
            if name not in self.names:
                raise ValueError(unknown("provider", name, self.names))
            # Most routers know none: these models take 10 ms of a start.
            from smtp_router.config.provider import Provider  # noqa: PLC0415

            text = (self._folder / f"{name}.yaml").read_bytes()
            plain = tree.parse(text, f"{name}.yaml").plain()
            assert isinstance(plain, dict)
            self._known[name] = Provider.model_validate({**plain, "name": name})
        return self._known[name]


def unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    """An error's words, with the nearest of those that there are."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"is no {what} that is known here: {hint}"
