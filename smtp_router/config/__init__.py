"""Floor 1: from YAML to checked, immutable settings. The only YAML and pydantic import."""
