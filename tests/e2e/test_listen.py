"""An installation that others reach: hosts with a network of their own, and nothing but TLS between them and it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.cookiejar import MozillaCookieJar
from pathlib import Path

import pytest
from benchmarks.instances import CELL, jupyter_python
from tests import hosts
from tests.hosts import Host, Network

from .installation import SIZES, UM, Installation, installed, until
from .test_instances import APPLICATION, BODY, DESK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PLAIN = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read())"


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with hosts.network(1) as made:
        yield made


@pytest.fixture(scope="module")
def it(cache: Path, network: Network) -> Iterator[Installation]:
    sizes = json.dumps({**SIZES, "desk": DESK})
    with installed(cache, ULTRAMARINE_LISTEN=network.address, ULTRAMARINE_SIZES=sizes) as made:
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


class Browser:
    """One on another machine that believes the installation's CA, with a jar for cookies."""

    def __init__(self, it: Installation, there: Host, folder: Path) -> None:
        self.ca, self._there, self._jar = str(it.home / "ca.pem"), there, folder / "jar"

    def get(self, url: str) -> tuple[str, str]:
        """The status where it was led to in the end, and the page."""
        jar, how = str(self._jar), ("-sS", "-L", "--cacert", self.ca, "-w", "\n%{http_code}")
        done = self._there.run("curl", *how, "-b", jar, "-c", jar, url)
        page, _, status = done.stdout.rpartition("\n")
        return status or done.stderr, page

    def cookies(self) -> dict[str, bool]:
        """By name whether it is for TLS alone."""
        jar = MozillaCookieJar(self._jar)
        jar.load(ignore_discard=True, ignore_expires=True)  # to curl, 0 is the end of a session
        return {each.name: each.secure for each in jar}


def test_a_compute_instance_is_made_and_entered_from_there(
    it: Installation, network: Network, there: Host, tmp_path: Path
):
    (tmp_path / "set-up.sh").write_text(f"cat > app.py <<'END'\n{APPLICATION}END\n")
    app = {"name": "app", "command": "exec python app.py", "port": it.port + 3}
    body = {**BODY, "setup_scripts": {"creation_script": {"path": "set-up.sh"}}, "custom_applications": [app]}
    (tmp_path / "instance.yml").write_text(json.dumps(body))
    made = um(it, network, "compute", "create", "-f", str(tmp_path / "instance.yml"))
    assert made.returncode == 0, made.stderr

    base, browser = f"https://{network.address}:{it.port + 2}/instances/default/mine", Browser(it, there, tmp_path)
    link = um(it, network, "compute", "connect", "-n", "mine").stdout.strip()
    assert link.startswith(f"https://{network.address}:{it.port + 2}/login?code=")
    status, page = browser.get(link)
    assert (status, "JupyterLab" in page) == ("200", True), page
    assert browser.cookies() == {"ultramarine-instance": True, "_xsrf": True}
    until(lambda: browser.get(f"{base}/proxy/app/page")[0] == "200", "the application answers")
    assert json.loads(browser.get(f"{base}/proxy/app/page")[1])["headers"]["X-Forwarded-Proto"] == "https"

    trusting = {"SSL_CERT_FILE": browser.ca, "JUPYTER_GATEWAY_CA_CERTS": browser.ca}
    cell = (str(jupyter_python(it.cache)), str(CELL), base, it.workspace.connection.token, "python3", "print(6 * 7)")
    done = there.run(*cell, variables=trusting, timeout_s=180)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "42\n"
