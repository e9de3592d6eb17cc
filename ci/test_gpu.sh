#!/usr/bin/env bash
# The tests that need a GPU, in one process because they share it; fails where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
python -c "import gpugrad; raise SystemExit(not gpugrad.cuda.is_available() and 'no CUDA device')"
python -m pytest -m cuda "$@"
