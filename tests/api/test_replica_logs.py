"""The logs of a deployment's replicas: of which one, and how much."""

from tests.api.conftest import Api
from tests.unit.test_deployments import make_deployment, make_replica
from tests.unit.test_routes import make_endpoint

from ultramarine.domain.run import Run, RunStatus
from ultramarine.files.logs import LogPlace
from ultramarine.store import endpoints, runs

BLUE = "/api/v1/workspaces/w/online-endpoints/cancer/deployments/blue"
REPLICA = "x-ultramarine-replica"


async def deployed(api: Api) -> list[Run]:
    """Three replicas, of which the first has ended and the last has not written yet."""
    deployment = make_deployment(serving={}, replicas_made=3)
    ended = make_replica(1, workspace="w", status=RunStatus.FAILED)
    replicas = [ended, make_replica(2, workspace="w"), make_replica(3, workspace="w", status=RunStatus.QUEUED)]
    async with api.ctx.begin() as tx:
        await endpoints.add(tx, make_endpoint())
        await endpoints.add_deployment(tx, deployment)
        for each in replicas:
            await runs.add(tx, each, {})
    return replicas


def write(api: Api, replica: Run, text: bytes) -> None:
    api.ctx.logs.append(LogPlace(run=replica.key, rank="0", file="std_log.txt"), text, offset=0)


async def test_the_newest_that_has_written_is_shown_and_any_other_by_its_number(api: Api) -> None:
    replicas = await deployed(api)
    nothing = await api.ask("GET", f"{BLUE}/logs")
    assert (nothing.status_code, nothing.text, REPLICA in nothing.headers) == (200, "", False)
    write(api, replicas[0], b"one\ntwo\nout of memory\n")
    write(api, replicas[1], b"serves\n")
    newest = await api.ask("GET", f"{BLUE}/logs", token="reader")
    assert (newest.text, newest.headers[REPLICA]) == ("serves\n", "2")
    ended = await api.ask("GET", f"{BLUE}/logs", params={"replica": 1, "tail": 2})
    assert (ended.text, ended.headers[REPLICA]) == ("two\nout of memory\n", "1")
    queued = await api.ask("GET", f"{BLUE}/logs", params={"replica": 3})
    assert (queued.status_code, queued.text, queued.headers[REPLICA]) == (200, "", "3")


async def test_one_that_there_never_was_is_refused(api: Api) -> None:
    await deployed(api)
    refused = await api.ask("GET", f"{BLUE}/logs", params={"replica": 4})
    assert refused.status_code == 404
    assert refused.json()["detail"] == "There is no replica named '4'."
    assert refused.json()["hint"] == "um online-deployment show -e cancer -n blue"
    assert (await api.ask("GET", f"{BLUE}/logs", params={"replica": 0})).status_code == 422
