#!/usr/bin/env bash
# All tests that can run here, a worker per core; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pytest -n auto "$@"
