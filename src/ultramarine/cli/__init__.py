"""The `um` command."""
