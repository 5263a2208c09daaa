from pathlib import Path

from ultramarine.supervision.listening import Listening
from ultramarine.supervision.programs import installation


def test_the_door_is_closed_first_and_what_others_write_to_ends_last():
    assert [program.name for program in installation(Path("/h"), Listening(port=1, second_port=2))] == [
        "gateway",
        "control",
        "mlflow",
    ]


def test_the_control_plane_learns_where_it_is_reached():
    control = installation(Path("/h"), Listening.parse("10.0.0.5", port=8000, second_port=8001))[1]
    assert dict(control.variables) == {
        "ULTRAMARINE_HOME": "/h",
        "ULTRAMARINE_PORT": "8000",
        "ULTRAMARINE_SECOND_PORT": "8001",
        "ULTRAMARINE_LISTEN": "10.0.0.5:8000",
    }


def test_only_mlflow_may_still_be_preparing_when_all_is_called_ready():
    assert [p.name for p in installation(Path("/h"), Listening(port=1, second_port=2)) if not p.is_essential] == [
        "mlflow"
    ]
