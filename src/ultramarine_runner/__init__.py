"""What runs on a node: the runner. Standard library only, Python 3.9 or newer, shipped as one `.pyz`."""

PROTOCOL = 1
