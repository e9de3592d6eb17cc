"""Products through cuBLASLt without a GPU: how arrays are told to it, and all that calls it.

The calls run over a stand-in that multiplies by what it is told (``cupy_stand_in/nvmath.py``), in
processes of their own.  Where the real bindings are installed, the stand-in is compared with them.
"""

import ctypes
import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from gpugrad.backends.nvidia import cublaslt
from gpugrad.backends.nvidia.stacks import Stack, folded, stack_of

TESTS = Path(__file__).parents[1]


def read(flat: np.ndarray, at: int, stack: Stack, batch: int) -> np.ndarray:
    """The matrices that a library sees, column after column, put back as the array's."""
    seen = as_strided(
        flat[at:], (batch, stack.rows, stack.cols), [8 * s for s in (stack.step, 1, stack.ld)]
    )
    return seen if stack.turned else seen.swapaxes(1, 2)


@st.composite
def windows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Memory, and an array that looks into it: slices, steps, turns and repetitions."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=2, max_size=5)))
    flat = np.arange(math.prod(shape) + 1)
    x = flat[1:].reshape(shape)
    for axis in range(x.ndim):
        step = draw(st.sampled_from((1, 1, 1, 2, -1)))
        begin = draw(st.sampled_from((0, 0, 1)))
        part = x[(slice(None),) * axis + (slice(begin, None, step),)]
        x = part if part.size else x
    x = x.transpose(draw(st.permutations(range(x.ndim))))
    for axis in range(x.ndim):
        if x.shape[axis] == 1 and draw(st.booleans()):
            x = np.broadcast_to(x, (*x.shape[:axis], 3, *x.shape[axis + 1 :]))
    return flat, x


@given(windows(), st.booleans())
def test_what_a_stack_says_is_what_the_array_holds(window, wider) -> None:
    """Rows, columns, distances and the batch lead to every element, or it must be copied."""
    flat, x = window
    batch = ((2, *x.shape[:-2]) if wider else x.shape[:-2]) if x.ndim > 2 else x.shape[:-2]
    strides = tuple(s // 8 for s in x.strides)
    stack = stack_of(x.shape, strides, batch)
    if stack is None:
        assert not x.flags.c_contiguous or len(batch) > x.ndim - 2
        return
    assert stack.ld >= stack.rows
    assert stack.step >= 0
    at = (x.__array_interface__["data"][0] - flat.__array_interface__["data"][0]) // 8
    count = math.prod(batch)
    whole = np.broadcast_to(x, (*batch, *x.shape[-2:])).reshape(count, *x.shape[-2:])
    np.testing.assert_array_equal(read(flat, at, stack, count), whole)
    one = folded(stack, count)
    if one is not None:
        np.testing.assert_array_equal(read(flat, at, one, 1)[0], whole.reshape(-1, x.shape[-1]))


@pytest.mark.parametrize(
    ("shape", "strides", "batch", "stack"),
    [
        ((3, 4), (4, 1), (), Stack(4, 3, 4, 0, False)),
        ((3, 4), (1, 3), (), Stack(3, 4, 3, 0, True)),
        ((3, 4), (9, 1), (), Stack(4, 3, 9, 0, False)),
        ((2, 3, 4), (0, 4, 1), (2,), Stack(4, 3, 4, 0, False)),
        ((2, 5, 3, 4), (60, 12, 4, 1), (2, 5), Stack(4, 3, 4, 12, False)),
        ((5, 1, 3, 4), (12, 12, 4, 1), (5, 2), None),
        ((2, 3, 4), (-12, 4, 1), (2,), None),
        ((3, 4), (8, 2), (), None),
        ((3, 4), (2, 1), (), None),
        ((3, 4), (0, 1), (), None),
        ((1, 4), (7, 2), (), Stack(1, 4, 2, 0, True)),
        ((4, 1), (6, 5), (), Stack(1, 4, 6, 0, False)),
    ],
)
def test_stacks(shape, strides, batch, stack) -> None:
    """Cases by name: rows, columns, gaps, one for all, two batch dims, and what must be copied."""
    assert stack_of(shape, strides, batch) == stack


#: Devices, and which tests are run with so many.
RUNS = {"1": "not on_a_gpu", "2": "every_device or gradients or workspaces"}


@pytest.mark.slow
@pytest.mark.parametrize("devices", RUNS)
def test_over_the_stand_in(devices: str) -> None:
    """All of ``over_products.py`` passes, and what a GPU would run; none of it is skipped."""
    here = os.environ.get("PYTHONPATH")
    paths = [str(TESTS), str(TESTS.parent), *([here] if here else [])]
    variables = {**os.environ, "STAND_IN_DEVICES": devices, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "cupy_stand_in.plugin", "-p",
               "no:cacheprovider", "-p", "no:xdist", "-k", RUNS[devices],
               str(TESTS / "cupy_stand_in" / "over_products.py"),
               str(TESTS / "cuda" / "test_products.py")]  # fmt: skip
    done = subprocess.run(command, cwd=TESTS.parent, env=variables, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout, done.stdout[-2000:]


@pytest.mark.skipif(importlib.util.find_spec("nvmath") is None, reason="nvmath is not installed")
def test_the_stand_in_offers_what_the_bindings_do() -> None:
    """Names, numbers, dtypes of attributes, and parameters in their order."""
    sys.path.insert(0, str(TESTS))
    from cupy_stand_in import nvmath as fake

    real = cublaslt.load()
    for kind in (fake.MatmulDescAttribute, fake.MatrixLayoutAttribute, fake.Epilogue,
                 fake.MatmulPreferenceAttribute):  # fmt: skip
        theirs = getattr(real, kind.__name__)
        assert {m.name: int(m) for m in kind} == {m.name: int(theirs[m.name]) for m in kind}
    for kind, name in ((fake.MatmulDescAttribute, "matmul_desc"),
                       (fake.MatrixLayoutAttribute, "matrix_layout"),
                       (fake.MatmulPreferenceAttribute, "matmul_preference")):  # fmt: skip
        for attribute, dtype in fake.DTYPES[kind].items():
            assert getattr(real, f"get_{name}_attribute_dtype")(attribute) is dtype
    assert real.matmul_heuristic_result_dtype == fake.matmul_heuristic_result_dtype
    assert real.matmul_algo_dtype == fake.matmul_algo_dtype
    for name in ("matmul", "matmul_algo_get_heuristic", "matmul_algo_check", "matmul_desc_create",
                 "matrix_layout_create"):  # fmt: skip
        signature = getattr(real, name).__doc__.split("(", 1)[1].split(")", 1)[0]
        theirs = len([p for p in signature.split(",") if p.strip()])
        assert getattr(fake, name).__code__.co_argcount == theirs, name
    assert ctypes.sizeof(ctypes.c_void_p) == 8
