#!/usr/bin/env bash
# Make .venv what the lock files say. Needs Python >= 3.11 and nothing else; a second call has nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."

key=$(cat requirements/bootstrap.txt requirements/dev.txt pyproject.toml tools/setup.sh | sha256sum | cut -c1-16)
stamp=.venv/.setup-$key
if [ -f "$stamp" ]; then exit 0; fi

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Ultramarine needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1). Try: make setup PYTHON=python3.12" >&2
    exit 1
fi
if [ ! -x .venv/bin/python ]; then
    if ! "$python" -m venv .venv; then
        rm -rf .venv
        echo "'$python -m venv' does not work. On Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
fi
rm -f .venv/.setup-*
# pip brings uv alone, by hash; uv brings the rest, ten times as fast, from the same places as pip.
if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements/bootstrap.txt)" ]; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
fi
sources=$("$python" tools/site_env.py)
eval "$sources"
export VIRTUAL_ENV=$PWD/.venv
.venv/bin/uv pip sync --quiet --require-hashes requirements/dev.txt
.venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
touch "$stamp"
echo "Ready: .venv/bin/um"
