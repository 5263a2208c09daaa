"""Who may speak to the server: the gateway, by the secret that it adds to every request, and nobody else.

There is no password, no login page, no cookie that signs in and no `?token=`: who somebody is has been settled by the
gateway. The secret is a header, so it proves nothing of the page that a browser's request comes from: such requests
are held to Jupyter's own checks (same origin, XSRF) all the same, which for a token it would leave out.
"""

import hmac

from jupyter_server.auth import IdentityProvider, User
from tornado import web
from traitlets import Unicode

REFUSED = "This is reached through the gateway of Ultramarine only: um compute connect -n NAME"
# What a program does not send. (It may keep cookies.) Each browser says its origin with what changes something.
BROWSER = ("Origin", "Referer", "Sec-Fetch-Site")


class Gateway(IdentityProvider):
    """Takes `Authorization: token SECRET`."""

    secret = owner = ""
    token = Unicode("")  # never a part of an address that is shown

    async def get_user(self, handler):
        kind, _, given = handler.request.headers.get("Authorization", "").partition(" ")
        known = hmac.compare_digest(given.encode("utf-8", "replace"), self.secret.encode())
        if kind.lower() != "token" or not self.secret or not known:
            # The page of the error asks for both.
            handler.current_user = handler._jupyter_current_user = None  # noqa: SLF001 (as Jupyter's own handlers do)
            raise web.HTTPError(403, REFUSED)
        return User(username=self.owner or "owner")

    def is_token_authenticated(self, handler):
        return not any(name in handler.request.headers for name in BROWSER)

    def get_handlers(self):
        return []

    @property
    def login_available(self):
        return False

    @property
    def logout_available(self):
        return False
