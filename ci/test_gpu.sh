#!/usr/bin/env bash
# Everything that only a GPU can show, part by part; results go to ${OUT:-ci-gpu-results}.
#
#   ci/test_gpu.sh                 all parts, one after the other
#   ci/test_gpu.sh ops large       some of them
#   ci/test_gpu.sh sanitizer       memcheck, racecheck and initcheck
#   ci/test_gpu.sh bench           the benchmarks of every suite
#
# "tests" is every test marked cuda that has no part of its own; "records" what every op record
# promises; "ops" their values in narrow floats against float64 on the CPU. The other names say it.
# A part that fails does not stop the others; the exit status is 1 if any did, 2 for a part that
# does not exist, and 3 where there is no GPU. Each part ends after LIMIT seconds (590) at most.
# AGAINST names the benchmarks' peers (torch,compile,jax), WORKERS the processes of
# records and ops (8, if pytest-xdist is there).
set -uo pipefail
cd "$(dirname "$0")/.."

PARTS=(tests records ops capture determinism pool large memcheck racecheck initcheck
       bench-kernels bench-ops bench-train bench-overhead bench-pool)
PYTHON=${PYTHON:-python}
LIMIT=${LIMIT:-590}
AGAINST=${AGAINST:-torch,compile,jax}

wanted=()
for part in "${@:-all}"; do
    case $part in
        all) wanted+=("${PARTS[@]}") ;;
        sanitizer) wanted+=(memcheck racecheck initcheck) ;;
        bench) wanted+=(bench-kernels bench-ops bench-train bench-overhead bench-pool) ;;
        *)
            if [[ " ${PARTS[*]} " != *" $part "* ]]; then
                echo "no part '$part'; accepted: all ${PARTS[*]} sanitizer bench" >&2
                exit 2
            fi
            wanted+=("$part")
            ;;
    esac
done

# `init` says in one line what is missing and what mends it.
"$PYTHON" - <<'END' || exit 3
import sys
import gpugrad
try:
    gpugrad.cuda.init()
except gpugrad.errors.GpugradError as error:
    print(error, file=sys.stderr)
    raise SystemExit(3) from None
END

OUT=${OUT:-ci-gpu-results}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
# Tests of these files are parts of their own.
SUITES=(test_op_suite test_values test_capture test_determinism test_pool_steps test_large)

parallel() { # options that share a part among processes
    "$PYTHON" -c "import xdist" 2>/dev/null && echo "-n ${WORKERS:-8}"
}

pytest() { # PART ARGUMENTS...: the tests marked cuda, with a report
    local part=$1
    shift
    "$PYTHON" -m pytest -m cuda -p no:cacheprovider --junitxml "$OUT/$part.xml" "$@"
}

sanitized() { # TOOL SELECTION: the kernel suite under one of compute-sanitizer's tools
    if ! command -v compute-sanitizer >/dev/null; then
        echo "compute-sanitizer is not on the PATH; it comes with the CUDA toolkit (cuda-sanitizer)"
        return 1
    fi
    PYTHONPATH="ci/gpu:${PYTHONPATH:-}" compute-sanitizer --tool "$1" --error-exitcode 9 \
        "$PYTHON" -m pytest -m cuda -k "$2" -p no_pool -p no:cacheprovider -p no:xdist \
        --junitxml "$OUT/$1.xml" tests/cuda
}

run() {
    local ignored=()
    case $1 in
        tests)
            for suite in "${SUITES[@]}"; do ignored+=(--ignore "tests/cuda/$suite.py"); done
            pytest "$1" --ignore tests/ops "${ignored[@]}" ;;
        # shellcheck disable=SC2046 # none, or two words
        records) pytest "$1" $(parallel) tests/ops ;;
        # shellcheck disable=SC2046
        ops) pytest "$1" $(parallel) tests/cuda/test_op_suite.py tests/cuda/test_values.py ;;
        capture) pytest "$1" tests/cuda/test_capture.py ;;
        determinism) pytest "$1" tests/cuda/test_determinism.py ;;
        pool) pytest "$1" tests/cuda/test_pool_steps.py ;;
        large) pytest "$1" tests/cuda/test_large.py ;;
        memcheck) sanitized "$1" kernels ;;
        racecheck | initcheck) sanitized "$1" "kernels and not library" ;;
        bench-*)
            local suite=${1#bench-}
            "$PYTHON" benchmarks/run.py --suite "$suite" --device cuda --against "$AGAINST" \
                --json "$OUT/$suite.json" --chart "$OUT/$suite.svg" ;;
    esac
}

# `timeout` takes no function, so each part is this script again, told to be just that.
if [[ -n ${GPU_PART:-} ]]; then
    run "$GPU_PART"
    exit
fi
: >"$OUT/parts.tsv"
for part in "${wanted[@]}"; do
    echo "== $part"
    start=$SECONDS
    GPU_PART=$part timeout --kill-after 10 "$LIMIT" "$BASH" ci/test_gpu.sh "$part" 2>&1 | tee "$OUT/$part.log"
    printf '%s\t%s\t%s\n' "$part" "${PIPESTATUS[0]}" "$((SECONDS - start))" >>"$OUT/parts.tsv"
done
"$PYTHON" ci/gpu/summary.py "$OUT"
