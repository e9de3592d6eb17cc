"""The float32 functions of CPU kernels: their error in units of the last place, and their edges."""

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.backends import NUMPY
from gpugrad.codegen import trace_forward
from gpugrad.codegen.host import build, run
from gpugrad.codegen.levels import Layout
from gpugrad.codegen.machine import load
from gpugrad.op import registry

# Op, what it is in float64, and the bound on its error that gpugrad/codegen/maths.py states.
FUNCTIONS = {
    "exp": (np.exp, 1.5), "expm1": (np.expm1, 2.0), "exp2": (np.exp2, 1.5), "log": (np.log, 1.5),
    "log1p": (np.log1p, 2.0), "log2": (np.log2, 2.5), "tanh": (np.tanh, 2.0),
    "erf": (NUMPY.xp.erf, 2.0),
}  # fmt: skip
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1e-39, -1.0, 1.0, 88.8,
                    -104.0, 3e38, -3e38], np.float32)  # fmt: skip


def kernel_of(name: str, x: np.ndarray) -> np.ndarray:
    """One op over a vector, by its kernel."""
    trace = trace_forward(registry[name], [dtypes.float32], {})
    layout = Layout(trace.reads, trace.inputs, (dtypes.float32,))
    program = build(trace, layout)
    program.function = load(program.printed, layout)
    out = np.empty_like(x)
    run(program, 1, x.size, [x], [out])
    return out


def inputs() -> np.ndarray:
    """Floats of every exponent and both signs, and more where functions are curved."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 1 << 20, dtype=np.uint32).view(np.float32)
    near = rng.uniform(-20, 20, 1 << 19).astype(np.float32)
    small = rng.standard_normal(1 << 19).astype(np.float32)
    return np.concatenate(
        [bits[np.isfinite(bits)], near, small, rng.uniform(-110, 90, 1 << 18).astype("f4")]
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_in_units_of_the_last_place(name: str) -> None:
    """The result is off by no more than the stated number of float32's steps at it."""
    exact, bound = FUNCTIONS[name]
    x = inputs()
    got = kernel_of(name, x)
    want = NUMPY.run(exact, x.astype(np.float64))
    rounded = NUMPY.run(want.astype, np.float32)
    finite = np.isfinite(rounded)
    step = np.spacing(np.abs(rounded[finite])).astype(np.float64)
    error = np.abs(got[finite] - want[finite]) / step
    worst = int(np.argmax(error))
    assert error[worst] <= bound, (name, float(error[worst]), x[finite][worst])
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    # Where the true value lies within an error of the largest float, infinity may be either's.
    assert (same | finite | (np.abs(got) > 3.4e38))[~finite].all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values(name: str) -> None:
    """NaN, infinities, signed zeros and denormals come out as in C."""
    exact, _ = FUNCTIONS[name]
    got = kernel_of(name, SPECIAL)
    want = NUMPY.run(lambda: exact(SPECIAL.astype(np.float64)).astype(np.float32))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(want))
    zero = want == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))
    np.testing.assert_array_equal(got[zero], want[zero])
