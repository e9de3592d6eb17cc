"""Run by tests/unit/test_cuda_path.py over two stand-in devices: work stays where arrays are."""

import copy

import cupy
import pytest

import gpugrad as gg
from gpugrad.backends.nvidia import launch
from gpugrad.errors import DeviceError


@pytest.fixture
def x():
    """A leaf on the second device, while the first is current."""
    return gg.arange(6.0, device="cuda:1").reshape(2, 3).detach().requires_grad_()


def test_the_stand_in_refuses_work_on_another_device():
    """As CuPy does where devices cannot reach each other."""
    with cupy.cuda.Device(1):
        array = cupy.ones(2)
    with pytest.raises(ValueError, match="current device"):
        array + array


def test_a_kernel_runs_on_the_device_that_it_was_loaded_on():
    """``launch`` loads it on each; CUDA refuses another device's."""
    text = 'extern "C" __global__ void two(float* x) { x[threadIdx.x] = 2; }'
    function = cupy.cuda.function.Module()
    function.load(text.encode())
    function = function.get_function("two")
    for index in (1, 0, 1):
        with cupy.cuda.Device(index):
            x = cupy.zeros(3, "f")
            launch.kernel(text, "two").launch((1, 1, 1), (3, 1, 1), (x,))
            assert x.tolist() == [2, 2, 2]
    with cupy.cuda.Device(1), pytest.raises(cupy.cuda.driver.CUDADriverError, match="HANDLE"):
        function((1,), (3,), (x,))


@pytest.mark.parametrize("make", [
    lambda d: gg.zeros(2, device=d), lambda d: gg.arange(3, device=d),
    lambda d: gg.eye(2, device=d), lambda d: gg.rand(3, device=d),
    lambda d: gg.randperm(5, device=d),
    lambda d: gg.tensor([1.0], device=d), lambda d: gg.full((2,), 3, device=d),
])  # fmt: skip
def test_things_are_made_where_asked(make):
    """The current device stays what it was."""
    assert str(make("cuda:1").device) == "cuda:1"
    assert gg.cuda.current_device() == 0


def test_gradients_stay_on_the_device(x):
    """Broadcasting, accumulation, halves, several outputs, a second pass, deepcopy."""
    half = x.half() * 2
    top, _ = x.max(dim=1)
    y = (x * x[0] + x.sum()).sum() + half.float().sum() + top.sum() + x.sort().values[0].sum()
    y.backward(retain_graph=True)
    first = x.grad.clone()
    y.backward()
    assert str(x.grad.device) == "cuda:1"
    assert x.grad.tolist() == (2 * first).tolist()
    (g,) = gg.grad((x**3).sum(), x, create_graph=True) if hasattr(gg, "grad") else (
        gg.autograd.grad((x**3).sum(), x, create_graph=True))  # fmt: skip
    g.sum().backward()
    assert str(copy.deepcopy(x).grad.device) == "cuda:1"
    assert gg.cuda.current_device() == 0


def test_writes_stay_on_the_device(x):
    """In place, ``out=``, through a view, by an index."""
    y = x.detach().clone()
    y.add_(1).mul_(2)
    y[0] = 5
    y[:, gg.tensor([1], device="cuda:1")] = 7
    gg.add(y, y, out=gg.empty(2, 3, device="cuda:1"))
    y.copy_(gg.ones(2, 3))
    assert str(y.device) == "cuda:1"


def test_an_optimiser_on_the_second_device(x):
    """Its state lives beside the parameter."""
    optimiser = gg.optim.Adam([x], lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        (x * x).sum().backward()
        optimiser.step()
    assert str(x.device) == "cuda:1"


def test_between_devices(x):
    """Moving is differentiable; mixing is refused with both names."""
    y = x.to("cuda:0")
    assert str(y.device) == "cuda:0"
    (y * 2).sum().backward()
    assert str(x.grad.device) == "cuda:1"
    with pytest.raises(DeviceError, match=r"cuda:0 and cuda:1|cuda:1 and cuda:0"):
        x + y
    with pytest.raises(DeviceError, match="no device cuda:2"):
        gg.ones(2, device="cuda:2")


def test_the_current_device():
    """``gg.cuda.device`` and ``set_device`` say where ``cuda`` is."""
    with gg.cuda.device(1):
        assert str(gg.ones(2, device="cuda").device) == "cuda:1"
        assert gg.cuda.current_device() == 1
    assert gg.cuda.current_device() == 0
    assert gg.cuda.device_count() == 2


def test_generators_differ_by_device():
    """Each device has its own stream from the same seed."""
    gg.manual_seed(3)
    a = gg.rand(4, device="cuda:0").tolist()
    assert gg.rand(4, device="cuda:1").tolist() == a
    assert gg.rand(4, device="cuda:0").tolist() != a
