"""Copies, casts, shared memory with NumPy, memory formats, resizing, legacy constructors."""

import numpy as np
import pytest

import gpugrad
from gpugrad.errors import NotSupportedError, ShapeError


def test_copy_broadcasts_and_converts():
    x = gpugrad.zeros(2, 3, dtype=gpugrad.int64)
    assert x.copy_(gpugrad.tensor([1.7, 2.2, -3.9])) is x
    assert x.tolist() == [[1, 2, -3], [1, 2, -3]]
    with pytest.raises(ShapeError, match="copy_"):
        x.copy_(gpugrad.zeros(4, 3))


def test_gradients_cross_dtypes():
    x = gpugrad.ones(3, requires_grad=True)
    x.to(gpugrad.float64).mul(2).half().sum().backward()
    assert x.grad.dtype is gpugrad.float32
    assert x.grad.tolist() == [2, 2, 2]


def test_to_returns_the_tensor_itself_if_nothing_changes():
    x = gpugrad.ones(3)
    assert x.to(gpugrad.float32) is x
    assert x.to("cpu", gpugrad.float32) is x
    assert x.to(x) is x
    assert x.float() is x
    assert x.cpu() is x
    assert x.to("cpu", copy=True) is not x
    assert x.contiguous() is x


def test_meta_has_nothing_to_give():
    m = gpugrad.ones(2, 3).to("meta")
    assert m.is_meta
    assert m.shape == (2, 3)
    with pytest.raises(gpugrad.errors.DeviceError, match="meta"):
        m.to("cpu")
    assert m.t().reshape(6).unsqueeze(0).shape == (1, 6)


def test_numpy_memory_is_shared_both_ways():
    a = np.zeros(3, np.float32)
    t = gpugrad.from_numpy(a)
    t[0] = 1
    a[1] = 2
    assert t.tolist() == [1, 2, 0] == a.tolist()
    assert gpugrad.as_tensor(a).data_ptr() == t.data_ptr()
    assert gpugrad.tensor(a).data_ptr() != t.data_ptr()
    a.flags.writeable = False
    with pytest.raises(gpugrad.errors.ArgumentError, match="read-only"):
        gpugrad.from_numpy(a)


def test_from_numpy_takes_subclasses_as_plain_arrays(tmp_path):
    mapped = np.memmap(tmp_path / "data.bin", np.int64, "w+", shape=(6,))
    part = gpugrad.from_numpy(mapped[2:4])
    mapped[2] = 5
    assert part.tolist() == [5, 0]
    assert type(part.numpy()) is np.ndarray
    del mapped  # the tensor keeps the file mapped
    assert part.tolist() == [5, 0]
    copied = np.memmap(tmp_path / "data.bin", np.uint8, "r")[16:24].astype(np.int64)
    assert gpugrad.from_numpy(copied).tolist() == [5] + [0] * 7


def test_from_numpy_takes_any_strides():
    a = np.arange(12.0).reshape(3, 4)
    t = gpugrad.from_numpy(a[::-1, ::2])
    assert t.tolist() == [[8, 10], [4, 6], [0, 2]]
    t.requires_grad_()
    (t * t).sum().backward()
    assert t.grad.tolist() == (2 * a[::-1, ::2]).tolist()


def test_memory_formats():
    x = gpugrad.rand(2, 3, 4, 5)
    last = x.contiguous(memory_format=gpugrad.channels_last)
    assert last.stride() == (60, 1, 15, 3)
    assert last.is_contiguous(memory_format=gpugrad.channels_last)
    assert not last.is_contiguous()
    assert bool((last == x).all())
    assert last.clone().stride() == last.stride()
    assert gpugrad.zeros_like(last).stride() == last.stride()
    assert last.contiguous().stride() == (60, 20, 5, 1)


def test_resize():
    x = gpugrad.arange(6)
    assert x.resize_(2, 2).tolist() == [[0, 1], [2, 3]]
    assert x.resize_(3).tolist() == [0, 1, 2]
    with pytest.raises(NotSupportedError, match="resize_"):
        gpugrad.zeros(4, 6).t().resize_(3)


def test_legacy_constructors():
    assert gpugrad.FloatTensor(2, 3).shape == (2, 3)
    assert gpugrad.LongTensor([1, 2]).dtype is gpugrad.int64
    assert isinstance(gpugrad.zeros(1), gpugrad.FloatTensor)
    assert not isinstance(gpugrad.zeros(1), gpugrad.LongTensor)
    assert gpugrad.zeros(1).type() == "torch.FloatTensor"
    assert gpugrad.zeros(1).type("torch.DoubleTensor").dtype is gpugrad.float64
