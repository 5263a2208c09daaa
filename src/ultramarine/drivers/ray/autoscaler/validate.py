"""`python validate.py < configuration`: exit code 0 when Ray's autoscaler takes it, else 1 and why on stdout.

It runs in Ray's own environment. A configuration with an error in it would end the autoscaler, each time it is started.
"""

import json
import sys

from ray.autoscaler._private.providers import _get_node_provider_cls
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig


def main():
    configuration = json.load(sys.stdin)
    try:
        _get_node_provider_cls(configuration["provider"]["inner"])
        AutoscalingConfig(configuration, skip_content_hash=True)
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        where = ".".join(map(str, getattr(error, "absolute_path", ())))
        sys.stdout.write(f"{where}: {said[0]}" if where else f"{type(error).__name__}: {said[0]}")
        return 1
    return 0


sys.exit(main())
