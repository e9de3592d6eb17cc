"""The code for CUDA, run without a GPU over a stand-in for CuPy that computes with NumPy.

This is no test of a GPU.  It shows that every op's path for CuPy arrays asks for nothing that CuPy
lacks, never turns a device array into a host array, and agrees with the CPU; see
``tests/cupy_stand_in/__init__.py`` for what the stand-in does and does not do.  It runs in
processes of its own, so that no other test can meet it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpugrad.testing.cuda_host import COMPILER

TESTS = Path(__file__).parents[1]
#: Runs of array code, which is behind the kernels: each kernel has to be compiled for the host.
WITHOUT_KERNELS = {"array code"}
#: Into how many processes a run is divided: one would be the last that all others wait for.
SHARES = {"array code": 3}
RUNS = {
    "array code": ("1", "cupy_stand_in/over_one_device.py", "cuda/test_values.py"),
    "one device": ("1", "cupy_stand_in/over_kernels.py", "cupy_stand_in/over_digits.py",
                   "cupy_stand_in/over_custom_ops.py", "cuda/test_custom_ops.py",
                   "cupy_stand_in/over_train.py", "cuda/test_device.py",
                   "cuda/test_checkpoint.py", "cuda/test_channel_norm.py",
                   "cuda/test_hand_kernels.py", "cuda/test_explain.py"),
    "suites": ("1", "cuda/test_kernels_suite.py", "cuda/test_benchmarks.py::test_rows",
               "cuda/test_benchmarks.py::test_training_steps",
               "cuda/test_benchmarks.py::test_chains_and_memory"),
    "two devices": ("2", "cupy_stand_in/over_two_devices.py", "cuda/test_device.py",
                    "cuda/test_custom_ops.py"),
}  # fmt: skip

PARTS = [(r, f"{i}/{n}") for r in RUNS for n in (SHARES.get(r, 1),) for i in range(1, n + 1)]


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="no g++ to run kernels on the host with")
@pytest.mark.parametrize(("run", "share"), PARTS)
def test_over_the_stand_in(run: str, share: str) -> None:
    """All of it passes, and none of it is skipped."""
    devices, *files = RUNS[run]
    here = os.environ.get("PYTHONPATH")
    paths = [str(TESTS), str(TESTS.parent), *([here] if here else [])]
    variables = {**os.environ, "STAND_IN_DEVICES": devices, "STAND_IN_SHARE": share,
                 "STAND_IN_KERNELS": str(int(run not in WITHOUT_KERNELS)),
                 "PYTHONPATH": os.pathsep.join(paths)}  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-p", "cupy_stand_in.plugin", "-p",
               "no:cacheprovider", "-p", "no:xdist", *(str(TESTS / f) for f in files)]  # fmt: skip
    done = subprocess.run(command, cwd=TESTS.parent, env=variables, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout, done.stdout[-2000:]
