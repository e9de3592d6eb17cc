"""What only a CUDA device can show: transfers, errors between devices, equal random bits, training.

The checks of every op run on CUDA, too, from tests/ops.
"""

import pickle

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import DeviceError

DTYPES = [gg.float64, gg.float32, gg.float16, gg.bfloat16, gg.int64, gg.int8, gg.uint8, gg.bool]


@pytest.mark.parametrize("dtype", DTYPES)
def test_there_and_back(dtype):
    x = gg.arange(6).reshape(2, 3).to(dtype)
    y = x.cuda()
    assert (y.device.type, y.dtype, y.is_cuda) == ("cuda", dtype, True)
    assert y.cpu().tolist() == x.tolist()
    assert pickle.loads(pickle.dumps(y)).tolist() == x.tolist()


def test_gradients_cross_devices():
    x = gg.ones(3, requires_grad=True)
    (x.cuda() * 2).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]
    assert x.grad.device.type == "cpu"


def test_operands_on_two_devices_are_named():
    with pytest.raises(DeviceError, match=r"add: operands are on cuda:0 and cpu"):
        gg.ones(2, device="cuda") + gg.ones(2)
    assert (gg.ones(2, device="cuda") + gg.tensor(1.0)).tolist() == [2, 2]  # 0-d is a number
    with pytest.raises(DeviceError, match=r"no device cuda:99"):
        gg.ones(2, device="cuda:99")
    with pytest.raises(DeviceError, match=r"\.cpu\(\)"):
        gg.ones(2, device="cuda").numpy()


def test_the_same_bits_on_both_devices():
    def draw(device):
        gg.manual_seed(11)
        ints = gg.randint(-5, 1000, (777,), device=device).cpu().numpy()
        perm = gg.randperm(513, device=device).cpu().numpy()
        uniform = gg.rand(1001, device=device).cpu().numpy()
        normal = gg.randn(1001, device=device).cpu().numpy()
        dropped = gg.nn.functional.dropout(gg.ones(999, device=device), 0.3).cpu().numpy()
        return ints, perm, uniform, normal, dropped

    cpu, cuda = draw("cpu"), draw("cuda")
    for a, b in zip(cpu[:3], cuda[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(cpu[3], cuda[3], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(cpu[4], cuda[4])


def test_interfaces_of_other_libraries():
    cupy = pytest.importorskip("cupy")
    x = gg.arange(4.0).cuda()
    shared = cupy.asarray(x)
    shared += 1
    assert x.tolist() == [1, 2, 3, 4]
    assert gg.from_dlpack(cupy.arange(3)).device.type == "cuda"


def test_memory_is_given_back():
    gg.cuda.empty_cache()
    before = gg.cuda.memory_allocated()
    x = gg.ones(1 << 20, device="cuda")
    assert gg.cuda.memory_allocated() >= before + (4 << 20)
    del x
    assert gg.cuda.memory_allocated() == before


def test_facts_about_the_device():
    assert gg.cuda.device_count() >= 1
    assert gg.cuda.get_device_name()
    assert gg.cuda.get_device_capability() >= (7, 0)
    gg.cuda.synchronize()
