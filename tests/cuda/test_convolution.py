"""Convolutions on a GPU are PyTorch's: values, gradients and layouts, in all ways to call them."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.backends.memory.private import PrivatePool
from gpugrad.errors import KernelError

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:Using padding='same'")]

#: Shape of the input and the weight, and settings, as ``conv1d`` to ``conv3d`` take them.
CASES = {
    "3x3": ((2, 8, 9, 10), (16, 8, 3, 3), {"padding": 1}),
    "1x1": ((2, 8, 5, 6), (16, 8, 1, 1), {}),
    "odd channels": ((2, 3, 9, 10), (5, 3, 3, 2), {"stride": (2, 1), "padding": (1, 0)}),
    "one channel": ((2, 1, 9, 10), (4, 1, 3, 3), {}),
    "a column of pixels": ((2, 8, 9, 1), (16, 8, 3, 1), {}),
    "same, uneven": ((2, 8, 9, 10), (16, 8, 2, 3), {"padding": "same"}),
    "dilated": ((2, 8, 9, 10), (16, 8, 3, 3), {"padding": 2, "dilation": (2, 1)}),
    "groups": ((2, 8, 9, 10), (12, 4, 3, 3), {"groups": 2, "padding": 1}),
    "depthwise": ((2, 8, 9, 10), (16, 1, 3, 3), {"groups": 8, "padding": 1}),
    "pixels left over": ((2, 8, 10, 11), (16, 8, 3, 3), {"stride": (3, 4)}),
    "line": ((2, 8, 12), (16, 8, 3), {"stride": 2, "padding": 1}),
    "line, dilated": ((2, 8, 12), (16, 4, 3), {"dilation": 3, "groups": 2}),
    "volume": ((2, 8, 5, 6, 7), (16, 8, 3, 2, 3), {"stride": (1, 2, 1), "padding": (1, 0, 1)}),
    "volume, groups": ((1, 8, 5, 6, 7), (16, 4, 3, 2, 3), {"groups": 2}),
}
TRANSPOSED = {
    "2 of 3": ((2, 8, 4, 5), (8, 6, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "groups": ((2, 8, 4, 5), (8, 3, 2, 2), {"stride": 2, "groups": 2}),
    "dilated": ((2, 8, 4, 5), (8, 6, 3, 3), {"dilation": 2, "padding": 1}),
    "line": ((2, 8, 6), (8, 6, 3), {"stride": 2}),
    "volume": ((1, 8, 3, 4, 3), (8, 6, 2, 2, 2), {"stride": 2, "padding": 1}),
}
#: What 16-bit results may be off by, of the largest: a rounding, and another of the bias.
TOLERANCES = {"float64": 1e-12, "float32": 5e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


def _draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) for s in shapes]


def _ours(call, arrays, dtype, last=False):
    """The result and the gradients of a weighted sum of it, as float64 NumPy arrays."""
    tensors = [gg.tensor(a).to(getattr(gg, dtype)).cuda() for a in arrays]
    if last:
        tensors[0] = tensors[0].contiguous(memory_format=gg.channels_last)
    tensors = [t.detach().requires_grad_() for t in tensors]
    y = call(gg.nn.functional, *tensors)
    (y * y.detach()).sum().backward()
    return [t.detach().to(gg.float64).cpu().numpy() for t in (y, *(t.grad for t in tensors))], y


def _theirs(call, arrays, dtype):
    import torch

    tensors = [torch.tensor(a).to(getattr(torch, dtype)).double() for a in arrays]
    tensors = [t.requires_grad_() for t in tensors]
    y = call(torch.nn.functional, *tensors)
    (y * y.detach()).sum().backward()
    return [t.detach().numpy() for t in (y, *(t.grad for t in tensors))]


def _compare(ours, theirs, dtype, factor=1.0):
    for name, a, b in zip(("result", "input", "weight", "bias"), ours, theirs, strict=False):
        worst = np.abs(a - b).max() / np.abs(b).max()
        assert a.shape == b.shape
        assert worst < factor * TOLERANCES[dtype], f"{name} is off by {worst:.2g}"


def _conv(w, settings, kind="conv"):
    name = f"{kind}{len(w) - 2}d"
    return lambda F, x, w, b: getattr(F, name)(x, w, b, **settings)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_as_pytorch(name, dtype):
    """Result, and gradients in the input, the weight and the bias."""
    x, w, settings = CASES[name]
    call, arrays = _conv(w, settings), _draw(x, w, w[:1])
    _compare(_ours(call, arrays, dtype)[0], _theirs(call, arrays, dtype), dtype, 2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed(name, dtype):
    """A transposed convolution, which is a gradient of one."""
    x, w, settings = TRANSPOSED[name]
    call = _conv(w, settings, "conv_transpose")
    arrays = _draw(x, w, (w[1] * settings.get("groups", 1),))
    _compare(_ours(call, arrays, dtype)[0], _theirs(call, arrays, dtype), dtype, 2)


@pytest.mark.parametrize("name", ["3x3", "groups", "odd channels"])
def test_channels_last_stays(name):
    """Channels last in, channels last out, and the same numbers as in order."""
    x, w, settings = CASES[name]
    call, arrays = _conv(w, settings), _draw(x, w, w[:1])
    ours, y = _ours(call, arrays, "float32", last=True)
    _compare(ours, _theirs(call, arrays, "float32"), "float32")
    assert y.is_contiguous(memory_format=gg.channels_last)
    assert _ours(call, arrays, "float32")[1].is_contiguous()


def test_any_strides():
    """Views with gaps, reversed, transposed or expanded go in like copies of them."""
    (base,) = _draw((4, 16, 12, 12))
    x = gg.tensor(base).float().cuda()
    w = gg.tensor(_draw((6, 8, 3, 3))[0]).float().cuda()
    views = [x[::2, 3:11], x[:, ::2, 1:, 2:], x.transpose(2, 3)[:, 8:],
             x[:1, :8].expand(3, 8, 12, 12),
             x.permute(0, 2, 3, 1).flip(3).permute(0, 3, 1, 2)[:, 5:13]]  # fmt: skip
    for view in views:
        found, wanted = gg.conv2d(view, w), gg.conv2d(view.clone().contiguous(), w)
        assert float((found - wanted).abs().max()) == 0.0


def test_second_derivatives():
    """The gradient of a gradient, through the three operations again."""
    import torch

    x, w = _draw((2, 4, 5, 5), (6, 2, 3, 3))

    def penalty(lib, leaf, grad):
        a, b = leaf(x), leaf(w)
        y = lib.nn.functional.conv2d(a, b, None, 1, 1, 1, 2)
        (gx,) = grad((y * y).sum(), [a])
        return [*grad((gx * gx).sum(), [a, b])]

    ours = penalty(
        gg, lambda v: gg.tensor(v).double().cuda().requires_grad_(),
        lambda y, xs: gg.autograd.grad(y, xs, create_graph=True),
    )  # fmt: skip
    theirs = penalty(torch, lambda v: torch.tensor(v).requires_grad_(),
                     lambda y, xs: torch.autograd.grad(y, xs, create_graph=True))  # fmt: skip
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.detach().cpu().numpy(), b.detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_bias_gradient_is_rounded_once(dtype):
    """Thousands of 16-bit numbers are added in float32."""
    (g,) = _draw((4, 3, 32, 48))
    g = gg.tensor(g + 0.25).to(getattr(gg, dtype))
    bias = gg.zeros(3).to(g.dtype).cuda().requires_grad_()
    x, w = gg.zeros(4, 8, 32, 48).to(g.dtype).cuda(), gg.zeros(3, 8, 1, 1).to(g.dtype).cuda()
    gg.conv2d(x, w, bias).backward(g.cuda())
    wanted = g.double().sum((0, 2, 3)).float().to(g.dtype)
    off = (bias.grad.cpu().double() - wanted.double()).abs() / wanted.double().abs()
    assert float(off.max()) <= gg.finfo(g.dtype).eps


def test_twice_is_the_same():
    """The same bits again, in every dtype and direction."""
    x, w, settings = (16, 32, 28, 28), (64, 32, 3, 3), {"padding": 1}
    call, arrays = _conv(w, settings), _draw(x, w, w[:1])
    for dtype in TOLERANCES:
        for a, b in zip(_ours(call, arrays, dtype)[0], _ours(call, arrays, dtype)[0], strict=True):
            assert a.tobytes() == b.tobytes()


def test_tf32_is_a_switch():
    """Ten bits of mantissa where it is allowed, all where it is not."""
    x, w, settings = CASES["3x3"]
    call, arrays = _conv(w, settings), _draw(x, w, w[:1])
    theirs = _theirs(call, arrays, "float32")
    with gg.backends.cudnn.flags(enabled=True, allow_tf32=True):
        rounded = _ours(call, arrays, "float32")[0][0]
    assert 1e-5 < np.abs(rounded - theirs[0]).max() / np.abs(theirs[0]).max() < 2e-3


@pytest.mark.parametrize("switches", [{"enabled": False}, {"enabled": True, "benchmark": True}])
def test_other_ways_give_the_same(switches):
    """Our own way without cuDNN, and the plan that was timed as the fastest."""
    with gg.backends.cudnn.flags(**switches, allow_tf32=False):
        for name in ("groups", "line", "volume"):
            x, w, settings = CASES[name]
            call, arrays = _conv(w, settings), _draw(x, w, w[:1])
            for dtype in ("float32", "bfloat16"):
                ours = _ours(call, arrays, dtype)[0]
                _compare(ours, _theirs(call, arrays, dtype), dtype, 2)


def test_capture_wants_a_plan():
    """A captured convolution runs a plan that is there; a new shape says what to do."""
    import cupy

    x, w = (gg.randn(*s, device="cuda") for s in ((2, 8, 9, 9), (8, 8, 3, 3)))
    y = gg.conv2d(x, w, None, 1, 1)
    stream, private = cupy.cuda.Stream(non_blocking=True), PrivatePool()
    with stream:
        stream.begin_capture()
        with gg.backends.cuda().pool(0).private(private):
            again = gg.conv2d(x, w, None, 1, 1)
            with pytest.raises(KernelError, match="before capturing"):
                gg.conv2d(x[:1], w, None, 1, 1)
        graph = stream.end_capture()
        graph.launch(stream)
    stream.synchronize()
    assert float((again - y).abs().max()) == 0.0
