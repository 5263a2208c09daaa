"""The gateway's route table follows from what is stored."""

from dataclasses import replace
from typing import Any

import pytest
from tests.factories import NOON
from tests.unit.test_deployments import make_deployment, make_replica

from ultramarine.domain.endpoint import (
    Deployment,
    DeploymentStatus,
    Endpoint,
    EndpointSpec,
    RequestSettings,
    TargetUtilization,
)
from ultramarine.domain.run import Run, RunStatus
from ultramarine.planning.routes import Place, Trust, Upstreams, moving, place_of, render

UPSTREAMS = Upstreams(control="unix:/c.sock", mlflow="unix:/m.sock")
UP = {"http": "unix:/r.sock"}


def make_endpoint(**traffic: int) -> Endpoint:
    spec = EndpointSpec(name="cancer", traffic=traffic)
    keys = ("a" * 64, "b" * 64)
    return Endpoint(workspace="w", name="cancer", spec=spec, keys_sha256=keys, keys_sealed="sealed", created_at=NOON)


def rendered(endpoint: Endpoint, deployments: list[Deployment], replicas: list[Run]) -> dict[str, Any]:
    return render(UPSTREAMS, [endpoint], deployments, replicas=replicas, trust=Trust())["endpoints"]["w/cancer"]


def test_a_replica_is_in_the_table_while_it_runs_and_listens():
    running, silent = make_replica(1, sockets=UP), make_replica(2, sockets=UP, status=RunStatus.NOT_RESPONDING)
    going = make_replica(3, sockets=UP, status=RunStatus.CANCEL_REQUESTED)
    preparing = make_replica(4, status=RunStatus.PREPARING)
    table = rendered(make_endpoint(blue=100), [make_deployment()], [running, silent, going, preparing])
    assert [replica["id"] for replica in table["deployments"]["blue"]["replicas"]] == [running.key, silent.key]


def test_a_deployment_that_is_being_deleted_is_out_of_the_table_with_its_traffic():
    table = rendered(make_endpoint(blue=100), [make_deployment(status=DeploymentStatus.DELETING)], [])
    assert (table["deployments"], table["traffic"]) == ({}, {})


def test_replicas_of_another_deployment_are_not_mixed_in():
    other = replace(make_replica(1, sockets=UP), owner_id="d2")
    assert rendered(make_endpoint(), [make_deployment()], [other])["deployments"]["blue"]["replicas"] == []


def test_each_deployment_has_the_limits_of_its_own_request_settings():
    settings = RequestSettings(request_timeout_ms=90_000, max_concurrent_requests_per_instance=2, max_queue_wait_ms=10)
    blue = make_deployment()
    slow = replace(blue, id="d2", name="green", spec=blue.spec.model_copy(update={"request_settings": settings}))
    table = rendered(make_endpoint(), [blue, slow], [])["deployments"]
    said = {name: (d["request_timeout_s"], d["queue_wait_s"], d["max_concurrent"]) for name, d in table.items()}
    assert said == {"blue": (5.0, 0.5, 64), "green": (90.0, 0.01, 2)}


def test_a_deployment_that_may_shrink_to_nothing_says_how_long_a_request_may_wait_for_it():
    blue = make_deployment()
    elastic = TargetUtilization(type="target_utilization", min_instances=0, max_instances=4, scale_up_timeout=90)
    asleep = replace(blue, spec=blue.spec.model_copy(update={"scale_settings": elastic}))
    assert rendered(make_endpoint(), [asleep], [])["deployments"]["blue"]["hold_s"] == 90
    assert rendered(make_endpoint(), [blue], [])["deployments"]["blue"]["hold_s"] == 0


def test_what_is_mirrored_is_in_the_table_as_long_as_its_deployment_is():
    endpoint = make_endpoint()
    mirrored = replace(endpoint, spec=endpoint.spec.model_copy(update={"mirror_traffic": {"blue": 10}}))
    assert rendered(mirrored, [make_deployment()], [])["mirror"] == {"blue": 10}
    assert rendered(mirrored, [make_deployment(status=DeploymentStatus.DELETING)], [])["mirror"] == {}


