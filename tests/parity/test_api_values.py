"""Names of ci/api_names.txt that no other test compares with PyTorch, each in a line or two."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad

torch = pytest.importorskip("torch")

NUMBERS = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")


def pads(lib: Any) -> Any:
    x = lib.tensor(NUMBERS, requires_grad=True)
    y = lib.nn.ZeroPad2d((1, 2, 0, 1))(x) * 2 + lib.nn.ReplicationPad2d((1, 2, 0, 1))(x)
    y.square().sum().backward()
    return y, x.grad, lib.nn.ZeroPad2d(1), lib.nn.ReplicationPad2d((1, 2, 0, 1)).padding


def layouts(lib: Any) -> Any:
    x = lib.tensor(NUMBERS)
    last = x.to(memory_format=lib.channels_last)
    ones = lib.ones_like(last, memory_format=lib.preserve_format)
    kept = lib.empty_like(last, memory_format=lib.preserve_format)
    plain = last.contiguous(memory_format=lib.contiguous_format)
    return last.stride(), kept.stride(), ones.stride(), plain.stride(), str(lib.contiguous_format)


def switches(lib: Any) -> Any:
    backend = lib.nn.attention.SDPBackend
    q = lib.tensor(NUMBERS)
    found = []
    for one in (backend.EFFICIENT_ATTENTION, backend.FLASH_ATTENTION, backend.MATH):
        with lib.nn.attention.sdpa_kernel([one, backend.MATH]):
            found.append(lib.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True))
    return found, backend.CUDNN_ATTENTION.name


def typed(lib: Any) -> Any:
    made = (lib.ByteTensor([1, 2]), lib.IntTensor([1, -2]), lib.HalfTensor([0.5, 1]),
            lib.LongTensor(2, 3), lib.FloatTensor([[1.5]]))  # fmt: skip
    return [(t.shape, t.dtype, t.tolist() if t.numel() < 4 else None) for t in made]


def likes(lib: Any) -> Any:
    x = lib.tensor(NUMBERS[0], dtype=lib.float64)
    y = lib.rand_like(x, dtype=lib.float32)
    return y.shape, y.dtype, bool(((y >= 0) & (y < 1)).all()), bool(y.std() > 0.2)


def properties(lib: Any) -> Any:
    x = lib.tensor(NUMBERS)
    half = x.to(lib.float16)
    return (x.nelement(), x.is_sparse, x.element_size(), half.element_size(), x.get_device(),
            x.dim(), half.itemsize)  # fmt: skip


def detached(lib: Any) -> Any:
    x = lib.tensor(NUMBERS[0, 0], requires_grad=True)
    y = x * 2
    same = y.detach_() is y
    return same, y.requires_grad, y.grad_fn, y


def variables(lib: Any) -> Any:
    x = lib.autograd.Variable(lib.tensor(NUMBERS[0, 0]), requires_grad=True)
    (x**2).sum().backward()
    source = lib.tensor(NUMBERS[0, 0], requires_grad=True) * 1
    view = lib.autograd.Variable(source)
    view[0] = 7  # the same memory, but no history
    with pytest.raises(TypeError, match="tensor"):
        lib.autograd.Variable([1.0])
    with pytest.warns(UserWarning, match="volatile"):
        lib.autograd.Variable(x, volatile=True)
    return (
        x.grad,
        isinstance(x, lib.autograd.Variable),
        isinstance(3, lib.autograd.Variable),
        (source, view, view.requires_grad, view.grad_fn),
        lib.autograd.Variable().shape,
    )


def bases(lib: Any) -> Any:
    norm = lib.nn.modules.batchnorm._BatchNorm
    loss = lib.nn.modules.loss._Loss
    rate = lib.optim.lr_scheduler._LRScheduler
    optimizer = lib.optim.SGD([lib.nn.Parameter(lib.zeros(1))], lr=0.1)

    class Mine(loss):
        def forward(self, x: Any) -> Any:
            return x.mean() if self.reduction == "mean" else x.sum()

    x = lib.tensor(NUMBERS)
    old = Mine(None, None, "sum")(x)
    return (
        [isinstance(lib.nn.BatchNorm2d(1), norm), isinstance(lib.nn.LayerNorm(1), norm)],
        [isinstance(lib.nn.MSELoss(), loss), isinstance(lib.nn.Linear(1, 1), loss)],
        isinstance(lib.optim.lr_scheduler.StepLR(optimizer, 1), rate),
        Mine()(x), old,
    )  # fmt: skip


def only_inputs(lib: Any) -> Any:
    x = lib.tensor(NUMBERS[0, 0], requires_grad=True)
    score = (x**3).sum(1)
    (g,) = lib.autograd.grad(
        outputs=score, inputs=x, grad_outputs=lib.ones_like(score), create_graph=True,
        retain_graph=True, only_inputs=True,
    )  # fmt: skip
    g.square().sum().backward()
    (h,) = lib.autograd.grad((x**2).sum(), x, None, True, False, True, True)
    with pytest.warns(FutureWarning, match="only_inputs"):
        lib.autograd.grad((x**2).sum(), x, only_inputs=False)
    return g, h, x.grad


def reset(lib: Any) -> Any:
    layer = lib.nn.Linear(400, 50)
    before = layer.weight.detach().clone()
    layer.reset_parameters()
    bound = layer.weight.abs().max().item()
    return bool((layer.weight != before).any()), 0.049 < bound <= 0.05, layer.bias.shape


CASES = (pads, layouts, switches, typed, likes, properties, detached, variables, bases,
         only_inputs, reset)  # fmt: skip


def plain(value: Any) -> Any:
    """Results of either library as data that compares."""
    if isinstance(value, (torch.Tensor, gpugrad.Tensor)):
        return value.detach().numpy()
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, bool | int | float | None):
        return value
    return str(value).replace("gpugrad", "torch")


def assert_same(ours: Any, theirs: Any) -> None:
    """Structure, dtypes, shapes and values."""
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
    elif isinstance(theirs, np.ndarray):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    else:
        assert ours == theirs


@pytest.mark.parametrize("case", CASES, ids=lambda f: f.__name__)
def test_values_are_pytorchs(case: Callable[[Any], Any]) -> None:
    """The same program over both libraries."""
    assert_same(plain(case(gpugrad)), plain(case(torch)))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: gpugrad.polar(x, x),
        lambda x: gpugrad.view_as_complex(x),
        lambda x: gpugrad.view_as_real(x),
    ],
    ids=["polar", "view_as_complex", "view_as_real"],
)
def test_complex_numbers_are_refused_in_words(call: Callable[[Any], Any]) -> None:
    """One clear error."""
    with pytest.raises(
        (gpugrad.errors.NotSupportedError, gpugrad.errors.DTypeError), match="complex"
    ):
        call(gpugrad.ones(3, 2))
