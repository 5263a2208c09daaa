"""Where the server is found."""

import json
from pathlib import Path

import pytest

from ultramarine.domain.errors import InvalidInput, Unavailable
from ultramarine.sdk.connection import Connection, find, home, instances_port, port, second_port


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A home in which a server has written where it is."""
    (tmp_path / "connection.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "token": "of-the-home"}))
    return {"ULTRAMARINE_HOME": str(tmp_path)}


def test_the_home_is_found_when_nothing_else_is_said(environ: dict[str, str]):
    assert find(environ=environ) == Connection(url="http://127.0.0.1:1", token="of-the-home", workspace="default")


def test_arguments_go_before_the_environment(environ: dict[str, str]):
    environ |= {"ULTRAMARINE_URL": "http://e:2", "ULTRAMARINE_TOKEN": "e", "ULTRAMARINE_WORKSPACE": "w"}
    assert find(environ=environ) == Connection(url="http://e:2", token="e", workspace="w")
    assert find("http://a:3/", "a", "v", environ=environ) == Connection(url="http://a:3", token="a", workspace="v")


def test_the_token_of_the_home_is_shown_to_no_other_server(environ: dict[str, str]):
    assert find("http://elsewhere:80", environ=environ).token == ""
    assert find("http://127.0.0.1:1/", environ=environ).token == "of-the-home"


def test_without_a_server_the_error_says_how_to_start_one(tmp_path: Path):
    with pytest.raises(Unavailable) as refused:
        find(environ={"ULTRAMARINE_HOME": str(tmp_path)})
    assert "um up -d" in refused.value.hint
    assert str(tmp_path / "connection.json") in str(refused.value)


def test_a_broken_connection_file_is_named(tmp_path: Path):
    (tmp_path / "connection.json").write_text("{")
    with pytest.raises(Unavailable, match=r"connection\.json cannot be read"):
        find(environ={"ULTRAMARINE_HOME": str(tmp_path)})


def test_an_address_is_http(environ: dict[str, str]):
    with pytest.raises(InvalidInput, match="neither with http://"):
        find("localhost:7770", environ=environ)


def test_a_token_does_not_get_into_a_log_by_chance():
    assert "secret" not in repr(Connection(url="http://a", token="secret", workspace="w"))


def test_the_home_is_in_the_users_data_folder():
    assert home({}).name == "ultramarine"


def test_the_port_of_an_installation_is_that_of_the_environment(environ: dict[str, str]):
    assert port(environ) == 7770
    assert port({**environ, "ULTRAMARINE_PORT": "7790"}) == 7790
    for wrong in ("no", "0", "65535", "-1"):
        with pytest.raises(InvalidInput, match="ULTRAMARINE_PORT"):
            port({"ULTRAMARINE_PORT": wrong})


def test_the_port_of_instances_is_that_of_the_environment_else_the_one_after_both_the_others(environ: dict[str, str]):
    assert instances_port(7790, 7791, environ) == 7792
    assert instances_port(7790, 7700, environ) == 7791
    assert instances_port(7790, 7791, {**environ, "ULTRAMARINE_INSTANCES_PORT": "9000"}) == 9000
    with pytest.raises(InvalidInput, match="ULTRAMARINE_INSTANCES_PORT"):
        instances_port(7790, 7791, {"ULTRAMARINE_INSTANCES_PORT": "0"})


def test_the_second_port_is_that_of_the_environment_else_the_next_one(environ: dict[str, str]):
    assert second_port(7790, environ) == 7791
    assert second_port(7790, {**environ, "ULTRAMARINE_SECOND_PORT": "9000"}) == 9000
    with pytest.raises(InvalidInput, match="ULTRAMARINE_SECOND_PORT"):
        second_port(7790, {"ULTRAMARINE_SECOND_PORT": "65536"})
