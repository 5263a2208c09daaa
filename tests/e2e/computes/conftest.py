"""What jobs run on here: nodes of this machine, and nodes that a Ray gives on three hosts apart from it."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from tests import hosts
from tests.contracts import ray_cluster
from tests.contracts.ray_cluster import RayHosts
from tests.e2e.installation import Installation, installed

Install = Callable[..., AbstractContextManager[Installation]]


@pytest.fixture(scope="package")
def ray_hosts(cache: Path) -> Iterator[RayHosts]:
    with hosts.network(3) as network, ray_cluster.on_hosts(cache / "ray", network, cache=cache) as made:
        yield made


@pytest.fixture(scope="package")
def on_ray(cache: Path, ray_hosts: RayHosts) -> Install:
    """Installations whose clusters have their nodes from that Ray."""

    @contextmanager
    def install(**settings: str) -> Generator[Installation]:
        ray = ray_hosts.ray
        of_ray = {"ULTRAMARINE_RAY_ADDRESS": ray.address, "ULTRAMARINE_RAY_TOKEN": str(ray.folder / "token")}
        of_ray["ULTRAMARINE_LISTEN"] = ray_hosts.network.address
        with installed(cache, **of_ray, **settings) as made:
            made.provider = "ray"
            yield made

    return install


@pytest.fixture(scope="package", params=["local", "ray"])
def install(request: pytest.FixtureRequest, cache: Path) -> Install:
    """Makes an installation of its own; the same tests hold on each kind."""
    if request.param == "ray":
        return request.getfixturevalue("on_ray")

    @contextmanager
    def here(**settings: str) -> Generator[Installation]:
        with installed(cache, **settings) as made:
            yield made

    return here
