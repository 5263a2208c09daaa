"""What runs inside a compute instance: set-up scripts, JupyterLab, a kernel for each environment, applications.

It is started by the runner in the curated environment `jupyter`. Only `lab` needs that: the rest is the standard
library. It meets the control plane over HTTP (docs/reference/instance.md).
"""
