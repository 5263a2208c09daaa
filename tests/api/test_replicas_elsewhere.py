"""Replicas on other machines, from what their nodes are told to what the gateway and the probes know of them."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.api.conftest import Api
from tests.factories import NOON, later, make_allocation, make_cluster, make_host, make_node
from tests.unit.test_deployments import make_deployment, make_replica
from tests.unit.test_routes import make_endpoint

from ultramarine.controllers.probes import ProbeLoop
from ultramarine.controllers.routes import RouteLoop
from ultramarine.domain.endpoint import DeploymentSpec
from ultramarine.domain.host import THIS_MACHINE
from ultramarine.domain.run import Run
from ultramarine.planning.probing import Kind
from ultramarine.planning.routes import Upstreams
from ultramarine.routing.publisher import RoutePublisher
from ultramarine.services import elsewhere
from ultramarine.services.desired import Renderer
from ultramarine.services.serving import replica_spec
from ultramarine.store import computes, endpoints, hosts, runs

NODE = make_node(make_allocation())
PROBES = {
    "liveness_probe": {"initial_delay": 0, "period": 1, "timeout": 1, "failure_threshold": 1},
    "readiness_probe": {"initial_delay": 0, "period": 1, "timeout": 1, "failure_threshold": 1},
}


async def with_replica(api: Api, *, host: str = "far", **different: Any) -> Run:
    """A deployment with one replica on a compute there."""
    spec = DeploymentSpec.model_validate(make_deployment().spec.body() | PROBES)
    deployment = make_deployment(spec=spec)
    deployment = replace(deployment, serving={**deployment.serving, "environment": None, "code": None, "entry": None})
    run = make_replica(1, nodes=(NODE.key,), started_at=NOON, **different)
    far = host != THIS_MACHINE
    async with api.ctx.begin() as tx:
        if far:
            await hosts.put(tx, replace(make_host(), name=host, pool=host))
        await computes.add(tx, make_cluster(id=run.compute, host=host))
        await endpoints.add(tx, make_endpoint(blue=100))
        await endpoints.add_deployment(tx, deployment)
        made = replica_spec(deployment, zip_sha256="1" * 64, is_elsewhere=far, cpus=1)
        await runs.add(tx, run, {**made, "behind": []})
    return run


async def told(api: Api, run: Run) -> dict[str, Any]:
    """What its node is told of it."""
    async with api.ctx.read() as tx:
        wanted = await Renderer(api.ctx).render(tx, [NODE], [run])
    return dict(wanted[NODE.key][run.key]["spec"])


async def test_its_node_is_told_a_port_a_certificate_and_a_secret_and_the_database_holds_neither(
    api: Api, tmp_path: Path
):
    run = await with_replica(api)
    spec = await told(api, run)
    assert (spec["ports"], spec["sockets"]) == (["http"], [])
    assert "unix:" not in " ".join(spec["argv"])
    files = spec["secret_files"]
    assert set(files) == {elsewhere.CERTIFICATE, elsewhere.SECRET}
    assert files[elsewhere.SECRET] not in json.dumps({**spec, "secret_files": {}})
    async with api.ctx.read() as tx:
        stored = json.dumps((await runs.specs(tx, [run.key]))[run.key])
    assert "PRIVATE KEY" not in stored
    assert files[elsewhere.SECRET] not in stored
    assert not [path for path in files_in(tmp_path) if files[elsewhere.SECRET].encode() in path.read_bytes()]


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_one_on_this_machine_is_told_a_socket_and_no_secret(api: Api, tmp_path: Path):
    spec = await told(api, await with_replica(api, host=THIS_MACHINE))
    assert (spec["ports"], spec["sockets"], spec["secret_files"]) == ([], ["http"], {})
    assert not (tmp_path / "ca.pem").exists(), "nobody has asked for a CA"


async def test_the_secret_is_the_deployments_own_and_the_certificate_that_of_one_run(api: Api):
    run = await with_replica(api)
    second = replace(make_replica(2), compute=run.compute)
    other = replace(make_replica(1), owner_id="d2", compute=run.compute)
    files = [elsewhere.secret_files(api.ctx, each) for each in (run, second, other)]
    secrets = [each[elsewhere.SECRET] for each in files]
    assert secrets[0] == secrets[1] != secrets[2]
    assert len(bytes.fromhex(secrets[0])) == 32
    assert len({each[elsewhere.CERTIFICATE] for each in files}) == 3


async def test_the_table_has_its_name_its_secret_and_the_ca_and_is_the_owners_alone(api: Api, tmp_path: Path):
    run = await with_replica(api, sockets={"http": "10.0.0.7:41234"})
    (tmp_path / "gateway").mkdir()
    upstreams = Upstreams(control="unix:/c.sock", mlflow="unix:/m.sock")
    await RouteLoop(api.ctx, RoutePublisher(tmp_path / "gateway"), upstreams).tick()
    file = tmp_path / "gateway" / "routes.json"
    table = json.loads(file.read_text())
    [replica] = table["endpoints"]["w/cancer"]["deployments"]["blue"]["replicas"]
    secret = elsewhere.secret_files(api.ctx, run)[elsewhere.SECRET]
    assert (replica["address"], replica["tls"]) == ("10.0.0.7:41234", {"name": run.key, "secret": secret})
    assert table["ca"] == api.ctx.authority().pem
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spoiled", ["", "secret", "certificate", "silent"])
async def test_its_probes_are_asked_as_the_gateway_asks(api: Api, tmp_path: Path, spoiled: str):
    run = make_replica(1, nodes=(NODE.key,))
    files = dict(elsewhere.secret_files(api.ctx, run))
    if spoiled == "secret":
        files[elsewhere.SECRET] = "another"
    if spoiled == "certificate":
        files = {**elsewhere.secret_files(api.ctx, make_replica(2)), elsewhere.SECRET: files[elsewhere.SECRET]}
    async with replica_at(files, tmp_path) as port:
        if spoiled == "silent":
            port = 9
        run = await with_replica(api, sockets={"http": f"127.0.0.1:{port}"})
        ctx = replace(api.ctx, clock=lambda: later(1))
        loop = ProbeLoop(ctx)
        for _ in range(2):
            await loop.tick()
            await loop.settle()
        found = {kind: ctx.hub.probings[run.key, kind] for kind in Kind}
    assert {kind: probing.is_well for kind, probing in found.items()} == dict.fromkeys(Kind, not spoiled)
    said = {"secret": "it answered 401", "certificate": "certificate verify failed", "silent": "onnect"}
    assert said.get(spoiled, "") in found[Kind.LIVENESS].why


@contextlib.asynccontextmanager
async def replica_at(files: dict[str, str], folder: Path) -> AsyncGenerator[int]:
    """It answers 200 to who says the secret; its port."""
    pem = folder / "tls.pem"
    pem.write_text(files[elsewhere.CERTIFICATE])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = 200 if f"x-ultramarine-secret: {files[elsewhere.SECRET]}\r\n" in head else 401
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
