"""The loop that removes workspaces whose end was asked for, once nothing lives in them."""

from ultramarine.domain.errors import Unavailable
from ultramarine.services import workspaces
from ultramarine.services.context import Context


class WorkspaceLoop:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def tick(self) -> None:
        """Remove what has ended. A tracking server that does not answer is asked again at a later turn."""
        try:
            await workspaces.purge(self._ctx)
        except Unavailable:
            return
