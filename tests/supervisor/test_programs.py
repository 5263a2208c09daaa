from pathlib import Path

import pytest

from ultramarine.supervision.errors import CannotStart
from ultramarine.supervision.listening import Listening
from ultramarine.supervision.programs import installation


def test_the_door_is_closed_first_and_what_others_write_to_ends_last():
    assert [
        program.name for program in installation(Path("/h"), Listening(port=1, second_port=2, instances_port=3))
    ] == [
        "gateway",
        "control",
        "mlflow",
    ]


def test_the_control_plane_learns_where_it_is_reached():
    control = installation(Path("/h"), Listening.parse("10.0.0.5", port=8000, second_port=8001, instances_port=8002))[1]
    assert dict(control.variables) == {
        "ULTRAMARINE_HOME": "/h",
        "ULTRAMARINE_PORT": "8000",
        "ULTRAMARINE_SECOND_PORT": "8001",
        "ULTRAMARINE_INSTANCES_PORT": "8002",
        "ULTRAMARINE_LISTEN": "10.0.0.5:8000",
    }


def test_only_mlflow_may_still_be_preparing_when_all_is_called_ready():
    assert [
        p.name
        for p in installation(Path("/h"), Listening(port=1, second_port=2, instances_port=3))
        if not p.is_essential
    ] == ["mlflow"]


def test_a_head_of_ray_is_one_more_part_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ULTRAMARINE_RAY_HEAD", "10.0.0.1:6379")
    ray = installation(Path("/h"), Listening(port=1, second_port=2, instances_port=3))[-1]
    assert (ray.name, ray.is_essential) == ("ray-head", False)
    assert ray.argv[-4:] == ("--home", "/h", "--address", "10.0.0.1:6379")


@pytest.mark.parametrize("address", ["10.0.0.1", ":6379", "true"])
def test_a_head_without_address_or_port_is_refused_before_anything_is_started(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ULTRAMARINE_RAY_HEAD", address)
    with pytest.raises(CannotStart, match="ULTRAMARINE_RAY_HEAD"):
        installation(Path("/h"), Listening(port=1, second_port=2, instances_port=3))
