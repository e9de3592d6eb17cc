#!/usr/bin/env bash
# Writes the stubs that are derived from the op records into gpugrad/, then checks all types.
set -euo pipefail
cd "$(dirname "$0")/.."
find gpugrad -name '*.pyi' -delete # a stub of a module that is gone would still be believed
python -c "import pathlib, gpugrad.stubs; gpugrad.stubs.write(pathlib.Path('gpugrad'))"
python -m mypy --strict
