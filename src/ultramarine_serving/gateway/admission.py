"""Who may call an endpoint: whoever has one of its keys, or a token that the control plane knows."""

from __future__ import annotations

import hashlib
import hmac

from ultramarine_serving.gateway.served import Endpoint
from ultramarine_serving.http.messages import Request, Response, problem


def bearer(request: Request) -> bytes:
    """What stands behind Bearer; empty where nothing does."""
    scheme, _, key = request.header(b"authorization").partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""


def refuse_key(request: Request, endpoint: Endpoint) -> Response | None:
    """None if the key is one of the endpoint's. All keys are compared, each in constant time."""
    key = bearer(request)
    if not key:
        return key_missing("The endpoint wants a key.")
    digest = hashlib.sha256(key).digest()
    matches = 0
    for each in endpoint.keys_sha256:
        matches |= hmac.compare_digest(digest, each)
    if not matches:
        hint = "Take the key of this endpoint: um online-endpoint get-credentials."
        return problem(403, "Wrong key", "The key is not one of this endpoint's.", hint=hint)
    return None


def key_missing(detail: str) -> Response:
    hint = "Send the header Authorization: Bearer KEY; um online-endpoint get-credentials shows the key."
    headers = [(b"www-authenticate", b'Bearer realm="endpoint"')]
    return problem(401, "Key missing", detail, hint=hint, headers=headers)
