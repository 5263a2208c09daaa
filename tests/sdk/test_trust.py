"""Whom the client believes by https, and its words for whom it does not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests import certificates
from tests.tls_server import answering

from ultramarine.domain.errors import InvalidInput, Unavailable
from ultramarine.sdk.connection import Connection, find
from ultramarine.sdk.http import Client

ISSUER = certificates.issuer()
Ask = Callable[[str], object]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Ask an address, trusting our issuer."""
    (tmp_path / "ca.pem").write_text(ISSUER.pem)

    def asked(url: str) -> object:
        connection = Connection(url=url, token="t", workspace="w", ca_file=str(tmp_path / "ca.pem"))
        return Client(connection).get("/")

    return asked


def test_a_server_of_that_ca_is_believed(ask: Ask):
    with answering(ISSUER.issue("127.0.0.1")) as port:
        assert ask(f"https://127.0.0.1:{port}") == {}


@pytest.mark.parametrize(
    ("certificate", "said", "hint"),
    [
        (certificates.issuer().issue("127.0.0.1"), "nobody trusted here has signed", "ULTRAMARINE_CA_FILE=FILE"),
        (ISSUER.issue("10.0.0.5", "gpu.example"), "has a certificate for other names", "ULTRAMARINE_LISTEN_NAMES="),
        (ISSUER.issue("127.0.0.1", days=-0.1), "has ended, by the clock of this machine", "Compare the clocks"),
        ("", "does not speak TLS as expected", "Look at the port"),
    ],
)
def test_another_is_not_and_why_is_said(ask: Ask, certificate: str, said: str, hint: str):
    with answering(certificate) as port, pytest.raises(Unavailable) as refused:
        ask(f"https://127.0.0.1:{port}")
    assert said in str(refused.value)
    assert f"https://127.0.0.1:{port}" in str(refused.value)
    assert hint in refused.value.hint


def test_what_the_system_trusts_does_not_count_beside_a_ca_of_ones_own_and_is_all_without_one(ask: Ask):
    with answering(ISSUER.issue("127.0.0.1")) as port, pytest.raises(Unavailable, match="nobody trusted here"):
        Client(Connection(url=f"https://127.0.0.1:{port}", token="", workspace="w")).get("/")


def test_a_ca_file_that_is_none_is_named(tmp_path: Path):
    (tmp_path / "ca.pem").write_text("nothing")

    def connection(file: str) -> Connection:
        return Connection(url="https://127.0.0.1:1", token="", workspace="w", ca_file=str(tmp_path / file))

    for file in ("none.pem", "ca.pem"):
        with pytest.raises(InvalidInput, match=f"The CA file {tmp_path / file} cannot be read"):
            Client(connection(file)).get("/")


def test_the_ca_is_the_arguments_else_the_environments_else_what_lies_with_the_token(tmp_path: Path):
    (tmp_path / "connection.json").write_text('{"url": "https://a:1", "token": "t", "ca_file": "/written"}')
    environ = {"ULTRAMARINE_HOME": str(tmp_path)}
    assert find(environ=environ).ca_file == "/written"
    assert find("https://b:2", environ=environ).ca_file == ""
    environ["ULTRAMARINE_CA_FILE"] = "/of-the-environment"
    assert find(environ=environ).ca_file == "/of-the-environment"
    assert find(ca_file="/said", environ=environ).ca_file == "/said"
