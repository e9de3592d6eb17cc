#!/usr/bin/env bash
# Builds the wheel as an installer would, installs it with its dependencies alone, and uses it
# from outside the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
MAX_BYTES=2000000

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python -m build --outdir "$work/dist" . >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
wheel=$(echo "$work"/dist/*.whl)
bytes=$(wc -c <"$wheel")
echo "$(basename "$wheel"): $bytes bytes"
((bytes < MAX_BYTES)) || { echo "over the limit of $MAX_BYTES bytes"; exit 1; }

python -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "$wheel"
cd "$work"
venv/bin/python -W error -c "import gpugrad, gpugrad.kernels as k; print(gpugrad.__file__, k.names())"
venv/bin/gpugrad --help
