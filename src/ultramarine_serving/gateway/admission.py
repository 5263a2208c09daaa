"""Who may call an endpoint: whoever has one of its keys, or a token that the control plane knows."""

from __future__ import annotations

import hashlib
import hmac

from ultramarine_serving.gateway.authorize import Authorizer, Denied, Unavailable
from ultramarine_serving.gateway.served import Endpoint
from ultramarine_serving.http.messages import Request, Response, problem

HOLD_S = 5.0  #: how long a request waits for a control plane that takes no connections


def bearer(request: Request) -> bytes:
    """What stands behind Bearer; empty where nothing does."""
    scheme, _, key = request.header(b"authorization").partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""


def refuse_key(request: Request, endpoint: Endpoint) -> Response | None:
    """None if the key is one of the endpoint's. All keys are compared, each in constant time."""
    key = bearer(request)
    if not key:
        return _unknown("Key missing", "The endpoint wants a key.", "KEY")
    digest = hashlib.sha256(key).digest()
    matches = 0
    for each in endpoint.keys_sha256:
        matches |= hmac.compare_digest(digest, each)
    if not matches:
        hint = "Take the key of this endpoint: um online-endpoint get-credentials."
        return problem(403, "Wrong key", "The key is not one of this endpoint's.", hint=hint)
    return None


async def refuse_token(request: Request, name: str, control: Authorizer | None) -> Response | None:
    """None if the control plane lets the token call the endpoint `workspace/endpoint`."""
    token = bearer(request).decode("latin-1")
    if not token:
        return _unknown("Token missing", "The endpoint wants a token.", "TOKEN")
    assert control is not None, "a table whose endpoints take tokens has an authorizer"
    workspace, _, endpoint = name.partition("/")
    try:
        grant = await control.grant(token, "endpoint", workspace=workspace, endpoint=endpoint, hold_s=HOLD_S)
    except Denied as error:
        if error.status == 401:
            return _unknown("Token unknown", f"{error or 'The token is not known'}.", "TOKEN")
        hint = error.hint or "Use a token with the right role."
        return problem(403, "Not allowed", f"{error or 'The token does not allow this'}.", hint=hint)
    except Unavailable as error:
        detail, hint = f"Who you are cannot be checked: {error}.", "Send it again after Retry-After."
        return problem(503, "No authorization", detail, hint=hint, headers=[(b"retry-after", b"2")])
    if grant.workspace != workspace:
        return problem(403, "Not allowed", "The token is for another workspace.", hint="Use one for this workspace.")
    return None


def _unknown(title: str, detail: str, what: str) -> Response:
    hint = f"Send the header Authorization: Bearer {what}; um online-endpoint get-credentials shows the {what.lower()}."
    return problem(401, title, detail, hint=hint, headers=[(b"www-authenticate", b'Bearer realm="endpoint"')])
