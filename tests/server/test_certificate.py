"""The CA of an installation, and what it lets the gateway show."""

import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests import certificates

from ultramarine.domain.errors import Conflict, InvalidInput
from ultramarine.server.certificate import Certificate
from ultramarine.services.authority import CA_LASTS, LASTS, RENEWED_BEFORE_END, Authority, names_of
from ultramarine.settings import Settings

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
Begin = Callable[..., Certificate]


class Clock:
    now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "gateway").mkdir()
    return tmp_path


@pytest.fixture
def begin(home: Path, clock: Clock) -> Begin:
    def made(**settings: Any) -> Certificate:
        return Certificate(Settings.model_validate({"listen": "10.0.0.5", **settings}), home, clock=clock)

    return made


def shown(home: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home / "gateway" / "server.pem").read_bytes())


def test_the_names_by_which_others_reach_us_are_known_and_none_where_nobody_else_is_served(home: Path, begin: Begin):
    named = begin(listen_names="gpu.example,GPU.internal")
    assert {"10.0.0.5", "gpu.example", "gpu.internal"} <= set(named.known_names())
    assert begin(listen="").known_names() == []


def test_a_ca_is_made_once_and_its_key_is_for_its_owner_alone(home: Path):
    first = Authority.at(home, now=NOON)
    assert Authority.at(home, now=NOON + DAY).pem == first.pem
    assert stat.S_IMODE((home / "ca.key").stat().st_mode) == 0o600
    assert first.certificate.not_valid_after_utc == NOON + CA_LASTS
    ssl.create_default_context(cadata=first.pem)


def test_a_ca_whose_making_was_interrupted_is_made_whole(home: Path):
    first = Authority.at(home, now=NOON)
    (home / "ca.pem").unlink()
    again = Authority.at(home, now=NOON)
    assert again.key.private_numbers() == first.key.private_numbers()
    (home / "ca.key").unlink()
    assert Authority.at(home, now=NOON).pem != again.pem, "what is trusted is never of a key that is not there"


def test_a_ca_that_has_ended_or_is_not_of_its_key_is_named(home: Path, tmp_path: Path):
    Authority.at(home, now=NOON)
    with pytest.raises(Conflict, match="has ended at 2036") as ended:
        Authority.at(home, now=NOON + CA_LASTS)
    assert "rm " in ended.value.hint
    (home / "ca.pem").write_text(certificates.issuer().pem)
    with pytest.raises(Conflict, match=r"is not of the key in"):
        Authority.at(home, now=NOON)


def test_a_certificate_for_a_run_is_for_its_name_and_may_last_as_long_as_the_ca(home: Path):
    ca = Authority.at(home, now=NOON)
    name = f"e123abc-{'0' * 32}-12"
    made = x509.load_pem_x509_certificate(ca.issue([name], now=NOON + DAY, lasts=CA_LASTS).encode())
    made.verify_directly_issued_by(ca.certificate)
    assert (names_of(made), made.not_valid_after_utc) == ([name], NOON + CA_LASTS)


async def test_it_is_renewed_before_its_end_and_not_sooner(begin: Begin, home: Path, clock: Clock):
    made = begin()
    await made.tick()
    first = shown(home)
    assert first.not_valid_after_utc == NOON + LASTS
    clock.now = NOON + LASTS - RENEWED_BEFORE_END
    await made.tick()
    assert shown(home) == first
    clock.now += timedelta(minutes=1)
    await made.tick()
    assert shown(home).not_valid_after_utc == clock.now + LASTS
    shown(home).verify_directly_issued_by(Authority.at(home, now=clock.now).certificate)


async def test_it_is_renewed_when_it_is_gone_broken_or_for_others(begin: Begin, home: Path, clock: Clock):
    file = home / "gateway" / "server.pem"
    await begin().tick()
    for spoil in (file.unlink, lambda: file.write_text("nothing"), lambda: file.write_text(certificates.issuer().pem)):
        spoil()
        await begin().tick()
        shown(home).verify_directly_issued_by(Authority.at(home, now=NOON).certificate)
    await begin(listen="10.0.0.6", listen_names="gpu.example").tick()
    assert {"gpu.example", "10.0.0.6"} <= set(names_of(shown(home)))
    assert "10.0.0.5" not in names_of(shown(home))


def test_all_addresses_means_those_that_this_machine_has(begin: Begin, home: Path):
    made = begin(listen="0.0.0.0")
    made.renew()
    assert "0.0.0.0" not in names_of(shown(home))
    assert not {"127.0.0.1", "::1"} & set(names_of(shown(home)))


def test_who_is_elsewhere_is_told_the_name_that_was_said_first_and_the_ca(begin: Begin, home: Path):
    made = begin(listen="10.0.0.5:8443", listen_names="gpu.example,b")
    made.renew()
    told = (home / "gateway" / "elsewhere.txt").read_text()
    assert "ULTRAMARINE_URL=https://gpu.example:8443 " in told
    assert Authority.at(home, now=NOON).pem.strip() in told
    assert made.place().url == "https://gpu.example:8443"
    assert begin(listen="[fd00::5]:8443").place().url == "https://[fd00::5]:8443"


@pytest.fixture
def own(tmp_path: Path, clock: Clock) -> dict[str, Any]:
    """An operator's own, as settings."""
    clock.now = datetime.now(UTC)
    issuer = certificates.issuer()
    (tmp_path / "own.pem").write_text(issuer.issue("*.example.org"))
    (tmp_path / "root.pem").write_text(issuer.pem)
    return {"tls_certificate": tmp_path / "own.pem", "listen_names": "gpu.example.org"}


async def test_an_operators_own_is_shown_and_taken_again_when_it_is_another(
    begin: Begin, home: Path, own: dict[str, Any], clock: Clock
):
    made = begin(**own)
    await made.tick()
    first = shown(home)
    assert names_of(first) == ["*.example.org"]
    assert not (home / "ca.key").exists()
    assert made.place().ca is None
    assert "ULTRAMARINE_CA_FILE" not in (home / "gateway" / "elsewhere.txt").read_text()
    own["tls_certificate"].write_text(certificates.issuer().issue("*.example.org"))
    clock.now += timedelta(minutes=1)
    await made.tick()
    assert shown(home) != first
    assert begin(**own, tls_ca=home / "root.pem").place().ca == (home / "root.pem").read_text()


def test_an_operators_own_that_does_not_fit_is_refused_with_what_to_do(begin: Begin, home: Path, own: dict[str, Any]):
    with pytest.raises(InvalidInput, match=r"is good for \*\.example\.org, and others are told 10\.0\.0\.5") as refused:
        begin(**(own | {"listen_names": ""})).renew()
    assert "ULTRAMARINE_LISTEN_NAMES" in refused.value.hint
    (home / "key.pem").write_text(certificates.issuer().issue("a"))
    with pytest.raises(InvalidInput, match="ULTRAMARINE_TLS_KEY is not the key of"):
        begin(**own, tls_key=home / "key.pem").renew()
    with pytest.raises(InvalidInput, match=r"ULTRAMARINE_TLS_CERTIFICATE: .* cannot be read"):
        begin(**(own | {"tls_certificate": home / "none.pem"})).renew()
    own["tls_certificate"].write_text(certificates.issuer().issue("*.example.org", days=-0.5))
    with pytest.raises(InvalidInput, match="has ended at"):
        begin(**own).renew()
