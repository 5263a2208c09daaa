"""Secrets that are derived, not stored: a node's, a run's, an allocation's come from the master key and their name.

The master key lies in a file of its own, apart from the database and its backups. Everything derived is 256 bits of
HMAC-SHA-256 and is compared in constant time. What must be shown again (endpoint keys) is sealed with Fernet under a
key derived from the same master.
"""

import base64
import hashlib
import hmac
import secrets
from pathlib import Path

from cryptography.fernet import Fernet

from ultramarine.domain.names import Epoch
from ultramarine.private import write_private


class Secrets:
    def __init__(self, master: bytes) -> None:
        self._master = master
        self._seal = Fernet(base64.urlsafe_b64encode(self._derive("seal")))

    @classmethod
    def at(cls, path: Path) -> "Secrets":
        """Read the master key, or make it at the first start (0600)."""
        if not path.exists():
            write_private(path, secrets.token_bytes(32))
        return cls(path.read_bytes())

    @property
    def fingerprint(self) -> str:
        """Tells one master key from another, and nothing of it."""
        return self.of("fingerprint")[:16]

    def _derive(self, *parts: str) -> bytes:
        return hmac.new(self._master, "\0".join(parts).encode(), hashlib.sha256).digest()

    def of(self, purpose: str, *names: str) -> str:
        """The secret of a named thing for a purpose, always the same."""
        return self._derive(purpose, *names).hex()

    def token(self, purpose: str, *names: str) -> str:
        """A bearer token that says whose it is: `purpose:name:…:secret`."""
        return ":".join((purpose, *names, self.of(purpose, *names)))

    def matches(self, given: str, purpose: str, *names: str) -> bool:
        return hmac.compare_digest(given.encode(), self.of(purpose, *names).encode())

    def seal(self, text: str) -> str:
        return self._seal.encrypt(text.encode()).decode()

    def unseal(self, sealed: str) -> str:
        return self._seal.decrypt(sealed.encode()).decode()


def parts(token: str, count: int) -> list[str]:
    """What a token like `purpose:name:…:secret` consists of; a part that it lacks is "", and so matches nothing."""
    return [*token.split(":"), *[""] * count][:count]


def sha256_of(token: str) -> str:
    """What is stored of a token or key."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_epoch() -> Epoch:
    """A name for the installation's life from now on."""
    return Epoch(f"e{secrets.token_hex(3)}")


def new_token() -> str:
    """256 random bits, recognisable in a leak."""
    return f"um_{secrets.token_hex(32)}"
