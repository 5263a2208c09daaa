#!/usr/bin/env bash
# Lock requirements/*.in anew: exact versions with hashes, and no index addresses, so that every site's own index serves them.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(python3 tools/site_env.py)"
for name in bootstrap server dev scoring-tests proxies; do
    .venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
        "$@" "requirements/$name.in" -o "requirements/$name.txt"
done
