"""Online endpoints: their keys, their traffic."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ultramarine.domain.endpoint import DEPLOYMENT, Deployment, DeploymentEvent, Endpoint, EndpointSpec
from ultramarine.domain.errors import Conflict, InvalidInput
from ultramarine.domain.names import checked_name
from ultramarine.domain.page import Page, PageRequest
from ultramarine.planning.lately import Lately
from ultramarine.planning.traffic import Traffic
from ultramarine.services import endpoint_tokens, identity
from ultramarine.services.context import Context
from ultramarine.services.endpoint_tokens import EndpointToken
from ultramarine.services.secrets import sha256_of
from ultramarine.store import endpoints
from ultramarine.store.database import Tx

CHANGEABLE = ("auth_mode", "traffic", "mirror_traffic", "description", "tags")
ROUTING = ("traffic", "mirror_traffic")
KEY_TYPES = ("primary", "secondary")
IN_EFFECT_S = 2.0  #: a gateway that says nothing for longer reads the table by itself, or is away


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointState:
    """`traffic`: by deployment, what the gateway has counted; `lately`: of that, what came in the last minute."""

    endpoint: Endpoint
    deployments: Sequence[Deployment]
    traffic: Mapping[str, Traffic]
    lately: Mapping[str, Lately]


async def put(ctx: Context, workspace: str, name: str, body: Mapping[str, Any]) -> tuple[EndpointState, bool]:
    """Make an endpoint with two new keys, or change the one that is there. The second value: whether it is new.

    What a body does not say of traffic stays as it is: the same file again must not take an endpoint off the air.
    """
    checked_name("online endpoint", name)
    what = f"endpoint {name}"
    spec = EndpointSpec.read({**body, "name": body.get("name", name)}, what=what)
    if spec.name != name:
        raise InvalidInput(f"name: the body says {spec.name!r}, the address {name!r}.", hint="Use one name in both.")
    async with ctx.begin() as tx:
        await identity.require_workspace(tx, workspace)
        there = await endpoints.find(tx, workspace, name)
        if there is not None:
            kept = {field: value for field, value in there.spec.body().items() if field in ROUTING}
            spec = EndpointSpec.read(kept | spec.body(), what=what)
        await check_traffic(tx, workspace, spec)
        if there is None:
            await endpoints.add(tx, _new(ctx, workspace, spec))
        else:
            await endpoints.update(tx, there.with_spec(spec))
        state = await _state(ctx, tx, workspace, name)
    ctx.ring(ctx.serving)
    return state, there is None


def _new(ctx: Context, workspace: str, spec: EndpointSpec) -> Endpoint:
    return _with_keys(ctx, workspace, spec, (secrets.token_urlsafe(32), secrets.token_urlsafe(32)))


def _with_keys(ctx: Context, workspace: str, spec: EndpointSpec, keys: tuple[str, str]) -> Endpoint:
    return Endpoint(
        workspace=workspace,
        name=spec.name,
        spec=spec,
        keys_sha256=(sha256_of(keys[0]), sha256_of(keys[1])),
        keys_sealed=ctx.secrets.seal("\n".join(keys)),
        created_at=ctx.clock(),
    )


async def check_traffic(tx: Tx, workspace: str, spec: EndpointSpec) -> None:
    """Raises `InvalidInput` for a share that no deployment could take."""
    there = [d.name for d in await endpoints.deployments(tx, workspace, spec.name)]
    for field in ROUTING:
        for name, share in getattr(spec, field).items():
            if share and name not in there:
                raise InvalidInput(
                    f"{field}: {share} % is for {name!r}, which is no deployment of {spec.name}.",
                    hint=f"There is: {', '.join(there) or 'none yet'}. "
                    "Create the deployment first, then give it traffic.",
                )


async def update(ctx: Context, workspace: str, name: str, changes: Mapping[str, Any]) -> EndpointState:
    if unknown := [field for field in changes if field not in CHANGEABLE]:
        raise InvalidInput(
            f"{unknown[0]}: it cannot be changed.", hint=f"What can be changed: {', '.join(CHANGEABLE)}."
        )
    async with ctx.read() as tx:
        there = await endpoints.get(tx, workspace, name)
    state, _ = await put(ctx, workspace, name, {**there.spec.body(), **changes})
    return state


async def in_effect(ctx: Context) -> None:
    """Until the gateway goes by what was written, if it has a word for that in time."""
    await ctx.routed.after(ctx.serving.count, timeout_s=IN_EFFECT_S)


async def get(ctx: Context, workspace: str, name: str) -> EndpointState:
    async with ctx.read() as tx:
        return await _state(ctx, tx, workspace, name)


async def page(ctx: Context, workspace: str, request: PageRequest) -> Page[EndpointState]:
    async with ctx.read() as tx:
        await identity.require_workspace(tx, workspace)
        found = await endpoints.page(tx, workspace, request)
        behind = await endpoints.deployments(tx, workspace)
    return found.map(lambda each: _with_traffic(ctx, each, [d for d in behind if d.endpoint == each.name]))


async def delete(ctx: Context, workspace: str, name: str) -> EndpointState:
    """The address is gone at once; the deployments behind it end in their time."""
    async with ctx.begin() as tx:
        state = await _state(ctx, tx, workspace, name)
        for deployment in state.deployments:
            if DeploymentEvent.DELETE_ASKED in DEPLOYMENT.events(deployment.status):
                words = "Its endpoint was deleted."
                await endpoints.record(tx, deployment, DeploymentEvent.DELETE_ASKED, now=ctx.clock(), reason=words)
        await endpoints.remove(tx, workspace, name)
    ctx.ring(ctx.serving)
    return state


def _keys(ctx: Context, endpoint: Endpoint) -> tuple[str, str]:
    """Primary and secondary, as they were given out."""
    primary, secondary = ctx.secrets.unseal(endpoint.keys_sealed).split("\n")
    return primary, secondary


async def credentials(ctx: Context, workspace: str, name: str) -> tuple[str, str] | EndpointToken:
    """What a caller signs in with: both keys, or a token for an hour."""
    async with ctx.read() as tx:
        endpoint = await endpoints.get(tx, workspace, name)
    return endpoint_tokens.make(ctx, endpoint) if endpoint.spec.auth_mode == "aml_token" else _keys(ctx, endpoint)


def is_held(ctx: Context, endpoint: str, deployment: str) -> None:
    """A request waits for the first replica of a deployment. `endpoint`: `WORKSPACE/NAME`."""
    ctx.hub.held_at[endpoint, deployment] = ctx.clock()
    ctx.ring(ctx.serving)


async def regenerate_key(ctx: Context, workspace: str, name: str, key_type: str) -> None:
    """A new key of one type. The other one goes on being good: clients change over without a gap."""
    if key_type not in KEY_TYPES:
        raise InvalidInput(f"key_type: {key_type!r} is not known.", hint=f"Known are {' and '.join(KEY_TYPES)}.")
    fresh = secrets.token_urlsafe(32)
    async with ctx.begin() as tx:
        there = await endpoints.get(tx, workspace, name)
        primary, secondary = _keys(ctx, there)
        chosen = (fresh, secondary) if key_type == "primary" else (primary, fresh)
        new = _with_keys(ctx, workspace, there.spec, chosen)
        await endpoints.update(tx, replace(there, keys_sha256=new.keys_sha256, keys_sealed=new.keys_sealed))
    ctx.ring(ctx.serving)


def refuse_with_traffic(state: EndpointState, deployment: str) -> None:
    endpoint = state.endpoint
    if share := endpoint.spec.traffic.get(deployment, 0):
        command = f"um online-endpoint update -n {endpoint.name} --traffic {deployment}=0"
        raise Conflict(
            f"Deployment {deployment} has {share} % of the traffic of {endpoint.name}.",
            hint=f"Give its traffic to another first: {command}",
        )
    if share := endpoint.spec.mirror_traffic.get(deployment, 0):
        raise Conflict(
            f"{share} % of the traffic of {endpoint.name} is mirrored to deployment {deployment}.",
            hint=f"End that first: um online-endpoint update -n {endpoint.name} --mirror-traffic {deployment}=0",
        )


async def _state(ctx: Context, tx: Tx, workspace: str, name: str) -> EndpointState:
    endpoint = await endpoints.get(tx, workspace, name)
    return _with_traffic(ctx, endpoint, await endpoints.deployments(tx, workspace, name))


def _with_traffic(ctx: Context, endpoint: Endpoint, behind: Sequence[Deployment]) -> EndpointState:
    counted = {d.name: ctx.hub.traffic[d.place] for d in behind if d.place in ctx.hub.traffic}
    now = ctx.clock()
    seen = {d.name: ctx.hub.history.lately(d.place, counted[d.name], now) for d in behind if d.name in counted}
    lately = {name: each for name, each in seen.items() if each is not None}
    return EndpointState(endpoint=endpoint, deployments=behind, traffic=counted, lately=lately)
