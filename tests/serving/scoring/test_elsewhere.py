"""A replica for a gateway on another machine: TLS at a port, and a secret that its script is not shown."""

import http.client
import json
import ssl
from pathlib import Path

from tests import certificates
from tests.serving.scoring.conftest import StartScript

SECRET = "7" * 64
TELLS = """
from azureml.contrib.services.aml_request import rawhttp

def init():
    pass

@rawhttp
def run(request):
    return {name.lower(): value for name, value in request.headers.items()}
"""


def test_it_answers_who_says_the_secret_by_tls_and_nobody_else(start_script: StartScript, tmp_path: Path):
    issuer = certificates.issuer()
    pem, secret = tmp_path / "tls.pem", tmp_path / "secret"
    pem.write_text(issuer.issue("e1-r-1"))
    secret.write_text(SECRET)
    server = start_script(TELLS, "--tls", str(pem), "--secret", str(secret), address="127.0.0.1:0")
    server.wait_until_it_says("Ready.")
    host, _, port = server.port_address.rpartition(":")

    def ask(path: str, *, secret: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(host, int(port), timeout=30, context=_by_name(issuer))
        try:
            headers = {"x-ultramarine-secret": secret} if secret else {}
            connection.request("GET" if body is None else "POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    assert [ask(path, secret="")[0] for path in ("/", "/health/live", "/health/ready", "/score", "/x")] == [401] * 5
    assert ask("/health/ready", secret="8" * 64)[0] == 401
    assert ask("/health/ready", secret=SECRET)[0] == 200
    status, content = ask("/score", secret=SECRET, body=b"{}")
    assert status == 200
    assert "x-ultramarine-secret" not in json.loads(content)
    assert SECRET not in server.log
    assert SECRET not in Path(f"/proc/{server.process.pid}/cmdline").read_text()


def test_a_secret_that_cannot_be_read_or_is_empty_lets_nobody_in(start_script: StartScript, tmp_path: Path):
    (tmp_path / "empty").write_text("\n")
    for name, words in (("missing", "cannot be read"), ("empty", "is empty")):
        server = start_script(TELLS, "--secret", str(tmp_path / name))
        assert server.wait() == 2
        assert words in server.log


def _by_name(issuer: certificates.Issuer) -> ssl.SSLContext:
    """Its name is that of a run, its address any."""
    made = certificates.client(issuer)
    made.check_hostname = False
    return made
