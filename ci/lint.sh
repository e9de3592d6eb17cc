#!/usr/bin/env bash
# Style and layout of every Python file. `ruff check --fix . && ruff format .` repairs most of it.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m ruff check .
python -m ruff format --check .
