"""Every record does what PyTorch does: values, dtypes, shapes, gradients, and what it refuses."""

from __future__ import annotations

import warnings

import pytest

from gpugrad import dtypes
from gpugrad.op import Function, Op, registry
from gpugrad.samples import Undefined
from gpugrad.testing import unusual
from gpugrad.testing.calls import Call, key, samples_of

pytestmark = pytest.mark.torch

#: Eigenvectors have no sign of their own: squares are compared.
SIGNLESS = {"linalg.eigh", "linalg.svd", "svd", "linalg.eig", "pca_lowrank", "svd_lowrank"}
#: Where gpugrad accepts what PyTorch refuses, and why.
EXTENSIONS: dict[str, str] = {
    "clamp": "one bound may be a number and the other a tensor",
    "clip": "as clamp",
    "vander": "batches, as linalg.vander",
    "sub": "a bool beside a number counts as 0 or 1",
    "floor_divide": "it has a gradient: zero",
    "lerp": "integers are promoted by a weight with a fraction",
    "heaviside": "dtypes are promoted",
    "isclose": "dtypes are promoted",
    "ldexp": "a bool exponent counts as 0 or 1",
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
         "nn.functional.max_pool1d"), "PyTorch takes some integer dtypes in some settings"),
    "special.zeta": "16-bit floats are computed in float32",
    **dict.fromkeys(
        ("nn.functional.binary_cross_entropy", "nn.functional.binary_cross_entropy_with_logits",
         "nn.functional.cross_entropy", "nn.functional.nll_loss",
         "nn.functional.soft_margin_loss"), "weights and targets have gradients"),
    **dict.fromkeys(("nn.functional.batch_norm", "nn.functional.instance_norm"),
                    "running statistics that are only read have gradients"),
}  # fmt: skip
#: Where PyTorch's 16-bit result is no oracle, and why.
HALF_BROKEN = {"linalg.matrix_exp": "NaN", "matrix_exp": "NaN"}
#: Which of two equal zeros a maximum returns is open in IEEE 754, and varies within PyTorch.
ANY_ZERO = {"fmax", "fmin", "maximum", "minimum", "max", "min", "amax", "amin", "clamp", "clip",
            "clamp_min", "clamp_max", "aminmax"}  # fmt: skip
#: Where PyTorch's values at NaN, an infinity, a pole or -0 are not those of the limit.
OTHER_EDGES = {
    "nn.functional.gelu": "inf gives NaN in float32, inf in float64",
    "nn.functional.softshrink": "-0 stays in float32, not in float64",
    "digamma": "its gradient at a pole is a large finite number",
    "polygamma": "a pole gives a large finite number, -inf NaN",
    "special.zeta": "infinities give NaN",
    "i0": "infinities give NaN", "special.i1": "infinities give NaN, -0 gives 0",
    "special.i1e": "-0 gives 0",
    "var_mean": "the mean of an infinity is NaN", "std_mean": "the mean of an infinity is NaN",
    **dict.fromkeys(
        ("nn.functional.batch_norm", "nn.functional.instance_norm", "nn.functional.group_norm"),
        "an infinite weight gives NaN: it is folded into the shift"),
}  # fmt: skip

RECORDS = {key(r): r for r in registry if r.torch != ""}


def torch_function(record: Op | Function):  # type: ignore[no-untyped-def]
    """PyTorch's counterpart, quiet about deprecations."""
    from gpugrad.testing import against_torch

    function = against_torch.counterpart(record)

    def call(*args, **kwargs):  # type: ignore[no-untyped-def]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)

    return call


def report(record: Op | Function, broken: list[str]) -> None:
    """Fail with the list of differences."""
    if broken:
        more = f"\n  ... and {len(broken) - 12} more" if len(broken) > 12 else ""
        listed = "".join(f"\n  - {b}" for b in broken[:12])
        pytest.fail(f"{key(record)} ({record.module}) differs from PyTorch:{listed}{more}", False)


@pytest.mark.parametrize("name", RECORDS)
def test_samples(name: str) -> None:
    """Each sample in each dtype: value, dtype, shape, gradient; or both refuse."""
    from gpugrad.testing import against_torch as other

    record = RECORDS[name]
    function = torch_function(record)
    random = other.is_random(record)
    broken: dict[str, list[str]] = {}
    for sample in samples_of(record):
        for dtype in other.compared_dtypes(record, sample):
            if dtype in dtypes.HALVES and name in HALF_BROKEN:
                continue
            call = Call(record, sample, dtype)
            values = not random and not isinstance(sample, Undefined)
            gradient = dtype in (dtypes.float64, dtypes.float32) and values
            found = other.compare(call, function, gradient, values, signless=name in SIGNLESS)
            if found and not (name in EXTENSIONS and "PyTorch raises" in found):
                broken.setdefault(f"{call!r}: {found}", []).append(dtype.name)
    report(record, [f"{' '.join(d)}: {text}" for text, d in broken.items()])


@pytest.mark.parametrize("name", RECORDS)
def test_special_values(name: str) -> None:
    """NaN, infinities and both zeros give the same, with its sign; gradients where finite."""
    from gpugrad.testing import against_torch as other

    record = RECORDS[name]
    if other.is_random(record):
        pytest.skip("values are random")
    if name in OTHER_EDGES:
        pytest.skip(f"PyTorch has other values at the edges: {OTHER_EDGES[name]}")
    function = torch_function(record)
    broken = []
    for dtype in (dtypes.float32, dtypes.float64):
        for call, arrays, gradient in unusual.special_calls(record, dtype):
            found = other.compare(
                call, function, gradient, arrays=arrays, signs=record.name not in ANY_ZERO
            )
            if found:
                broken.append(f"{dtype.name}: special values in {call!r}: {found}")
    report(record, broken)


ELEMENTWISE = {n: r for n, r in RECORDS.items() if isinstance(r, Op) and r.elementwise}
BINARY = [n for n, r in ELEMENTWISE.items() if len(r.arrays) == 2]


@pytest.mark.parametrize("name", BINARY)
def test_mixed_operands(name: str) -> None:
    """Operands of different dtypes and ranks promote alike, or both libraries refuse them."""
    from gpugrad.testing import against_torch as other

    record = registry[name]
    function = torch_function(record)
    broken = []
    for call, arrays, shown in unusual.mixed_calls(record, 40):
        found = other.compare(call, function, False, arrays=arrays)
        takes_no_number = "number" in shown and "PyTorch raises TypeError" in found
        extends = name in EXTENSIONS and "PyTorch raises" in found
        if found and not takes_no_number and not extends:
            broken.append(f"{shown}: {found}")
    report(record, broken)
