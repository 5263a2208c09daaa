"""Locks: which exact packages, by hash, an environment is. The only code of the control plane that runs uv."""
