"""A certificate for the length of a bench."""

from pathlib import Path

import trustme


def write_certificate(folder: Path) -> Path:
    """A certificate with its key, in one file; `ca.pem` beside it is who issued it."""
    file = folder / "certificate.pem"
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = ca.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(file))
    return file
