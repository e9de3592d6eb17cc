"""Run by tests/unit/test_cuda_path.py with the stand-in in place of CuPy; there is no GPU here."""

import cupy
import numpy as np
import pytest

import gpugrad as gg
from gpugrad import dtypes
from gpugrad.errors import DeviceError, IndexingError, LinAlgError
from gpugrad.op import registry
from gpugrad.testing import check_op
from gpugrad.testing.calls import key

RECORDS = {key(r): r for r in registry}
#: What the device can change; what is kept and how C is printed is decided elsewhere.
CHECKS = ("result rule", "inputs untouched", "own memory", "in place", "layouts", "low precision")


@pytest.mark.parametrize("name", RECORDS)
def test_records(name):
    """Every record keeps its promises where arrays are not NumPy's."""
    chosen = (dtypes.float64, dtypes.bfloat16, dtypes.int32, dtypes.bool_)
    check_op(RECORDS[name], device="cuda", dtypes=chosen, only=CHECKS)


def test_it_is_the_stand_in():
    """It never turns into a NumPy array, takes none, and offers what CuPy offers."""
    x = cupy.ones(3, dtype="float32")
    for refused in (lambda: np.asarray(x), lambda: x + np.ones(3), lambda: np.add(np.ones(3), x),
                    lambda: cupy.sum(x, where=True)):  # fmt: skip
        with pytest.raises(TypeError):
            refused()
    assert type(x.sum()) is type(np.float32(2) * x) is cupy.ndarray
    assert cupy.where(x > 0, x.astype(dtypes.bfloat16.np), 0).dtype == np.float32
    assert not hasattr(cupy, "random")
    assert x[cupy.asarray([4])].get() == [1]


def test_whole_quotients_are_exact():
    """CuPy's float ``remainder`` and ``floor_divide`` are by floor(x / y), which rounds."""
    x, y = gg.tensor([1.0, -5.0, 5.0, -1.0]), gg.tensor([0.1, float("inf"), float("inf"), 0.0])
    for f in (gg.floor_divide, gg.remainder):
        assert str(f(x.cuda(), y.cuda()).tolist()) == str(f(x, y).tolist())


def test_singular_matrices_are_named():
    """CuPy returns rubbish unless it is told to look."""
    stack = gg.stack([gg.eye(3), gg.zeros(3, 3)]).cuda()
    with pytest.raises(LinAlgError, match="matrix of batch 1 is singular"):
        gg.linalg.inv(stack)
    with pytest.raises(LinAlgError, match="not positive-definite"):
        gg.linalg.cholesky(-gg.eye(2).cuda())


def test_an_index_out_of_range_is_named():
    """CuPy wraps it around."""
    x = gg.arange(4).cuda()
    with pytest.raises(IndexingError, match="index 4 is out of range"):
        x[gg.tensor([4]).cuda()]


def test_one_stream_of_numbers_per_device():
    """``cuda`` and ``cuda:0`` name one device, so they share a generator."""
    gg.manual_seed(0)
    a, b = gg.rand(4, device="cuda"), gg.rand(4, device="cuda:0")
    assert a.tolist() != b.tolist()


def test_overlap_is_seen_without_reading_the_device():
    """Addresses and strides settle it, on the host."""
    backend = gg.backends.cuda()
    x = cupy.zeros((8, 8), dtype="float32")
    assert backend.shares_memory(x[:, ::2], x[:, 4:])
    assert backend.may_share_memory(x[:, ::2], x[:, 1::2])
    assert not backend.shares_memory(x[:, ::2], x[:, 1::2])
    assert not backend.shares_memory(x[:0], x)


def test_a_gradient_that_is_a_window_of_the_caller_s_is_copied():
    """What ``as_strided`` gives in CuPy has no base, yet its memory is not its own."""
    x = gg.zeros(6, device="cuda", requires_grad=True)
    start = gg.arange(4.0, device="cuda")
    gg.as_strided(x, (4,), (1,), 1).backward(start)
    x.grad.add_(1.0)
    assert start.tolist() == [0, 1, 2, 3]
    held = gg.arange(6.0, device="cuda").unfold(0, 3, 1)
    assert held._array.base is not None


def test_pinned_memory():
    """A copy on the host that says what it is."""
    x = gg.arange(6).reshape(2, 3)
    assert x.pin_memory().is_pinned()
    assert x.pin_memory().tolist() == x.tolist()
    assert not x.is_pinned()
    with pytest.raises(DeviceError):
        x.cuda().pin_memory()
