"""An inferencing cluster whose nodes a Ray gives, on hosts with networks of their own: reached by TLS alone."""

import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.ray_cluster import RayHosts
from tests.e2e.installation import Installation, carriers, command_line, environment_of, until
from tests.e2e.load import Load
from tests.hosts import Host

from .conftest import Install

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
HERE = Path(__file__).parents[1]
BODY = json.dumps({"data": [1, 2]}).encode()
RATE = 20.0
SIZE = "most"  #: of a host: each has room for one
SIZES = {SIZE: {"cpus": 1.5, "memory_gib": 0.5}}
PROBE = {"initial_delay": 0, "period": 1, "timeout": 2, "failure_threshold": 3}


@dataclass(frozen=True, kw_only=True)
class Site:
    it: Installation
    ray: RayHosts
    uri: str
    key: str

    def load(self) -> Load:
        return Load(uri=self.uri, key=self.key, body=BODY, rate=RATE, expected=[3, 6])

    def deployment(self) -> dict[str, Any]:
        return self.it.workspace.online_deployments.get("blue", "far")

    def answering(self) -> set[str]:
        return {row["run"] for row in self.deployment()["replicas"] if row["answers"]}

    def host_of(self, run: str) -> Host:
        [found] = self.hosts_of(run)
        return found

    def hosts_of(self, run: str) -> list[Host]:
        pids = set(carriers(f"ULTRAMARINE_RUN_KEY={run}"))
        return [host for host in self.ray.network.hosts if pids & set(host.pids())]

    def is_whole(self) -> bool:
        """Both answer and live: of one that has just gone, the gateway hears in a moment."""
        answering = self.answering()
        return len(answering) == 2 and all(self.hosts_of(run) for run in answering)

    def table(self) -> dict[str, Any]:
        return json.loads((self.it.home / "gateway" / "routes.json").read_text())

    def row(self, run: str) -> dict[str, Any]:
        """A replica as the gateway is told of it."""
        rows = self.table()["endpoints"]["default/far"]["deployments"]["blue"]["replicas"]
        return next(row for row in rows if row["id"] == run)


@pytest.fixture(scope="module")
def site(on_ray: Install, ray_hosts: RayHosts) -> Iterator[Site]:
    """Two replicas of a script on a cluster of up to three nodes, each of which has room for one."""
    settings = {"LEASE_S": "8", "LEASE_MARGIN_S": "2", "SILENT_AFTER_S": "4", "SIZES": json.dumps(SIZES)}
    with on_ray(**{f"ULTRAMARINE_{name}": value for name, value in settings.items()}) as it:
        it.up()
        it.pid("mlflow", within_s=300)
        there = it.workspace
        cluster = {"name": "far", "type": "inferencecluster", "size": SIZE, "max_instances": 3, "provider": "ray"}
        there.computes.create_or_update({**cluster, "idle_time_before_scale_down": 600})
        there.models.create_or_update({"name": "factor", "type": "custom_model", "path": "model"}, folder=HERE)
        there.online_endpoints.create_or_update({"name": "far"})
        there.online_deployments.create_or_update(body_of("blue"), folder=HERE)
        made = there.online_deployments.wait("blue", "far", timeout_s=240)
        assert made["provisioning_state"] == "Succeeded", f"{made}\n{it.told()}"
        there.online_endpoints.update("far", {"traffic": {"blue": 100}})
        uri, keys = there.online_endpoints.get("far")["scoring_uri"], there.online_endpoints.credentials("far")
        yield Site(it=it, ray=ray_hosts, uri=uri, key=keys["primaryKey"])
        there = it.workspace
        there.online_endpoints.update("far", {"traffic": {"blue": 0}})
        there.online_deployments.delete("blue", "far")
        there.online_deployments.wait_gone("blue", "far", timeout_s=120)
        there.online_endpoints.delete("far")
        there.computes.delete("far")
        there.computes.wait_gone("far", timeout_s=120)


