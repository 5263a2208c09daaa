"""A CA of the installation's own, and the certificates that it gives its gateway, and replicas on other machines.

Its key and its certificate lie in the home beside the master key, and like that apart from backups: who has the key can
be taken for the installation by all who trust it. Clients and nodes trust this certificate alone, so it lasts.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ultramarine.domain.errors import Conflict
from ultramarine.private import write_private

CA_LASTS = timedelta(days=3650)
LASTS = timedelta(days=90)
RENEWED_BEFORE_END = timedelta(days=30)
CLOCKS_DIFFER = timedelta(hours=1)
_CURVE = ec.SECP256R1()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The key and the certificate of the CA."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        """What clients and nodes trust."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @classmethod
    def at(cls, home: Path, *, now: datetime) -> "Authority":
        """Read the CA of this home, or make it (key 0600). May be interrupted and repeated anywhere.

        Raises `Conflict` for one that has ended, or whose files do not belong together.
        """
        key_file, file = home / "ca.key", home / "ca.pem"
        if not key_file.exists():
            write_private(key_file, pem_of(ec.generate_private_key(_CURVE)))
            file.unlink(missing_ok=True)  # what was trusted before goes with the key that was there before
        key = _key(key_file)
        if not file.exists():
            write_private(file, _self_signed(key, now=now).public_bytes(Encoding.PEM).decode())
        made = cls(key=key, certificate=_certificate(file))
        if made.certificate.public_key() != key.public_key():
            raise Conflict(f"{file} is not of the key in {key_file}.", hint=f"Restore both, or: rm {file} {key_file}")
        if made.certificate.not_valid_after_utc <= now:
            raise Conflict(
                f"The CA of this installation has ended at {made.certificate.not_valid_after_utc:%Y-%m-%d}.",
                hint=f"rm {file} {key_file}, then um up: it makes a new one, which all others must be given.",
            )
        return made

    def issue(self, names: Sequence[str], *, now: datetime, lasts: timedelta = LASTS) -> str:
        """A new key and its certificate for these names and addresses, as PEM."""
        key = ec.generate_private_key(_CURVE)
        made = (
            _begun(f"Ultramarine at {names[0]}"[:64], key, now=now)
            .issuer_name(self.certificate.subject)
            .not_valid_after(min(now + lasts, self.certificate.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        return pem_of(key) + made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def why_renew(self, pem: str, names: Sequence[str], *, now: datetime) -> str:
        """Why this certificate of the gateway's is not good enough any more; empty: it is."""
        try:
            there = x509.load_pem_x509_certificate(pem.encode())
            there.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return "there is none of this CA"
        if set(names_of(there)) != set(names):
            return "it names others"
        if there.not_valid_after_utc - now < RENEWED_BEFORE_END and (
            there.not_valid_after_utc < self.certificate.not_valid_after_utc
        ):
            return f"it ends at {there.not_valid_after_utc:%Y-%m-%d}"
        return ""


def names_of(certificate: x509.Certificate) -> list[str]:
    """The names and addresses that a certificate is good for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]


def pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _self_signed(key: ec.EllipticCurvePrivateKey, *, now: datetime) -> x509.Certificate:
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    name = f"Ultramarine CA {x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:8]}"
    made = _begun(name, key, now=now)
    made = (
        made.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .not_valid_after(now + CA_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return made.sign(key, hashes.SHA256())


def _begun(name: str, key: ec.EllipticCurvePrivateKey, *, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key(file: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise Conflict(f"{file} is no key: {error}.", hint="Restore it, or remove it together with ca.pem.") from error
    assert isinstance(key, ec.EllipticCurvePrivateKey), "we make no others"
    return key


def _certificate(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except ValueError as error:
        raise Conflict(f"{file} is no certificate: {error}.", hint=f"Restore it, or: rm {file}") from error
