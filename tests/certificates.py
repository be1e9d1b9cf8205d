"""Certificates for listeners, and clients that trust them."""

import ssl
from pathlib import Path

import trustme


def write_certificate(ca: trustme.CA, path: Path, name: str = "localhost") -> Path:
    """A certificate for this name with its key, in one file, put there all at once."""
    fresh = path.with_suffix(".new")
    issued = ca.issue_cert(name)
    issued.private_key_and_cert_chain_pem.write_to_path(str(fresh))
    return fresh.replace(path)


def trusting(ca: trustme.CA) -> ssl.SSLContext:
    """What a client that trusts this authority only goes by."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def accepting(ca: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    """What a server with a certificate from this authority goes by."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    return context