def body_of(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "endpoint_name": "far",
        "model": "azureml:factor@latest",
        "code_configuration": {"code": "scoring", "scoring_script": "score.py"},
        "environment": "azureml:minimal@latest",
        "compute": "far",
        "instance_type": SIZE,
        "instance_count": 2,
        "liveness_probe": PROBE,
        "request_settings": {"request_timeout_ms": 2000, "max_concurrent_requests_per_instance": 8},
    }


def test_replicas_are_spread_over_hosts_and_answer_through_the_gateway(site: Site):
    hosts = {site.host_of(run).name for run in site.answering()}
    assert len(hosts) == 2, f"two replicas on {hosts}"
    for run in site.answering():
        assert site.row(run)["address"].startswith(f"{site.host_of(run).address}:")
    with site.load() as load:
        until(lambda: len(load.answers) > 3 * RATE, "requests are answered")
    assert load.failed == [], load.told()
    print(load.told())


def test_nobody_but_the_gateway_is_let_in(site: Site):
    [run, *_] = site.answering()
    row, table = site.row(run), site.table()
    host, _, port = row["address"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        plain.sendall(b"GET /health/ready HTTP/1.1\r\nhost: x\r\n\r\n")
        try:
            assert not plain.recv(100).startswith(b"HTTP")
        except ConnectionError:
            pass
    for secret, status in (("", 401), ("0" * 64, 401), (row["tls"]["secret"], 200)):
        assert asked(host, int(port), secret=secret, name=run, ca=table["ca"]) == status
    with pytest.raises(ssl.SSLCertVerificationError):
        asked(host, int(port), secret="", name="another", ca=table["ca"])
    told = [command_line(pid) + str(environment_of(pid)) for pid in carriers(f"ULTRAMARINE_RUN_KEY={run}")]
    assert told
    assert not [words for words in told if row["tls"]["secret"] in words], "it is in no argv and no variable"
    logs = [path.read_text(errors="replace") for path in (site.it.home / "logs").glob("*.log")]
    assert not [text for text in logs if row["tls"]["secret"] in text or "PRIVATE KEY" in text]


def asked(host: str, port: int, *, secret: str, name: str, ca: str) -> int:
    """The status, of one who expects `name` there."""
    context = ssl.create_default_context(cadata=ca)
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.sock = context.wrap_socket(socket.create_connection((host, port), timeout=10), server_hostname=name)
    try:
        connection.request("GET", "/health/ready", headers={"x-ultramarine-secret": secret} if secret else {})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("fate", ["cut off", "dead"])
def test_a_host_that_is_gone_costs_few_requests_and_its_replica_is_replaced(site: Site, fate: str):
    """What was under way there when it went fails; then answers go on, and there are two replicas again."""
    until(site.is_whole, "both answer", seconds=120)
    before = site.answering()
    gone = min(before)
    host = site.host_of(gone)
    try:
        with site.load() as load:
            until(lambda: len(load.answers) > 2 * RATE, "requests are answered")
            struck = time.monotonic()
            host.cut() if fate == "cut off" else host.kill()
            until(lambda: gone not in site.answering(), "the gateway knows", seconds=60)
            known = time.monotonic()
            until(lambda: len(site.answering()) == 2, "its replica is replaced", seconds=180)
            back = time.monotonic()
            until(lambda: len(load.since(back)) > 2 * RATE, "requests are answered")
        late = [answer for answer in load.failed if answer.at > known + 1]
        print(f"{fate}: {load.told()}; known after {known - struck:.1f} s, replaced after {back - struck:.1f} s")
        assert late == [], f"{load.told()}\n{site.it.told()}"
        assert len(load.failed) < len(load.answers) / 4, load.told()
        [new] = site.answering() - before
        assert site.host_of(new).name != host.name
        log = (site.it.home / "logs" / "gateway.log").read_text(errors="replace")
        assert not re.search(r"Traceback", log), log[-3000:]
    finally:
        host.mend()
        site.ray.leave(host)
        site.ray.join(host)
