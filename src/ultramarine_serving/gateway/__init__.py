"""The one door: forwards sites, chooses a replica for a request to an endpoint.

`python -m ultramarine_serving.gateway --config FILE`; its contract is docs/reference/route-table.md.
"""
