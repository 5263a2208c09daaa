"""Who may call an endpoint: keys of it alone, and tokens that the control plane knows."""

import json
from typing import Any

import pytest

from ultramarine_serving.http.server import Request, Response

from .running import AUTHORIZED, Gateway, Upstreams, endpoint

SCORE = "/endpoints/default/cancer/score"
OTHER_KEY = "8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a"  # SHA-256 of "k"


class Control:
    """Knows one token, `good`, for `default/cancer`."""

    def __init__(self, *, cache_s: float = 60) -> None:
        self.asked: list[dict[str, Any]] = []
        self._cache_s = cache_s

    def __call__(self, request: Request, /) -> Response:
        question = json.loads(request.body)
        self.asked.append(question)
        if question["token"] == "unknown":
            return Response(401, body=b'{"detail": "No such token."}')
        if (question["workspace"], question["endpoint"]) != ("default", "cancer"):
            return Response(403, body=b'{"detail": "It is for another endpoint."}')
        workspace = "other" if question["token"] == "strange" else "default"
        return Response(body=json.dumps({"workspace": workspace, "subject": "ada", "cache_s": self._cache_s}).encode())


async def use(gateway: Gateway, upstreams: Upstreams, control: Control) -> None:
    table = endpoint({"blue": [await upstreams.replica()]}, auth_mode="aml_token")
    authorizer = str((await upstreams.start(control)).addresses[0])
    await gateway.use()  # what was cached for another test is forgotten
    await gateway.use(endpoints={"default/cancer": table, "default/plant": table}, authorizer=authorizer)


async def ask(gateway: Gateway, authorization: str, path: str = SCORE) -> tuple[int, dict[str, Any]]:
    async with gateway.client() as client:
        answer = await client.post(path, headers={"authorization": authorization} if authorization else {})
    return answer.status_code, answer.json() if answer.status_code != 200 else {}


async def test_a_token_that_the_control_plane_knows_is_asked_about_once(gateway: Gateway, upstreams: Upstreams):
    control = Control()
    await use(gateway, upstreams, control)
    for _ in range(3):
        assert (await ask(gateway, "Bearer good"))[0] == 200
    asked = {"token": "good", "purpose": "endpoint", "workspace": "default", "endpoint": "cancer"}
    assert control.asked == [asked]


async def test_a_token_that_is_not_to_be_kept_is_asked_about_each_time(gateway: Gateway, upstreams: Upstreams):
    control = Control(cache_s=0)
    await use(gateway, upstreams, control)
    for _ in range(3):
        assert (await ask(gateway, "Bearer good"))[0] == 200
    assert len(control.asked) == 3


@pytest.mark.parametrize(
    ("authorization", "path", "status", "words"),
    [
        ("", SCORE, 401, "wants a token"),
        ("Basic good", SCORE, 401, "wants a token"),
        ("Bearer unknown", SCORE, 401, "No such token"),
        ("Bearer good", "/endpoints/default/plant/score", 403, "another endpoint"),
        ("Bearer strange", SCORE, 403, "another workspace"),
        ("Bearer the-key", "/endpoints/default/plant/score", 403, "another endpoint"),
    ],
)
async def test_no_token_or_another_is_refused_and_says_why(
    gateway: Gateway, upstreams: Upstreams, authorization: str, path: str, status: int, words: str
):
    await use(gateway, upstreams, Control())
    seen, said = await ask(gateway, authorization, path)
    assert (seen, words in said["detail"]) == (status, True)


async def test_without_a_control_plane_nobody_is_let_in(gateway: Gateway, upstreams: Upstreams):
    table = endpoint({"blue": [await upstreams.replica()]}, auth_mode="aml_token")
    broken = str((await upstreams.start(lambda request: Response(500))).addresses[0])
    await gateway.use(endpoints={"default/cancer": table}, authorizer=broken)
    async with gateway.client() as client:
        answer = await client.post(SCORE, headers={"authorization": "Bearer good"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


async def test_both_keys_are_good_and_one_may_be_replaced_without_a_gap(gateway: Gateway, upstreams: Upstreams):
    table = endpoint({"blue": [await upstreams.replica()]})
    first = table["keys_sha256"]
    for keys, first_is_good, other_is_good in (
        (first, 200, 403),
        ([*first, OTHER_KEY], 200, 200),
        ([OTHER_KEY], 403, 200),
    ):
        await gateway.use(endpoints={"default/cancer": {**table, "keys_sha256": keys}})
        assert (await ask(gateway, AUTHORIZED["authorization"]))[0] == first_is_good
        assert (await ask(gateway, "bearer  k"))[0] == other_is_good


async def test_the_key_of_another_endpoint_is_refused_everywhere(gateway: Gateway, upstreams: Upstreams):
    asked: list[str] = []

    def replica(request: Request, /) -> Response:
        if request.path != "/":
            asked.append(request.path)
        return Response()

    server = await upstreams.start(replica)
    cancer = endpoint({"blue": [str(server.addresses[0])]})
    await gateway.use(
        endpoints={
            "default/cancer": cancer,
            "default/plant": {**cancer, "keys_sha256": [OTHER_KEY]},
            "vision/cancer": {**cancer, "keys_sha256": [OTHER_KEY]},
            "default/closed": {**cancer, "keys_sha256": []},
        }
    )
    for name in ("default/plant", "vision/cancer", "default/closed"):
        for tail in ("/score", "/swagger.json", "/", "/v2", "/v2/health/ready", "/v2/models/m/infer", "/invocations"):
            for key, status in (("", 401), ("Bearer", 401), ("Bearer the-key", 403), ("Basic the-key", 401)):
                assert (await ask(gateway, key, f"/endpoints/{name}{tail}"))[0] == status
    assert asked == []
