"""Whom the runner takes for the control plane: who shows a certificate of its CA, for the name that was asked for."""

from __future__ import annotations

import ssl
from pathlib import Path

CA_FILE = "ca.pem"  #: in the runner's folder: what its jobs trust


def context(ca: str | None) -> ssl.SSLContext:
    """`ca`: PEM of what alone is trusted; None: what this machine trusts. Raises ssl.SSLError for what is no PEM."""
    made = ssl.create_default_context(cadata=ca)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made


def keep(folder: Path, ca: str | None) -> None:
    """Write it where jobs find it."""
    if ca is not None:
        (folder / CA_FILE).write_text(ca)


def words(error: OSError, url: str) -> str:
    """What went wrong, for who reads this node's log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{url} showed a certificate that is not trusted here: {error.verify_message}. Only what the CA of this "
            f"runner's config.json has signed is trusted, for the name in its url, between its dates by this clock."
        )
    if isinstance(error, ssl.SSLError):
        why = error.reason or error
        return f"{url} does not speak TLS as expected: {why}. Is this the port that um up --listen named?"
    return f"{type(error).__name__} {error}."
