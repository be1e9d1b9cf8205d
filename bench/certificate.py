"""A certificate for the length of a bench."""

from pathlib import Path

import trustme


def write_certificate(folder: Path) -> Path:
    """A certificate with its key, in one file."""
    file = folder / "certificate.pem"
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(file))
    return file
