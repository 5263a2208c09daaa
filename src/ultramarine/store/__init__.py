"""The only SQL.

A module per noun, its functions are verbs: `runs.record`, `leases.hold`. Rows never leave this package.
"""
