"""The configuration's JSON Schema, for editors."""

from smtp_router.config.settings import Settings


def json_schema() -> dict[str, object]:
    """JSON Schema 2020-12 of the configuration file."""
    schema = Settings.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "smtp-router configuration",
    }
