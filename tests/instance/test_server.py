"""An instance is JupyterLab, for the gateway alone."""

import stat
from pathlib import Path

import pytest
from tests.instance.conftest import Begin
from tests.instance.control import TOKEN
from tests.instance.running import BASE, SECRET, Instance, until


def test_it_serves_jupyterlab_and_its_home_below_its_path(shared: Instance):
    shared.home.joinpath("mine.txt").write_text("here")
    with shared.client() as client:
        page = client.get("lab")
        assert page.status_code == 200
        assert "JupyterLab" in page.text
        assert "frame-ancestors 'self'" in page.headers["Content-Security-Policy"]
        assert client.get("api/contents/mine.txt").json()["content"] == "here"
        assert client.get("http://instance/api/status").status_code in (302, 404)
    assert stat.S_IMODE(shared.socket.stat().st_mode) == 0o600


WITHOUT = [{}, {"Authorization": "token wrong"}, {"Authorization": f"Bearer {SECRET}"}, {"Authorization": "token"}]


@pytest.mark.parametrize("headers", WITHOUT, ids=str)
def test_who_does_not_come_from_the_gateway_gets_nothing(shared: Instance, headers: dict[str, str]):
    with shared.stranger(**headers) as stranger:
        for path in (
            "lab",
            "api/status",
            "api/contents",
            "login",
            "api/kernels/0/channels",
            "terminals/websocket/1",
        ):
            answer = stranger.get(path)
            assert answer.status_code in (403, 404), path
            assert "set-cookie" not in answer.headers or "username" not in answer.headers["set-cookie"]
        assert stranger.get("api/status", params={"token": SECRET}).status_code == 403
        refused = stranger.post("api/kernels", json={})
        assert refused.status_code == 403
        assert "um compute connect" in refused.json()["message"]


def test_a_page_of_another_origin_cannot_act_though_the_gateway_adds_the_secret(shared: Instance):
    foreign = {"Origin": "http://elsewhere:1", "Sec-Fetch-Site": "cross-site", "Cookie": "a=b"}
    with shared.client(**foreign) as page:
        assert page.post("api/kernels", json={}).status_code in (403, 404)
        assert "Access-Control-Allow-Origin" not in page.get("api/status").headers
    own = {"Origin": "http://instance", "Sec-Fetch-Site": "same-origin"}
    with shared.client(**own) as page:
        assert page.post("api/terminals").status_code == 403  # no XSRF token
        page.get("lab")
        token = page.cookies["_xsrf"]
        assert page.post("api/terminals", headers={"X-XSRFToken": token}).status_code == 200
    with shared.client() as program:
        assert len(program.get("api/terminals").json()) == 1


def test_a_file_of_its_owner_opens_no_other_door(begin: Begin, short: Path):
    folder = short / "home" / ".jupyter"
    folder.mkdir(parents=True)
    folder.joinpath("jupyter_server_config.py").write_text(
        "c.ServerApp.base_url = '/'\n"
        "c.ServerApp.sock = ''\n"
        "c.ServerApp.port = 1\n"
        "c.ServerApp.allow_origin = '*'\n"
        "c.ServerApp.allow_unauthenticated_access = True\n"
        "c.ServerApp.disable_check_xsrf = True\n"
        "c.ServerApp.tornado_settings = {'headers': {'Access-Control-Allow-Origin': '*'}}\n"
        "c.IdentityProvider.token = ''\n"
        "c.Gateway.secret = ''\n"
        "c.FileContentsManager.hide_globs = ['secret-*']\n"  # and what harms nobody is taken
    )
    short.joinpath("home", "secret-1").touch()
    instance = begin().until_it_answers()
    with instance.stranger() as stranger:
        assert stranger.get("api/status").status_code == 403
    with instance.client(Origin="http://elsewhere") as page:
        assert page.post("api/terminals").status_code in (403, 404)
        assert "Access-Control-Allow-Origin" not in page.get("api/status").headers
    with instance.client() as client:
        assert "secret-1" not in client.get("api/contents").text


@pytest.mark.slow
def test_killed_or_stopped_it_leaves_no_kernel_and_no_secret_in_its_log(begin: Begin):
    killed = begin().until_it_answers()
    assert killed.execute(killed.begin("python3"), "open('kept', 'w').close()")[0]["status"] == "ok"
    assert killed.kernels()
    killed.process.kill()
    until(lambda: not killed.kernels(), killed)

    instance = begin().until_it_answers()
    assert instance.home.joinpath("kept").exists()
    assert instance.execute(instance.begin("python3"), "1 + 1")[0]["result"] == "2"
    with instance.client() as client:
        client.post("api/terminals")
        client.get("api/nothing", params={"token": SECRET})
    assert instance.kernels()
    assert instance.stop() == 0
    assert instance.kernels() == []
    assert not list(instance.folder.glob("kernels/*"))
    assert BASE in instance.log
    assert SECRET not in instance.log
    assert TOKEN not in instance.log
