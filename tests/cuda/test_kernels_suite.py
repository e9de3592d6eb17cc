"""Kernels of every shape of work, small enough for compute-sanitizer: ``-m cuda -k kernels``.

Sizes lie around what a warp, a vector access and a block hold, so that a tail that reads or writes
too far does so here.  Values and gradients are compared with float64 on the CPU.  What is named
``library`` runs the vendor's kernels, which racecheck and initcheck need not look at.
"""

import pytest

import gpugrad as gg
from gpugrad.testing import assert_close

F = gg.nn.functional
SHAPES = [(1, 1), (3, 31), (2, 33), (5, 1023), (2, 4097), (70, 8)]
#: Relative to the largest element: a few hundred roundings of float32, a few of the 16-bit floats.
BOUNDS = {gg.float32: 5e-5, gg.float16: 8e-3, gg.bfloat16: 6e-2}


@gg.fuse
def fused(x):
    """A function of a user's: elementwise, along rows, elementwise."""
    return gg.tanh(x * gg.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5)) * 0.5


def batch_norm(x):
    """Statistics of columns."""
    mean, var = (gg.zeros(x.shape[1], dtype=x.dtype, device=x.device) for _ in range(2))
    return F.batch_norm(gg.cat([x, 2 * x, 1 - x]), mean, var + 1, training=True)


def cross_entropy(x):
    """The class of row i is i, as far as there are columns."""
    return F.cross_entropy(x, gg.arange(len(x), device=x.device) % x.shape[1])


def picked(x):
    """Rows that are asked for several times: their gradients are added up."""
    rows = gg.arange(3 * len(x), device=x.device) // 2 % len(x)
    return F.embedding(rows, x)


def added(x):
    """Values that meet in few places."""
    rows = gg.arange(len(x), device=x.device) // 3
    return gg.zeros_like(x).index_add(0, rows, x)


def images(x):
    """The matrix as a batch of images with two channels."""
    return x.reshape(1, 1, *x.shape).expand(2, 2, *x.shape) + 0.0


WORK = {
    "add": lambda x: x + 2 * x, "gelu": F.gelu, "exp": lambda x: gg.exp(-x * x),
    "where": lambda x: gg.where(x > 0, x, 0.1 * x), "columns": lambda x: x * x[:1],
    "rows": lambda x: x * x[:, :1], "transposed": lambda x: x.t() * 2,
    "strided": lambda x: x[:, ::2] * 3, "softmax": lambda x: F.softmax(x, -1),
    "log_softmax": lambda x: F.log_softmax(x, -1), "logsumexp": lambda x: gg.logsumexp(x, -1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "rms_norm": lambda x: F.rms_norm(x, x.shape[1:], eps=1e-5), "cross_entropy": cross_entropy,
    "mse": lambda x: F.mse_loss(x, x * x), "sum": lambda x: x.sum(), "sum of rows":
    lambda x: x.sum(-1), "sum of columns": lambda x: x.sum(0), "max of rows":
    lambda x: x.max(-1).values, "variance": lambda x: x.var(-1, unbiased=False),
    "cumsum": lambda x: gg.cumsum(x, -1), "embedding": picked, "index_add": added,
    "batch_norm": batch_norm, "sort": lambda x: x.sort(-1, stable=True).values,
    "max_pool2d": lambda x: F.max_pool2d(images(x), 3, 2, 1),
    "avg_pool2d": lambda x: F.avg_pool2d(images(x), 3, 2, 1),
    "library: conv2d": lambda x: F.conv2d(images(x), 0.1 * gg.ones_like(images(x))[:, :, :1, :1]),
    "library: matmul": lambda x: x @ x.t(), "fuse": fused,
}  # fmt: skip


def numbers(shape):
    """Distinct numbers between -1 and 1 that every float holds: 257 of them."""
    count = shape[0] * shape[1]
    return ((gg.arange(count) * 101 % 257).double() / 128 - 1).reshape(shape)


def there_and_back(fn, x):
    """The result and the gradient."""
    x = x.detach().requires_grad_()
    y = fn(x)
    weights = (gg.arange(y.numel(), device=x.device) % 5 - 2).reshape(y.shape).to(y.dtype)
    y.backward(weights)
    return y.detach(), x.grad


@pytest.mark.parametrize("name", WORK)
def test_kernels(name):
    """Forward and backward in three dtypes."""
    for shape in SHAPES:
        for dtype, bound in BOUNDS.items():
            x = numbers(shape).to(dtype)
            if name == "fuse":  # the same function, op by op
                want = there_and_back(fused.__wrapped__, x.double())
            else:
                want = there_and_back(WORK[name], x.double())
            found = there_and_back(WORK[name], x.cuda())
            for a, b in zip(found, want, strict=True):
                assert a.dtype is dtype
                scale = max(float(b.abs().max()), 0.1)
                text = f"{name} {shape} {dtype}: {{}}".format
                assert_close(a.cpu().double(), b, rtol=bound, atol=bound * scale, msg=text)


def test_kernels_of_dropout():
    """What is dropped forward is dropped backward, and the rest is scaled."""
    for n in (1, 31, 1025, 70_001):
        x = gg.ones(n, device="cuda", requires_grad=True)
        y = F.dropout(x, 0.25)
        y.sum().backward()
        assert gg.equal(x.grad, y.detach())
        assert set(y.unique().tolist()) <= {0.0, gg.tensor(1 / 0.75).item()}
    assert abs(float(y.detach().mean()) - 1) < 0.02


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_kernels_of_optimisers(kind):
    """Three steps over tensors of many sizes, and clipping before each."""
    ends = []
    for device in ("cpu", "cuda"):
        weights = [numbers((n, 3)).to(device).requires_grad_() for n in (1, 5, 11, 350, 3000)]
        optimizer = getattr(gg.optim, kind)(weights, lr=0.1)
        for step in range(3):
            for i, w in enumerate(weights):
                w.grad = (w.detach() + 0.1 * (i + step)).float().to(w.dtype)
            gg.nn.utils.clip_grad_norm_(weights, 5.0)
            optimizer.step()
        ends.append([w.detach().cpu() for w in weights])
    for a, b in zip(*ends, strict=True):
        assert_close(a, b, rtol=1e-6, atol=1e-6)
