"""Compute instances on other machines: what their nodes are told, and what their next run begins with."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.api.conftest import Api
from tests.factories import EPOCH, NOON, make_allocation, make_cluster, make_host, make_instance, make_node, make_run

from ultramarine.controllers.evidence import Asked
from ultramarine.controllers.instances import InstanceLoop
from ultramarine.controllers.routes import RouteLoop
from ultramarine.domain.instance import InstanceSpec
from ultramarine.domain.names import ComputeId, RunKey
from ultramarine.domain.run import Mode, OwnerNoun, Run, RunStatus
from ultramarine.files.homes import Homes
from ultramarine.planning.idleness import Evidence
from ultramarine.planning.routes import Upstreams
from ultramarine.routing.publisher import RoutePublisher
from ultramarine.services import elsewhere
from ultramarine.services.desired import Renderer
from ultramarine.services.instances import run_spec
from ultramarine.store import computes, hosts, instances, runs

NODE = make_node(make_allocation())
SPEC = InstanceSpec(name="lab", size="cpu-1", provider="ray")
KEPT = "a" * 64


async def with_instance(api: Api, **different: Any) -> Run:
    """One whose first run is on a node elsewhere."""
    instance = make_instance(name="lab", owner="ada", runs_made=1)
    owner = {"owner_noun": OwnerNoun.INSTANCE, "owner_id": instance.id, "owner_name": "lab", "mode": Mode.INSTANCE}
    plain = {"status": RunStatus.RUNNING, "nodes": (NODE.key,), "compute": ComputeId(instance.id)}
    run = make_run(f"i{instance.id}", **{**owner, **plain, **different})
    async with api.ctx.begin() as tx:
        await hosts.put(tx, replace(make_host(), name="far", pool="far"))
        await computes.add(tx, replace(make_cluster(id=instance.id, host="far"), name="lab", spec=SPEC))
        await instances.add(tx, instance)
        spec = run_spec(api.ctx, instance, SPEC, zip_sha256="0" * 64, is_elsewhere=True)
        await runs.add(tx, run, {**spec, "environment": None, "behind": []})
    return run


async def told(api: Api, run: Run) -> dict[str, Any]:
    async with api.ctx.read() as tx:
        wanted = await Renderer(api.ctx).render(tx, [NODE], [run])
    return dict(wanted[NODE.key][run.key]["spec"])


async def test_its_node_is_told_of_a_door_and_keeps_its_home_as_snapshots(api: Api):
    spec = await told(api, await with_instance(api, checkpoint=KEPT))
    assert (spec["ports"], spec["sockets"], spec["home"]) == (["http"], ["lab"], None)
    assert spec["checkpoint"] == {"snapshot": KEPT, "every_s": 30, "is_home": True}
    argv = spec["argv"]
    assert argv[argv.index("--door") + 1] == "{{port:http}}"
    assert argv[argv.index("--tls") + 1] == "{{secret:tls.pem}}"
    assert argv[argv.index("--home") + 1] == "{{home}}"
    files = spec["secret_files"]
    assert set(files) == {elsewhere.CERTIFICATE, elsewhere.SECRET}
    assert files[elsewhere.SECRET] not in json.dumps({**spec, "secret_files": {}})


async def test_the_gateway_is_told_of_its_door_and_of_the_name_that_it_shows(api: Api, tmp_path: Path):
    run = await with_instance(api, sockets={"lab": "unix:/lab.sock", "http": "10.0.0.7:41234"})
    (tmp_path / "gateway").mkdir()
    upstreams = Upstreams(control="unix:/c.sock", mlflow="unix:/m.sock")
    await RouteLoop(api.ctx, RoutePublisher(tmp_path / "gateway"), upstreams).tick()
    table = json.loads((tmp_path / "gateway" / "routes.json").read_text())
    entry, secret = table["instances"]["w/lab"], elsewhere.secret_of(api.ctx, run)
    assert (entry["address"], entry["secret"]) == ("10.0.0.7:41234", secret)
    assert entry["tls"] == {"name": run.key, "secret": secret}
    assert table["ca"] == api.ctx.authority().pem


class Silent:
    async def answers(self, asked: Asked) -> Sequence[bool]:
        return [False for _ in asked]

    async def evidence(self, asked: Asked) -> Sequence[Evidence | None]:
        return [None for _ in asked]


async def test_its_next_run_begins_with_what_was_kept_last_also_before_a_restore(api: Api, tmp_path: Path):
    ended: dict[str, Any] = {"status": RunStatus.CANCELED, "ended_at": NOON}
    first = await with_instance(api, **ended, checkpoint="b" * 64)
    before = {"key": first.key.replace(EPOCH, "ebefore"), "ordinal": 2, "checkpoint": KEPT}
    async with api.ctx.begin() as tx:
        await runs.add(tx, replace(first, **before), {})
        await runs.add(tx, replace(first, key=RunKey(f"{EPOCH}-ic1-3"), ordinal=3, checkpoint=None), {})
        (instance,) = await instances.every(tx)
        await instances.keep(tx, replace(instance, runs_made=3))
    await InstanceLoop(api.ctx, Silent(), zip_sha256="0" * 64, homes=Homes(tmp_path / "homes")).tick()
    async with api.ctx.read() as tx:
        newest = await runs.newest(tx, first.owner_id)
        spec = (await runs.specs(tx, [newest.key]))[newest.key]
    assert (newest.ordinal, newest.status, newest.checkpoint) == (4, RunStatus.QUEUED, KEPT)
    assert (spec["ports"], spec["home"]) == (["http"], None)
