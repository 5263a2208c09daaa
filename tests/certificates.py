"""Authorities and certificates for tests, as PEM."""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """An authority of a test."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, *names: str, days: float = 1) -> str:
        """A key and its certificate for these names and addresses, good until so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _begun("server", key, days=days)
        made = made.issuer_name(self.certificate.subject)
        made = made.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        made = made.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
        )
        return pem_of(key) + made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def issuer() -> Issuer:
    key = ec.generate_private_key(ec.SECP256R1())
    made = _begun("an authority of a test", key, days=1)
    made = made.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of a test")]))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return Issuer(key=key, certificate=made.sign(key, hashes.SHA256()))


def pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


def _begun(name: str, key: ec.EllipticCurvePrivateKey, *, days: float) -> x509.CertificateBuilder:
    end = datetime.now(UTC) + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=2))
        .not_valid_after(end)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def client(trusted: Issuer) -> ssl.SSLContext:
    """Of who trusts this authority alone."""
    return ssl.create_default_context(cadata=trusted.pem)
