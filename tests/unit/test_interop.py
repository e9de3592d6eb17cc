"""Leaving and entering: NumPy, DLPack, pickle, copies, Python numbers, NumPy's settings."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import ArgumentError, AutogradError, DeviceError, DTypeError, ShapeError


def test_numpy_shares_memory_both_ways():
    a = np.arange(6.0).reshape(2, 3)
    t = gg.from_numpy(a)
    t[0, 0] = 9
    assert a[0, 0] == 9
    t.numpy()[1, 1] = 7
    assert t[1, 1].item() == 7
    assert np.shares_memory(gg.from_numpy(a[:, ::2]).numpy(), a)
    np.testing.assert_array_equal(np.asarray(t), a)
    np.testing.assert_array_equal(np.add(t, 1), a + 1)


def test_numpy_refuses_what_it_cannot_hold():
    x = gg.ones(2, requires_grad=True)
    with pytest.raises(AutogradError, match=r"detach\(\)"):
        x.numpy()
    assert x.numpy(force=True).tolist() == [1, 1]
    with pytest.raises(DeviceError, match="meta"):
        gg.zeros(2, device="meta").numpy()
    with pytest.raises(DTypeError, match="complex"):
        gg.from_numpy(np.zeros(2, dtype=complex))


def test_dlpack_both_ways():
    t = gg.arange(4.0)
    np.testing.assert_array_equal(np.from_dlpack(t), t.numpy())
    assert np.shares_memory(np.from_dlpack(t), t.numpy())
    back = gg.from_dlpack(np.arange(3.0))
    assert back.tolist() == [0, 1, 2]
    with pytest.raises(AutogradError, match="detach"):
        np.from_dlpack(gg.ones(2, requires_grad=True))


@pytest.mark.torch
def test_dlpack_with_pytorch():
    import torch

    t = torch.arange(4.0)
    mine = gg.from_dlpack(t)
    mine[0] = 5
    assert t[0] == 5
    assert torch.from_dlpack(gg.ones(2)).tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [gg.float32, gg.bfloat16, gg.int8, gg.bool])
def test_pickle_and_deepcopy(dtype):
    x = gg.tensor([0, 1, 1], dtype=dtype)
    for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert y.dtype is dtype
        assert y.tolist() == x.tolist()
        y.fill_(0)
        assert x.tolist() != y.tolist()


def test_leaves_keep_their_state_when_copied():
    x = gg.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    x.note = "kept"
    y = copy.deepcopy(x)
    assert (y.requires_grad, y.grad.tolist(), y.note) == (True, [3, 3], "kept")
    assert pickle.loads(pickle.dumps(x)).requires_grad
    shared = copy.deepcopy([x, x])
    assert shared[0] is shared[1]
    with pytest.raises(AutogradError, match="leaf"):
        copy.deepcopy(x * 2)


def test_python_numbers():
    x = gg.tensor(3.5)
    assert (float(x), int(x), bool(x), f"{x:.1f}") == (3.5, 3, True, "3.5")
    assert [10, 20, 30][gg.tensor(1)] == 20
    with pytest.raises(ArgumentError, match="integer"):
        [1, 2][gg.tensor(1.0)]
    with pytest.raises(ShapeError, match="ambiguous"):
        bool(gg.ones(2))
    with pytest.raises(ShapeError, match="one element"):
        gg.ones(2).item()
    assert gg.tensor(1.5, dtype=gg.bfloat16).item() == 1.5
    assert len(gg.zeros(3, 2)) == 3
    assert [t.tolist() for t in gg.tensor([[1], [2]])] == [[1], [2]]
    assert 2 in gg.tensor([1, 2])


def test_bfloat16_arrays_come_in():
    t = gg.from_numpy(np.ones(2, dtype=ml_dtypes.bfloat16))
    assert t.dtype is gg.bfloat16
    assert t.tolist() == [1.0, 1.0]


def test_dtypes_and_devices_are_singletons():
    assert pickle.loads(pickle.dumps(gg.float32)) is gg.float32
    assert copy.deepcopy(gg.bool) is gg.bool
    assert gg.device("cuda:1") is gg.device("cuda", 1)
    assert str(gg.device("cpu")) == "cpu"
    with pytest.raises(DeviceError, match="unknown device type 'tpu'"):
        gg.device("tpu")


def test_numpy_warnings_stay_the_users_own():
    """gpugrad is silent about infinities, NumPy outside it is as the user set it."""
    with np.errstate(divide="raise"):
        assert (gg.ones(1) / 0).item() == float("inf")
        with pytest.raises(FloatingPointError):
            np.ones(1) / np.zeros(1)
