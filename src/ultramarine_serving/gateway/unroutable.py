"""Why a request cannot be given to a replica now.

Unroutable
├── UnknownDeployment   404: the request is pinned to one that does not exist
├── NoTraffic           503: no deployment of the endpoint has a share of the traffic
├── NoReplica           503: no replica answers the gateway's probe
├── QueueFull           429: as many requests wait as may
└── WaitedTooLong       429: no replica was free in time
Left                    the deployment left the table while the request waited: another may be chosen
"""

from __future__ import annotations


class Unroutable(Exception):
    """The request cannot be given to a replica now."""


class UnknownDeployment(Unroutable):
    """The text is its name."""


class NoTraffic(Unroutable):
    """No deployment of the endpoint has a share of the traffic."""


class QueueFull(Unroutable):
    """As many requests wait as may. The text says how many."""


class WaitedTooLong(Unroutable):
    """No replica was free in time."""


class NoReplica(Unroutable):
    """No replica answers the gateway's probe. The text says why, replica by replica."""


class Left(Exception):
    """The deployment is no longer in the table."""
