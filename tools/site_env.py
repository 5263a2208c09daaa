"""Print this site's package sources (pip's configuration) as shell lines for uv: `eval "$(python3 tools/site_env.py)"`.

Runs before anything is installed, so it needs only the standard library.
"""

import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from ultramarine.locks.site import site_options  # noqa: E402


def main() -> None:
    variables = site_options(prefix=ROOT / ".venv").to_uv_variables()
    variables.pop("UV_CONSTRAINT", None)  # our requirements are exact, by hash: a constraint could only contradict them
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


main()
