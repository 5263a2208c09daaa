"""A control group of version 2 that was handed to us, made fit for groups below it.

The kernel lets a group hand controllers down only while no process is in it itself. So who was given one moves what is
in it into a group below, as systemd asks of who says `Delegate=yes` (https://systemd.io/CGROUP_DELEGATION/), and as
containers that make containers do.
"""

from __future__ import annotations

import os
from pathlib import Path

from .mechanism import ASIDE

_MARKS = ("user.delegate", "trusted.delegate")  # of systemd, the first from version 251 on
_ROUNDS = 20


def prepare(folder: str) -> bool:
    """Have our own group, or the one above it, count memory, processes and CPU of those below; whether it does."""
    is_own = str(os.getpid()) in read(f"{folder}/cgroup.procs").split()
    is_ours = os.path.isdir(f"{folder}/{ASIDE}") or _is_handed_over(folder)
    if not (is_own or is_ours):
        return False  # that of a service beside others: what limits it would not limit its runs
    return _hand_down(folder) or (is_own and is_ours and _step_aside(folder) and _hand_down(folder))


def _is_handed_over(folder: str) -> bool:
    """Whether what is in a group is for us to arrange: nobody else writes there."""
    if any(_mark(folder, mark) == b"1" for mark in _MARKS):
        return True
    me, owner, above = os.geteuid(), _owner(folder), _owner(os.path.dirname(folder))
    if me != 0 and owner == me and above != me:
        return True  # the top of what was given to this user by hand
    # The root of a container's view. The kernel's own root has no such file, and needs none of this.
    return os.path.ismount(folder) and os.path.exists(f"{folder}/cgroup.type")


def _hand_down(folder: str) -> bool:
    file = f"{folder}/cgroup.subtree_control"
    if {"memory", "pids"} <= set(read(file).split()):
        return True
    return write(file, "+memory +pids") and (write(file, "+cpu") or True)


def _step_aside(folder: str) -> bool:
    """Move all that is in a group into one below; again while something is forked meanwhile."""
    aside = f"{folder}/{ASIDE}"
    try:
        os.makedirs(aside, exist_ok=True)
    except OSError:
        return False
    for _ in range(_ROUNDS):
        left = read(f"{folder}/cgroup.procs").split()
        for pid in left:
            write(f"{aside}/cgroup.procs", pid)  # refused where it has ended
        if not left:
            return True
    return False


def read(file: str) -> str:
    """A file of the kernel; nothing where it cannot be read."""
    try:
        return Path(file).read_text(errors="replace")
    except OSError:
        return ""


def write(file: str, value: str) -> bool:
    """Whether the kernel has taken it. A file that is not there is not made: a group is no plain folder."""
    try:
        fd = os.open(file, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(fd, value.encode())
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def _mark(folder: str, name: str) -> bytes:
    try:
        return os.getxattr(folder, name)
    except OSError:
        return b""


def _owner(folder: str) -> int:
    try:
        return os.stat(folder).st_uid
    except OSError:
        return -1
