"""Whom a runner takes for the control plane, what it says of others, and what its jobs are told of it."""

from typing import Any

import pytest
from tests import certificates
from tests.runner.conftest import World, make_spec
from tests.tls_server import answering

from ultramarine_runner import ranks, spec
from ultramarine_runner.ranks import Places
from ultramarine_runner.spec import Wanted
from ultramarine_runner.wire import Channel, Unreachable

ISSUER = certificates.issuer()
GO = Wanted("go", 10.0)


def ask(port: int, ca: str | None = ISSUER.pem) -> int:
    return Channel(f"https://127.0.0.1:{port}", ca=ca).request("GET", "/").status


def test_a_server_of_its_ca_is_believed():
    with answering(ISSUER.issue("127.0.0.1")) as port:
        assert ask(port) == 200


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        (certificates.issuer().issue("127.0.0.1"), "not trusted here: unable to get local issuer certificate"),
        (ISSUER.issue("10.0.0.5"), "not trusted here: IP address mismatch"),
        (ISSUER.issue("127.0.0.1", days=-0.1), "not trusted here: certificate has expired"),
        ("", "does not speak TLS as expected"),
    ],
)
def test_another_is_not_and_why_is_said(certificate: str, said: str):
    with answering(certificate) as port, pytest.raises(Unreachable, match=said):
        ask(port)


def test_without_a_ca_it_trusts_what_its_machine_trusts():
    with answering(ISSUER.issue("127.0.0.1")) as port, pytest.raises(Unreachable, match="not trusted here"):
        ask(port, ca=None)


def test_a_runner_says_in_its_log_once_why_it_is_not_heard(world: World):
    with answering(certificates.issuer().issue("127.0.0.1")) as port:
        folder = world.make_folder("e1-a-1", url=f"https://127.0.0.1:{port}", ca=ISSUER.pem)
        world.start(folder, "e1-a-1")
        log = folder / "runner.log"
        world.control.wait(lambda: "not trusted here" in log.read_text(), words="why")
        assert log.read_text().count("not trusted here") == 1


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"server": "http://here:1"}, "http://here:1/mlflow\n"),
        ({"server": "https://there:2", "ca": "PEM"}, "https://there:2/mlflow\nPEM"),
    ],
)
def test_jobs_are_told_the_server_as_their_node_reaches_it_and_its_ca(world: World, told: dict[str, Any], said: str):
    token = world.runner(**told)
    variables = {"WHERE": "{{server}}/mlflow", "WHOM": "{{ca}}"}
    command = 'echo "$WHERE"; [ -z "$WHOM" ] || cat "$WHOM"'
    world.go(token, "e1-j1-1", command, environment_variables=variables)
    assert world.control.ended("e1-j1-1")["cause"] == "completed"
    assert world.control.log("e1-j1-1") == said


def test_without_a_ca_the_variable_for_it_is_not_there_at_all():
    node = ranks.Node("a", (), 1.0, {"PATH": "/bin"}, "/bin/sh")
    read = spec.read(make_spec("true", environment_variables={"WHOM": "{{ca}}"}))
    for ca, there in (("", None), ("/f/ca.pem", "/f/ca.pem")):
        places = Places(folder="/f", python="/py", ca=ca)
        [launch] = ranks.launches("k", read, places, wanted=GO, node=node)
        assert launch.environment.get("WHOM") == there
