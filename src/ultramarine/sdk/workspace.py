"""The way in: one workspace of one server."""

from typing import TYPE_CHECKING

from ultramarine.sdk.assets import Data, Environments, Models
from ultramarine.sdk.computes import Computes
from ultramarine.sdk.connection import Connection, find
from ultramarine.sdk.http import Client
from ultramarine.sdk.installation import Events, Installation, Tokens, Workspaces
from ultramarine.sdk.jobs import Jobs
from ultramarine.sdk.online_endpoints import OnlineDeployments, OnlineEndpoints

if TYPE_CHECKING:
    from ultramarine.sdk.snapshots import Progress


class Workspace:
    """One workspace of one server. Errors are those of `ultramarine.domain.errors`."""

    def __init__(self, connection: Connection, *, progress: "Progress | None" = None) -> None:
        self.connection = connection
        client = Client(connection)
        self.jobs = Jobs(client, progress=progress)
        self.computes = Computes(client, progress=progress)
        self.environments = Environments(client, progress=progress)
        self.data = Data(client, progress=progress)
        self.models = Models(client, progress=progress)
        self.online_endpoints = OnlineEndpoints(client, progress=progress)
        self.online_deployments = OnlineDeployments(client, progress=progress)
        self.events = Events(client)
        self.tokens = Tokens(client)
        self.workspaces = Workspaces(client)
        self.installation = Installation(client)

    @property
    def name(self) -> str:
        return self.connection.workspace

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        token: str | None = None,
        workspace: str | None = None,
        *,
        ca_file: str | None = None,
    ) -> "Workspace":
        """By the arguments, else ULTRAMARINE_URL and ULTRAMARINE_TOKEN, else by what `um up` wrote on this machine.

        `ca_file`: the CA (PEM) that alone is trusted by https, else ULTRAMARINE_CA_FILE, else this machine's own.
        """
        return cls(find(url, token, workspace, ca_file=ca_file))
