"""Who may: the dependencies that every route states in its signature."""

from typing import Annotated

from fastapi import Depends, Request

from ultramarine.domain.errors import NotAllowed, NotFound, NotSignedIn
from ultramarine.domain.identity import EVERY_WORKSPACE, Right, Token
from ultramarine.domain.names import NodeKey
from ultramarine.services import identity, nodes
from ultramarine.services.context import Context


# Not one of these waits, but what is not `async` would be called in a thread, at ten times the cost.
async def context(request: Request) -> Context:
    return request.app.state.ctx


Ctx = Annotated[Context, Depends(context)]


async def bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


Bearer = Annotated[str, Depends(bearer)]


async def _read(workspace: str, ctx: Ctx, token: Bearer) -> Token:
    return await identity.authorize(ctx, token, Right.READ, workspace)


async def _work(workspace: str, ctx: Ctx, token: Bearer) -> Token:
    return await identity.authorize(ctx, token, Right.WORK, workspace)


async def _operate(workspace: str, ctx: Ctx, token: Bearer) -> Token:
    return await identity.authorize(ctx, token, Right.OPERATE, workspace)


async def _own(ctx: Ctx, token: Bearer) -> Token:
    return await identity.authorize(ctx, token, Right.OWN, EVERY_WORKSPACE)


async def _observe(ctx: Ctx, token: Bearer) -> Token:
    return await identity.authorize(ctx, token, Right.READ, EVERY_WORKSPACE)


async def _anyone(ctx: Ctx, token: Bearer) -> Token:
    return await identity.signed_in(ctx, token)


async def _node(ctx: Ctx, token: Bearer) -> NodeKey:
    return await nodes.signed_in(ctx, token)


async def _browser(workspace: str, request: Request) -> None:
    """One that is signed in to the second origin: the gateway says for which workspaces, and nobody else can."""
    reach = request.headers.get("x-ultramarine-reach", "")
    if not reach:
        raise NotSignedIn("This page wants you to be signed in.", hint="Get a link: um notebook show NAME")
    if reach not in (EVERY_WORKSPACE, workspace):
        raise NotAllowed(
            f"You are signed in for workspace {reach!r}, and this page is of {workspace!r}.",
            hint=f"Get a link by a token of that workspace: um notebook show NAME -w {workspace}",
        )


async def _inside(request: Request, ctx: Ctx) -> None:
    """Parts of this installation, which read the secret from the home.

    For everybody else the address does not exist.
    """
    if not ctx.secrets.matches(request.headers.get("x-ultramarine-internal", ""), "internal"):
        raise NotFound("address", request.url.path, hint="/api/v1/openapi.json lists every address.")


Reader = Annotated[Token, Depends(_read)]
Worker = Annotated[Token, Depends(_work)]
Operator = Annotated[Token, Depends(_operate)]
Owner = Annotated[Token, Depends(_own)]
Observer = Annotated[Token, Depends(_observe)]
SignedIn = Annotated[Token, Depends(_anyone)]
OfNode = Annotated[NodeKey, Depends(_node)]
Browser = Annotated[None, Depends(_browser)]
Inside = Annotated[None, Depends(_inside)]
