"""How values that cannot be changed are made for every message: filled in as drafts.

A frozen dataclass sets each of its fields through `object.__setattr__`: 0.5 us for three of them. An
instance of a class with the same layout that is not frozen is filled in like any other, and becomes one
of the frozen class when it is told so: 0.11 us. Nothing is checked then, so who does it knows that all
fields are there, and what the class promises of them holds.
"""

from typing import Any

_PLAIN = ("__init__", "__setattr__", "__delattr__")


def draft_of(frozen: type, **slots: object) -> Any:  # noqa: ANN401 - anything may be set, or be missing
    """What to call for an empty draft of a class, whose `__class__` it is to be given in the end.

    Args:
        frozen: a frozen dataclass with slots.
        slots: those attributes of the class that something else stands in front of, by name.
    """
    plain = {name: getattr(object, name) for name in _PLAIN}
    return type(f"{frozen.__name__}Draft", (frozen,), {"__slots__": (), **plain, **slots})