def test_keys_are_in_the_table_as_hashes_only():
    text = str(render(UPSTREAMS, [make_endpoint()], [], replicas=[], trust=Trust()))
    assert "a" * 64 in text
    assert "sealed" not in text


def test_mlflow_is_reached_with_a_token_at_one_origin_and_with_a_session_at_the_other():
    sites = {(s["listener"], s["prefix"]): s for s in render(UPSTREAMS, [], [], replicas=[], trust=Trust())["sites"]}
    assert sites["api", "/mlflow/"]["authorize"] == "workspace"
    assert sites["api", "/mlflow/"]["allow"]
    assert sites["second", "/mlflow/"]["authorize"] == "cookie"
    assert ("second", "/api/") not in sites


def test_pages_of_notebooks_are_on_the_second_origin_alone():
    sites = {(s["listener"], s["prefix"]): s for s in render(UPSTREAMS, [], [], replicas=[], trust=Trust())["sites"]}
    assert [listener for listener, prefix in sites if prefix == "/pages/"] == ["second"]
    site = sites["second", "/pages/"]
    assert (site["authorize"], site["upstream"]) == ("cookie", UPSTREAMS.control)
    assert site["reach_header"] == "x-ultramarine-reach", "by which the control plane knows for which workspaces"


def test_the_version_alone_is_no_news():
    assert moving({"version": 1, "endpoints": {}}) == moving({"version": 2, "endpoints": {}})


# Replicas on other machines

TRUST = Trust(ca="PEM", secrets={"d1": "s" * 64})
FAR = {"http": "10.0.0.7:41234"}


def rendered_far(*replicas: Run) -> dict[str, Any]:
    return render(UPSTREAMS, [make_endpoint(blue=100)], [make_deployment()], replicas=replicas, trust=TRUST)


def test_a_replica_on_another_machine_is_known_by_the_name_of_its_run_and_knows_a_secret():
    run = make_replica(1, sockets=FAR)
    table = rendered_far(run)
    [replica] = table["endpoints"]["w/cancer"]["deployments"]["blue"]["replicas"]
    assert (replica["address"], replica["tls"]) == ("10.0.0.7:41234", {"name": run.key, "secret": "s" * 64})
    assert table["ca"] == "PEM"
    assert place_of(run, TRUST) == Place(address="10.0.0.7:41234", name=run.key, ca="PEM", secret="s" * 64)


def test_where_no_replica_is_elsewhere_the_table_says_nothing_of_it():
    table = render(
        UPSTREAMS, [make_endpoint()], [make_deployment()], replicas=[make_replica(1, sockets=UP)], trust=Trust()
    )
    [replica] = table["endpoints"]["w/cancer"]["deployments"]["blue"]["replicas"]
    assert "tls" not in replica
    assert table["ca"] is None


@pytest.mark.parametrize(
    "said",
    [
        "unix:/home/control.sock",
        "",
        "10.0.0.7",
        "10.0.0.7:99999",
        "10.0.0.7:80/x",
        "10.0.0.7:80\r\nx",
        "[::1:80",
        ":80",
    ],
)
def test_a_node_elsewhere_cannot_send_the_gateway_where_it_likes(said: str):
    assert place_of(make_replica(1, sockets={"http": said}), TRUST) is None
    table = rendered_far(make_replica(1, sockets={"http": said}))
    assert table["endpoints"]["w/cancer"]["deployments"]["blue"]["replicas"] == []


def test_a_node_here_has_no_port_to_name():
    assert place_of(make_replica(1, sockets=FAR), Trust()) is None


def test_a_secret_is_in_no_words_of_what_holds_it():
    assert "s" * 64 not in repr(TRUST) + repr(place_of(make_replica(1, sockets=FAR), TRUST))
