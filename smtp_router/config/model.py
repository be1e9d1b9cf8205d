"""What all parts of the settings have in common."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Immutable, and strict about what it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True
    )
