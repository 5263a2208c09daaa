"""What we tell Ray's autoscaler of our clusters, judged by Ray itself before it is written."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.factories import make_allocation, make_cluster

from ultramarine.domain.compute import Compute
from ultramarine.drivers.ray import Autoscaling, Places
from ultramarine.drivers.ray.autoscaling import Said
from ultramarine.drivers.ray.fleet import ProviderFile, type_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MODULES = str(Path(__file__).parent.parent / "e2e" / "fleet")
OURS = {"type": "external", "module": "hosts_provider.HostsProvider", "disable_node_updaters": True}
ONE, OTHER = make_cluster("c1"), make_cluster("c2")


def autoscaling(home: Path, **file: Any) -> Autoscaling:
    chosen = os.environ.get("ULTRAMARINE_TEST_CACHE")
    cache = Path(chosen) if chosen else Path.home() / ".cache" / "ultramarine-tests"
    made = ProviderFile(provider=file.pop("provider", OURS), pythonpath=[MODULES], **file)
    return Autoscaling(Places(home=home), made, address="10.0.0.1:6379", name="um-x", environments=cache / "ray")


def told(home: Path) -> Any:
    return json.loads(Places(home=home).configuration.read_text())


def of(*clusters: Compute) -> Any:
    return {one.id: (one, 1) for one in clusters}


@pytest.mark.parametrize(
    "provider", [OURS, {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2"]}], ids=["own", "ssh"]
)
async def test_ray_takes_what_we_make_of_our_clusters(provider: Any, tmp_path: Path):
    its = autoscaling(tmp_path, provider=provider, auth={"ssh_user": "um"})
    await its.bring(of(ONE, OTHER), Said())
    assert set(told(tmp_path)["available_node_types"]) == {"head", type_of(ONE.id), type_of(OTHER.id)}
    assert Places(home=tmp_path).configuration.stat().st_mode & 0o077 == 0, "it may hold credentials"
    assert its.why(make_allocation(1, compute=ONE).key, Said()) is None


async def test_what_ray_refuses_is_not_written_and_is_the_reason_of_who_waits(tmp_path: Path):
    its = autoscaling(tmp_path, docker={"no_such_field": 1})
    await its.bring(of(ONE), Said())
    assert not Places(home=tmp_path).configuration.exists()
    assert "no_such_field" in (its.why(make_allocation(1, compute=ONE).key, Said()) or "")


async def test_a_provider_that_is_not_there_is_refused_by_its_name(tmp_path: Path):
    its = autoscaling(tmp_path, provider={"type": "external", "module": "nowhere.Provider"})
    await its.bring(of(ONE), Said())
    assert "nowhere" in (its.why(make_allocation(1, compute=ONE).key, Said()) or "")
