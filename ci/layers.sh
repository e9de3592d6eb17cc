#!/usr/bin/env bash
# Only the check that imports point down a floor: a second.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pytest -q tests/unit/test_layers.py "$@"
