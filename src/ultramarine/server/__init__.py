"""The control plane as a program, and the one place where real parts are put together."""
