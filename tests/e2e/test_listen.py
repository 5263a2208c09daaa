"""An installation that others reach: hosts with a network of their own, and nothing but TLS between them and it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import hosts
from tests.hosts import Host, Network

from .installation import UM, Installation, installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PLAIN = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read())"


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with hosts.network(1) as made:
        yield made


@pytest.fixture(scope="module")
def it(cache: Path, network: Network) -> Iterator[Installation]:
    with installed(cache, ULTRAMARINE_LISTEN=network.address) as made:
        made.up()
        yield made


@pytest.fixture
def there(network: Network) -> Host:
    return network.hosts[0]


def variables(it: Installation, network: Network) -> dict[str, str]:
    """What `um up --listen` says that is to be typed there, with the owner's token."""
    return {
        "ULTRAMARINE_URL": f"https://{network.address}:{it.port}",
        "ULTRAMARINE_CA_FILE": str(it.home / "ca.pem"),
        "ULTRAMARINE_TOKEN": it.workspace.connection.token,
        "ULTRAMARINE_HOME": "/nonexistent",
    }


def um(it: Installation, network: Network, *words: str, **other: str) -> subprocess.CompletedProcess[str]:
    return network.hosts[0].run(str(UM), *words, variables=variables(it, network) | other)


def test_what_um_up_prints_works_on_another_machine(it: Installation, network: Network, there: Host, tmp_path: Path):
    said = it.um("up", "-d").stderr
    script = said[said.index("cat >") :].replace("TOKEN=TOKEN", f"TOKEN={it.workspace.connection.token}")
    script = script.replace("\num ", f"\ncd {tmp_path}\n{UM} ").replace("cat >", f"cd {tmp_path}; cat >")
    done = there.run("bash", "-c", script, variables={"ULTRAMARINE_HOME": "/nonexistent"})
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_plain_http_is_refused_from_there_and_the_loopback_listener_is_not_there(
    it: Installation, network: Network, there: Host
):
    for port in (it.port, it.port + 1, it.port + 2):
        done = there.run(sys.executable, "-c", PLAIN, f"http://{network.address}:{port}/healthz")
        assert done.returncode != 0
        assert "RemoteDisconnected" in done.stderr or "ConnectionReset" in done.stderr
        done = there.run(sys.executable, "-c", PLAIN, f"http://127.0.0.1:{port}/healthz")
        assert "Connection refused" in done.stderr
    refused = um(it, network, "job", "list", ULTRAMARINE_URL=f"http://{network.address}:{it.port}")
    assert refused.returncode == 5
    assert "write https://" in refused.stderr


def test_another_ca_is_not_believed(it: Installation, network: Network):
    refused = um(it, network, "job", "list", ULTRAMARINE_CA_FILE="")
    assert refused.returncode == 5
    assert "nobody trusted here has signed" in refused.stderr
    assert "ULTRAMARINE_CA_FILE=FILE" in refused.stderr


def test_links_lead_to_where_the_client_came_from(it: Installation, network: Network, there: Host):
    link = um(it, network, "open", "mlflow", "--print-only").stdout.strip()
    assert link.startswith(f"https://{network.address}:{it.port + 1}/login?code=")
    ca = str(it.home / "ca.pem")
    page = there.run(
        "curl", "-sS", "-L", "-c", "/dev/null", "--cacert", ca, "-o", "/dev/null", "-w", "%{http_code}", link
    )
    assert page.stdout == "200", page.stderr
