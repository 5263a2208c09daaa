"""What the gateway shows by TLS: of the installation's own CA, or an operator's; brought up to date while it runs.

`python -m ultramarine.server.certificate` makes it before anything listens; afterwards `Certificate.tick` looks.
"""

import ipaddress
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from ultramarine.domain.errors import InvalidInput, UltramarineError
from ultramarine.private import write_private
from ultramarine.server import failing
from ultramarine.services.authority import Authority, names_of
from ultramarine.settings import Settings
from ultramarine.supervision import home as homes
from ultramarine.supervision.listening import EVERYWHERE, Listening, bracketed

log = logging.getLogger(__name__)
LOOK_EVERY = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where other machines reach the installation, and what they trust there."""

    url: str
    ca: str | None  #: PEM; None: they trust what they trust anyway


class Certificate:
    """The file that the gateway looks at. `names` are told at each look: addresses of a machine change."""

    def __init__(self, settings: Settings, home: Path, *, clock: Callable[[], datetime]) -> None:
        self._settings, self._home, self._clock = settings, home, clock
        self._file = homes.certificate(home)
        self._looked_at: datetime | None = None
        self._known: list[str] = []
        self.listening = listening_of(settings)

    async def tick(self) -> None:
        """Look, once in a while. What fails is tried again; the certificate that is there stays."""
        now = self._clock()
        if self._looked_at is None or now - self._looked_at >= LOOK_EVERY:
            self._known = self.names()
            self.renew()
            self._looked_at = now

    def renew(self) -> None:
        """Put the right one in place, and what to type elsewhere, unless they are there. Raises `UltramarineError`."""
        own = self._settings.tls_certificate
        wanted = self._ours() if own is None else _operators(own, self._settings.tls_key, self._host, self._clock())
        for file, text in ((self._file, wanted), (homes.elsewhere(self._home), instructions(self.place()))):
            if text != _read(file):
                write_private(file, text)

    def place(self) -> Place:
        """Raises `UltramarineError` where there is no CA yet, or none that can be used."""
        return Place(url=f"https://{bracketed(self._host)}:{self.listening.outside[0].port}", ca=self._ca())

    def _ca(self) -> str | None:
        if self._settings.tls_certificate is None:
            return Authority.at(self._home, now=self._clock()).pem
        file = self._settings.tls_ca
        return None if file is None else _given(file.expanduser(), "ULTRAMARINE_TLS_CA")

    def _ours(self) -> str:
        authority, names = Authority.at(self._home, now=self._clock()), self.names()
        there = _read(self._file)
        why = authority.why_renew(there, names, now=self._clock())
        if not why:
            return there
        log.info("A new certificate for %s: %s.", ", ".join(names), why)
        return authority.issue(names, now=self._clock())

    @property
    def _host(self) -> str:
        """By which others are told to reach us: the first name of the settings, else what is listened on first."""
        named, first = words(self._settings.listen_names), self.listening.outside[0].host
        if named:
            return named[0]
        return _own_address() if first in EVERYWHERE else first

    def known_names(self) -> list[str]:
        """What `names` gave at the last look; none where nobody else is served."""
        if self.listening.outside and not self._known:
            self._known = self.names()
        return self._known

    def names(self) -> list[str]:
        """All that the certificate is good for, the one that others are told first."""
        listened = [each.host for each in self.listening.outside]
        found = [self._host, *words(self._settings.listen_names), *(h for h in listened if h not in EVERYWHERE)]
        if any(host in EVERYWHERE for host in listened):
            found += _addresses()
        hostname = socket.gethostname()
        if hostname.isascii() and hostname != "localhost":
            found.append(hostname)
        return list(dict.fromkeys(_plain(name) for name in found))


def listening_of(settings: Settings) -> Listening:
    ports = {"second_port": settings.second_port, "instances_port": settings.instances_port}
    return Listening.parse(settings.listen, port=settings.port, **ports)


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def instructions(place: Place) -> str:
    """What to type on another machine."""
    variables = [f"ULTRAMARINE_URL={place.url}", "ULTRAMARINE_TOKEN=TOKEN"]
    file: list[str] = []
    if place.ca is not None:
        file = ["cat > ultramarine-ca.pem <<'END'", place.ca.strip(), "END"]
        variables.insert(1, "ULTRAMARINE_CA_FILE=$PWD/ultramarine-ca.pem")
    told = "On another machine, with a token for who works there (um token create --subject NAME):"
    return "\n".join([told, "", *file, f"export {' '.join(variables)}", "um job list", ""])


def _operators(certificate: Path, key: Path | None, host: str, now: datetime) -> str:
    """An operator's key and certificates, as the gateway reads them, once they fit. Raises `InvalidInput`."""
    chain = _given(certificate.expanduser(), "ULTRAMARINE_TLS_CERTIFICATE")
    secret = _given((key or certificate).expanduser(), "ULTRAMARINE_TLS_KEY")
    try:
        first, *between = x509.load_pem_x509_certificates(chain.encode())
        private = load_pem_private_key(secret.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            f"{certificate} and its key cannot be read: {error}.",
            hint="Give PEM files: the certificate with what is between it and its CA, and its key without a password.",
        ) from error
    if private.public_key() != first.public_key():
        raise InvalidInput(
            f"ULTRAMARINE_TLS_KEY is not the key of {certificate}.", hint="Give the key that it was made for."
        )
    if first.not_valid_after_utc <= now:
        raise InvalidInput(
            f"{certificate} has ended at {first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC.",
            hint="Put a new one there: it is taken without a restart.",
        )
    if not _is_named(host, names_of(first)):
        raise InvalidInput(
            f"{certificate} is good for {', '.join(names_of(first)) or 'no name'}, and others are told {host}.",
            hint="Say by which of its names others reach this machine: ULTRAMARINE_LISTEN_NAMES=NAME",
        )
    plain = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return plain + "".join(each.public_bytes(Encoding.PEM).decode() for each in (first, *between))


def _is_named(host: str, names: Sequence[str]) -> bool:
    """As clients compare: `*` stands for one label."""
    _, dot, parent = host.partition(".")
    return host.lower() in {name.lower() for name in names} or (dot == "." and f"*.{parent}".lower() in names)


def _given(file: Path, variable: str) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{variable}: {file} cannot be read: {error}.", hint="Give the path of a PEM file."
        ) from error


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _plain(name: str) -> str:
    """An address in its usual spelling, a name in small letters."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def _own_address() -> str:
    """Of this machine, as most others see it: where it would send from. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            return next(iter(_addresses()), socket.gethostname())  # no way out of its own networks
        return str(asking.getsockname()[0])


def _addresses() -> list[str]:
    """All of this machine's, but those that nobody else can use."""
    found = [
        each.address
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if each.family in (socket.AF_INET, socket.AF_INET6) and "%" not in each.address
    ]
    return sorted(address for address in found if not ipaddress.ip_address(address).is_loopback)


def main() -> int:
    """Exit code 2: it could not be made; stderr says why, and in its last line what to type."""
    settings = Settings()
    home = settings.home.absolute()
    try:
        Certificate(settings, home, clock=lambda: datetime.now(UTC)).renew()
    except UltramarineError as error:
        return failing.say(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
