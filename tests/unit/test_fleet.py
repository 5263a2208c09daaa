"""What Ray's autoscaler is told of our clusters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.factories import make_allocation, make_cluster

from ultramarine.domain.allocation import AllocationStatus, compute_of, key_of
from ultramarine.domain.compute import Compute
from ultramarine.domain.errors import InvalidInput
from ultramarine.domain.names import AllocationKey, ComputeId, Epoch
from ultramarine.drivers.ray import fleet

S = AllocationStatus
SITE = fleet.Site(name="um-x", address="10.0.0.1:6379", token=Path("/h/ray/secret/token"), state=Path("/h/ray/fleet"))
EXTERNAL = {"type": "external", "module": "mine.Provider", "disable_node_updaters": True}


def rendered(
    *clusters: tuple[Compute, int], previous: fleet.Configuration | None = None, gone: tuple[str, ...] = (), **file: Any
) -> fleet.Configuration:
    made = fleet.ProviderFile(provider=file.pop("provider", EXTERNAL), **file)
    wanted = {compute.id: (compute, count) for compute, count in clusters}
    return fleet.render(made, SITE, wanted, previous=previous or {}, gone=gone)


def test_a_cluster_is_a_node_type_with_a_resource_that_no_other_has():
    one, other = make_cluster("c1"), make_cluster("c2")
    types = rendered((one, 3), (other, 1))["available_node_types"]
    own = fleet.resource(one.id, one.size)
    assert types[fleet.type_of(one.id)]["resources"][own] == 1
    assert own not in types[fleet.type_of(other.id)]["resources"]
    assert types[fleet.type_of(one.id)]["max_workers"] == 3
    assert fleet.bundle(make_allocation(compute=one))[own] == 1


def test_an_allocation_is_put_on_no_machine_of_a_size_that_its_compute_had_before():
    before = make_cluster("c1")
    after = replace(before, size=replace(before.size, cpus_milli=2 * before.size.cpus_milli))
    old = rendered((before, 1))["available_node_types"][fleet.type_of(before.id)]["resources"]
    assert not set(fleet.bundle(make_allocation(compute=after))) <= set(old)


def test_what_a_machine_is_to_its_provider_is_said_for_all_by_size_and_by_cluster():
    one = make_cluster("c1")
    node_types = rendered(
        (one, 1),
        node_config={"disk": 1, "type": "small", "zone": "a"},
        sizes={one.size_name: {"type": "large", "zone": "b"}},
        clusters={f"{one.workspace}/{one.name}": {"zone": "c"}},
    )["available_node_types"]
    assert node_types[fleet.type_of(one.id)]["node_config"] == {"disk": 1, "type": "large", "zone": "c"}


def test_a_node_type_that_is_not_wanted_any_more_has_no_machines_first_and_goes_when_none_is_left():
    one = make_cluster("c1")
    before = rendered((one, 2))
    emptied = rendered(previous=before)
    assert emptied["available_node_types"][fleet.type_of(one.id)]["max_workers"] == 0
    assert (
        fleet.type_of(one.id) not in rendered(previous=emptied, gone=(fleet.type_of(one.id),))["available_node_types"]
    )


def test_only_other_numbers_of_machines_need_no_new_check():
    one, other = make_cluster("c1"), make_cluster("c2")
    assert fleet.is_as_before(rendered((one, 2)), rendered((one, 0)))
    assert not fleet.is_as_before(rendered((one, 2)), rendered((one, 2), (other, 1)))


@pytest.mark.parametrize(
    ("held", "there", "wanted"),
    [
        ([], 0, 0),
        ([S.WANTED], 0, 1),
        ([S.STARTING, S.UP], 1, 2),
        ([S.STARTING] * 5, 0, 3),  # the cluster's maximum
        ([S.ENDED], 1, 1),  # Ray itself takes it away when it is idle
        ([S.STARTING, S.RELEASING], 1, 1),  # who comes gets the machine of who goes
        ([S.UP] * 4, 4, 4),  # the maximum was lowered: what works stays
    ],
)
def test_a_cluster_may_have_the_machines_that_its_allocations_need(held: list[S], there: int, wanted: int):
    one = make_cluster("c1", max_instances=3)
    assert fleet.machines(one, held, there=there, is_draining=False) == wanted


def test_machines_that_nobody_needs_go_at_once_when_the_service_is_stopped():
    one = make_cluster("c1", max_instances=3)
    assert fleet.machines(one, [S.UP], there=3, is_draining=True) == 1
    assert fleet.machines(one, [], there=3, is_draining=True) == 0


def test_machines_that_ray_sets_up_over_ssh_get_the_token_and_start_with_it():
    made = rendered(provider={"type": "local", "worker_ips": ["10.0.0.2"]})
    assert made["file_mounts"] == {"~/.ultramarine/ray": "/h/ray/secret"}
    assert "RAY_AUTH_MODE=token" in made["worker_start_ray_commands"][-1]


def test_the_key_of_an_allocation_tells_whose_it_is():
    assert compute_of(key_of(Epoch("e1"), ComputeId("c2"), 3)) == "c2"
    assert key_of(Epoch("e1"), ComputeId("c2"), 3) == AllocationKey("e1-c2-3")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("provider: {type: aws}\nnode_confg: {}", "node_confg"),
        ("node_config: {}", "provider"),
        ("provider: {region: x}", "no type"),
        ("provider: [", "no YAML"),
    ],
)
def test_a_file_with_a_mistake_is_refused_with_its_name(tmp_path: Path, text: str, words: str):
    (tmp_path / "provider.yml").write_text(text)
    with pytest.raises(InvalidInput, match=words):
        fleet.read(tmp_path / "provider.yml")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(InvalidInput, match="cannot be read"):
        fleet.read(tmp_path / "provider.yml")
