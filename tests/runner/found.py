"""`python -m tests.runner.found NAME`: by what a runner would hold limits here, as a line of JSON.

A process that takes more memory than its run may have must be ended by it, where it is more than watching.
"""

import json
import subprocess
import sys

from ultramarine_runner import cgroups
from ultramarine_runner.cgroups import Share

HOG = 'for entrance; do echo 0 >"$entrance"; done; exec tail /dev/zero'  # which keeps what has no end of line


def main() -> None:
    groups = cgroups.find("e1-found-1", 0)
    entrances = groups.make("e1-j1-1", Share(memory_bytes=20 << 20, processes=20, cpus=0.5))
    code = None
    if entrances:
        code = subprocess.run(["sh", "-c", HOG, "sh", *entrances], check=False, timeout=60).returncode
    used = groups.used("e1-j1-1")
    kills = None if used is None else used.oom_kills
    cgroups.sweep("e1-found-1")
    with open("/proc/self/cgroup") as file:
        own = file.read().rsplit("::", 1)[-1].strip()
    found = {"at": sys.argv[1], "kind": groups.mechanism.kind, "own": own, "code": code, "kills": kills}
    print(json.dumps(found | {"in": list(groups.mechanism.folders)}), flush=True)


if __name__ == "__main__":
    main()
