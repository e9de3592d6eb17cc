"""Random programs over a small pool of tensors, as plain data that either library can run.

A program is a list of steps ``(name, numbers)``.  A step reads its numbers as choices: which tensors
of the pool, which dims, which settings.  They are read against one library's pool and give an action
``(lib, pool) -> new tensors``, which then runs on both, so both do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Step = tuple[str, tuple[int, ...]]
Action = Callable[[Any, list[Any]], Any]

#: name of a step -> how it reads its choices
STEPS: dict[str, Callable[[Choices, list[Any]], Action | None]] = {}


class Choices:
    """The numbers of one step, read one after the other; 0 when they are used up."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = iter(numbers)

    def below(self, n: int) -> int:
        return next(self._numbers, 0) % n if n > 0 else 0

    def of(self, items: Sequence[Any]) -> Any:
        return items[self.below(len(items))]

    def yes(self) -> bool:
        return self.below(2) == 1

    def var(self, pool: list[Any], wanted: Callable[[Any], bool] = lambda t: True) -> int | None:
        """Place of a tensor in the pool; the newest ones come first."""
        fit = [i for i, t in enumerate(pool) if wanted(t)]
        return fit[-1 - self.below(len(fit))] if fit else None


def step(fn: Callable[[Choices, list[Any]], Action | None]) -> Callable[..., Any]:
    STEPS[fn.__name__] = fn
    return fn


def numbers(shape: tuple[int, ...], start: int) -> np.ndarray[Any, Any]:
    """Distinct values between -1.3 and 1.3 that are never 0: no ties and no kinks."""
    n = int(np.prod(shape))
    return (np.sin(1.0 + 2.399 * (np.arange(n) + start)) * 1.3 + 0.0123).reshape(shape)


def fresh(lib: Any, shape: tuple[int, ...], start: int, grad: bool = False) -> Any:
    return lib.tensor(numbers(shape, start), dtype=lib.float64, requires_grad=grad)


def start_pool(lib: Any) -> list[Any]:
    return [
        fresh(lib, (2, 3), 0, True), fresh(lib, (3,), 10, True), fresh(lib, (), 20, True),
        fresh(lib, (3, 2), 30), fresh(lib, (1, 3), 40),
    ]  # fmt: skip


def is_float(t: Any) -> bool:
    return bool(t.is_floating_point())


def _shape(t: Any) -> tuple[int, ...]:
    return tuple(t.shape)


def _fits(a: Any, b: Any) -> bool:
    """Whether ``b`` broadcasts to the shape of ``a``."""
    try:
        return np.broadcast_shapes(_shape(a), _shape(b)) == _shape(a)
    except ValueError:
        return False


def _joins(a: Any, b: Any) -> bool:
    try:
        shape = np.broadcast_shapes(_shape(a), _shape(b))
    except ValueError:
        return False
    return int(np.prod(shape)) <= 40


# ---- out of place ------------------------------------------------------------------------------


@step
def unary(c, pool):
    i = c.var(pool, is_float)
    name = c.of(["tanh", "sin", "cos", "sigmoid", "neg", "square", "abs", "relu", "atan", "erf",
                 "exp", "softplus", "clone", "log1p_abs"])  # fmt: skip
    if name == "exp":
        return lambda lib, p: (p[i].clamp(max=1.0)).exp()
    if name == "softplus":
        return lambda lib, p: lib.nn.functional.softplus(p[i])
    if name == "log1p_abs":
        return lambda lib, p: p[i].abs().log1p()
    return lambda lib, p: getattr(p[i], name)()


@step
def binary(c, pool):
    i = c.var(pool)
    j = c.var(pool, lambda t: _joins(pool[i], t))
    name = c.of(["add", "mul", "sub", "div", "maximum", "atan2", "hypot", "where", "rsub"])
    if name == "div":
        return lambda lib, p: p[i] / (p[j].abs() + 1)
    if name == "where":
        return lambda lib, p: lib.where(p[i] > p[j], p[i], p[j] * 2)
    if name == "atan2":
        return lambda lib, p: lib.atan2(p[i], p[j].abs() + 1)
    if name == "hypot":
        return lambda lib, p: lib.hypot(p[i], p[j].abs() + 1)
    if name == "rsub":
        return lambda lib, p: 1.5 - p[i] - p[j]
    return lambda lib, p: getattr(lib, name)(p[i], p[j])


@step
def number(c, pool):
    i, name, value = c.var(pool), c.of(["add", "mul", "sub", "div", "pow"]), c.of([2, 0.5, 3, -1.5])
    if name == "pow":
        return lambda lib, p: p[i] ** (3 if value == 3 else 2)
    return lambda lib, p: getattr(p[i], name)(value)


@step
def ternary(c, pool):
    i = c.var(pool)
    j, k = (c.var(pool, lambda t: _fits(pool[i], t)) for _ in range(2))
    name = c.of(["addcmul", "where", "lerp", "clamp"])
    if name == "where":
        return lambda lib, p: lib.where(p[i] > 0, p[j], p[k])
    if name == "clamp":
        return lambda lib, p: p[i].clamp(p[j] - 0.5, p[k] + 0.5)
    if name == "lerp":
        return lambda lib, p: lib.lerp(p[i], p[j].expand_as(p[i]), p[k].expand_as(p[i]))
    return lambda lib, p: lib.addcmul(p[i], p[j], p[k], value=0.5)


@step
def reduce(c, pool):
    i = c.var(pool, lambda t: t.numel() > 0)
    name = c.of(["sum", "mean", "amax", "max", "min", "logsumexp", "prod", "norm", "var"])
    ndim, keep = pool[i].ndim, c.yes()
    dim = c.below(ndim) if ndim else 0
    if c.yes() or not ndim:
        if name in ("amax", "logsumexp"):
            return lambda lib, p: getattr(p[i], name)(tuple(range(ndim)))
        if name == "var":
            return lambda lib, p: p[i].var(unbiased=False)
        return lambda lib, p: getattr(p[i], name)()
    if name in ("max", "min"):
        return lambda lib, p: getattr(p[i], name)(dim, keep)[0]
    if name == "norm":
        return lambda lib, p: p[i].norm(dim=dim, keepdim=keep)
    if name == "var":
        return lambda lib, p: p[i].var(dim, unbiased=False, keepdim=keep)
    return lambda lib, p: getattr(p[i], name)(dim, keepdim=keep)


@step
def along(c, pool):
    i = c.var(pool, lambda t: t.ndim > 0 and t.numel() > 0)
    dim = c.below(pool[i].ndim) if i is not None else 0
    name = c.of(["softmax", "log_softmax", "cumsum", "sort", "topk", "flip", "roll", "cumprod",
                 "diff", "logcumsumexp", "median", "argsort_gather", "normalize"])  # fmt: skip
    if i is None:
        return None
    if name == "sort":
        return lambda lib, p: p[i].sort(dim)[0]
    if name == "topk":
        return lambda lib, p: p[i].topk(1, dim)[0]
    if name == "flip":
        return lambda lib, p: p[i].flip(dim)
    if name == "roll":
        return lambda lib, p: p[i].roll(1, dim)
    if name == "diff":
        return lambda lib, p: lib.diff(p[i], dim=dim)
    if name == "median":
        # Of an expanded tensor PyTorch's is wrong.
        return lambda lib, p: p[i].contiguous().median(dim)[0]
    if name == "normalize":
        return lambda lib, p: lib.nn.functional.normalize(p[i], dim=dim)
    if name == "argsort_gather":
        return lambda lib, p: p[i].gather(dim, p[i].argsort(dim))
    return lambda lib, p: getattr(p[i], name)(dim)


@step
def join(c, pool):
    i = c.var(pool, lambda t: t.numel() <= 18)
    j = c.var(pool, lambda t: _shape(t) == _shape(pool[i]))
    name = c.of(["cat", "stack", "hstack"])
    if not pool[i].ndim:
        name = "stack"
    dim = c.below(pool[i].ndim) if pool[i].ndim else 0
    if name == "hstack":
        return lambda lib, p: lib.hstack([p[i], p[j]])
    return lambda lib, p: getattr(lib, name)([p[i], p[j], p[i]], dim)


@step
def matmul(c, pool):
    i = c.var(pool, lambda t: t.ndim > 0)
    if i is None:
        return None
    a = pool[i]

    def fits(t):
        if t.ndim not in (1, 2):
            return False
        return t.shape[0] == a.shape[-1]

    j = c.var(pool, fits)
    if j is None:
        return lambda lib, p: p[i] @ p[i].transpose(-1, -2) if p[i].ndim > 1 else p[i] @ p[i]
    return lambda lib, p: p[i] @ p[j]


@step
def outer(c, pool):
    i, j = (c.var(pool, lambda t: t.ndim == 1 and t.numel() <= 6) for _ in range(2))
    return None if i is None else lambda lib, p: lib.outer(p[i], p[j])


@step
def pick(c, pool):
    i = c.var(pool, lambda t: t.ndim > 0 and t.shape[0] > 0)
    if i is None:
        return None
    n, dim = pool[i].shape[0], c.below(pool[i].ndim)
    places = [c.below(n), c.below(n), c.below(n)]
    name = c.of(["getitem", "index_select", "mask", "gather", "masked_select", "take"])
    if name == "getitem":
        return lambda lib, p: p[i][lib.tensor(places)]
    if name == "mask":
        return lambda lib, p: p[i][lib.tensor([k % 2 == places[0] % 2 for k in range(n)])]
    if name == "gather":
        return lambda lib, p: p[i].gather(0, lib.full_like(p[i], places[0], dtype=lib.int64))
    if name == "masked_select":
        return lambda lib, p: p[i].masked_select(p[i] > 0)
    if name == "take":
        return lambda lib, p: p[i].take(lib.tensor(places))
    if not pool[i].shape[dim]:
        return None
    some = [k % pool[i].shape[dim] for k in places]
    return lambda lib, p: p[i].index_select(dim, lib.tensor(some))


# ---- views -------------------------------------------------------------------------------------


def _slices(c, shape):
    key = []
    for n in shape:
        kind = c.below(5)
        if kind == 0 or n == 0:
            key.append(slice(None))
        elif kind == 1:
            key.append(c.below(n))
        elif kind == 2:
            key.append(slice(c.below(n), None))
        elif kind == 3:
            key.append(slice(None, None, 2))
        else:
            key.append(slice(0, c.below(n) + 1))
    if c.below(6) == 5:
        key.insert(0, None)
    return tuple(key)


def _regroup(c, shape):
    n = int(np.prod(shape))
    options = [(n,), (-1,) if n else (n,), (1, n), (n, 1)]
    options += [(k, n // k) for k in (2, 3) if n and n % k == 0]
    if n == 1:
        options.append(())
    return c.of(options)


@step
def view(c, pool):
    i = c.var(pool)
    act = _view_of(c, _shape(pool[i]))
    return None if act is None else lambda lib, p: act(p[i])


def _view_of(c, shape):
    """A view of a tensor of this shape, as a function."""
    ndim = len(shape)
    a, b = (c.below(ndim), c.below(ndim)) if ndim else (0, 0)
    name = c.of(["slice", "transpose", "select", "narrow", "reshape", "view", "expand", "diagonal",
                 "unbind", "split", "unsqueeze", "squeeze", "permute", "flatten", "T", "unfold",
                 "chunk", "view_as", "whole", "movedim", "expand_same", "squeeze_all"])  # fmt: skip
    if name == "slice":
        key = _slices(c, shape)
        return lambda t: t[key]
    if name == "whole":
        return lambda t: t[...]
    if name == "reshape" or name == "view":
        new = _regroup(c, shape)
        return lambda t: getattr(t, name)(new)
    if name == "unsqueeze":
        d = c.below(ndim + 1)
        return (lambda t: t.unsqueeze(d)) if ndim < 4 else None
    if name == "expand":
        new = (2, *shape) if int(np.prod(shape)) <= 12 and ndim < 4 else shape
        return lambda t: t.expand(new)
    if name == "expand_same":
        return lambda t: t.expand(shape)
    if name == "squeeze_all":
        return lambda t: t.squeeze()
    if name == "flatten":
        return lambda t: t.flatten()
    if name == "view_as":
        return lambda t: t.view_as(t)
    if name == "T":
        return lambda t: t.mT if ndim >= 2 else t.t()
    if name == "diagonal":
        offset = c.below(3) - 1
        return (lambda t: t.diagonal(offset, 0, 1)) if ndim >= 2 else None
    if not ndim:
        return None
    if name == "transpose":
        return lambda t: t.transpose(a, b)
    if name == "movedim":
        return lambda t: t.movedim(a, b)
    if name == "permute":
        return lambda t: t.permute(tuple(reversed(range(ndim))))
    if name == "squeeze":
        return lambda t: t.squeeze(a)
    n = shape[a]
    if n == 0:
        return None
    k = c.below(n)
    if name == "select":
        return lambda t: t.select(a, k)
    if name == "narrow":
        return lambda t: t.narrow(a, k, n - k)
    if name == "unfold":
        return lambda t: t.unfold(a, k + 1, 1) if ndim < 4 else t[k:]
    if name == "unbind":  # PyTorch refuses writes to one of several views: it gets the same by hand
        return lambda t: t.select(a, k) if _torch(t) else t.unbind(a)[k]
    if name == "split":
        return lambda t: t.narrow(a, k, 1) if _torch(t) else t.split(1, a)[k]
    return lambda t: t.narrow(a, 0, -(-n // 2)) if _torch(t) else t.chunk(2, a)[0]


def _repeats(t: Any) -> bool:
    """Whether two elements are one in memory: PyTorch refuses some writes to such a tensor."""
    places = np.zeros((), dtype=int)
    for n, stride in zip(t.shape, t.stride(), strict=True):
        places = np.add.outer(places, np.arange(n) * stride)
    return len(np.unique(places)) < places.size


def _torch(t: Any) -> bool:
    return type(t).__module__.startswith("torch")


# ---- in place ----------------------------------------------------------------------------------


def _write(c, shape, pool, like):
    """A write into a tensor of this shape, as a function of it."""
    j = c.var(pool, lambda t: _fits(like, t))
    k = c.var(pool, lambda t: _fits(like, t))
    value = c.of([0.5, 2.0, -1.25])
    name = c.of(["add_", "mul_", "sub_", "copy_", "fill_", "zero_", "relu_", "tanh_", "clamp_",
                 "masked_fill_", "number", "setitem", "set_mask", "set_index", "index_add_", "scatter_",
                 "addcmul_", "lerp_", "sigmoid_", "neg_", "div_", "square_", "fill_tensor", "iadd",
                 "index_fill_", "index_copy_", "scatter_add_", "masked_tensor", "sin_", "cumsum_",
                 "index_put_", "masked_scatter_", "imul_self", "clamp_tensors", "where_out",
                 "tril_", "add_alpha", "pow_", "normal"])  # fmt: skip
    if j is None or k is None:
        return None
    if name in ("add_", "mul_", "sub_", "copy_"):
        return lambda lib, p, t: getattr(t, name)(p[j])
    if name == "number":
        return lambda lib, p, t: t.mul_(value)
    if name == "add_alpha":
        return lambda lib, p, t: t.add_(p[j], alpha=2)
    if name == "pow_":
        return lambda lib, p, t: t.pow_(2)
    if name == "div_":
        return lambda lib, p, t: t.div_(p[j].abs() + 1)
    if name == "fill_":
        return lambda lib, p, t: t.fill_(value)
    if name == "fill_tensor":
        return lambda lib, p, t: t.fill_(p[j].sum())
    if name == "clamp_":
        return lambda lib, p, t: t.clamp_(-0.7, 0.8)
    if name == "clamp_tensors":
        return lambda lib, p, t: t.clamp_(p[j] - 1, p[k] + 1)
    if name == "masked_fill_":
        return lambda lib, p, t: t.masked_fill_(p[j] > 0, value)
    if name == "masked_tensor":
        return lambda lib, p, t: t.masked_fill_(p[j] > 0, p[k].mean())
    if name == "masked_scatter_":
        return lambda lib, p, t: t.masked_scatter_(t > 0, p[j].expand(t.shape) * 1)
    if name == "where_out":
        return lambda lib, p, t: t.copy_(lib.where(t > 0, t, p[j]))
    if name == "addcmul_":
        return lambda lib, p, t: t.addcmul_(p[j], p[k])
    if name == "lerp_":
        return lambda lib, p, t: t.lerp_(p[j].expand_as(t), p[k].expand_as(t))
    if name == "iadd":
        def iadd(lib, p, t):
            t += p[j]
            return t

        return iadd
    if name == "imul_self":
        def imul(lib, p, t):
            t *= t
            return t

        return imul
    if name == "set_mask":
        def set_mask(lib, p, t):
            t[t > 0] = value
            return t

        return set_mask
    if name == "tril_":
        return lambda lib, p, t: t.tril_() if t.ndim >= 2 else t.zero_()
    if name == "normal":  # the storage is written, the numbers are given
        return lambda lib, p, t: t.copy_(lib.tensor(numbers(shape, 77), dtype=t.dtype))
    if not shape or shape[0] == 0:
        return lambda lib, p, t: t.mul_(value)
    n, d = shape[0], len(shape)
    if name == "cumsum_":
        return lambda lib, p, t: t.cumsum_(0)
    places = [c.below(n), c.below(n)]
    if name == "setitem":
        key = _slices(c, shape)

        def setitem(lib, p, t):
            t[key] = value if j % 2 else p[j].sum()
            return t

        return setitem
    if name == "set_index":
        distinct = sorted(set(places))

        def set_index(lib, p, t):
            t[lib.tensor(distinct)] = p[j].sum() if k % 2 else p[j].expand(t.shape)[distinct]
            return t

        return set_index
    if name == "index_add_":
        return lambda lib, p, t: t.index_add_(0, lib.tensor(places), p[j].expand(t.shape)[places])
    if name == "index_copy_":
        return lambda lib, p, t: t.index_copy_(
            0, lib.tensor(places[:1]), p[j].expand(t.shape)[places[:1]])
    if name == "index_put_":
        return lambda lib, p, t: t.index_put_(
            (lib.tensor(places),), p[j].expand(t.shape)[places], accumulate=True)
    if name == "index_fill_":
        return lambda lib, p, t: t.index_fill_(d - 1, lib.tensor([0]), value)
    if name in ("scatter_", "scatter_add_"):
        return lambda lib, p, t: getattr(t, name)(
            0, lib.full((1, *shape[1:]), places[0], dtype=lib.int64), p[j].expand(t.shape)[:1])
    return lambda lib, p, t: getattr(t, name)()


@step
def write(c, pool):
    """Write into a tensor of the pool, most often one that is no leaf."""
    whole = c.below(8) == 7
    i = c.var(pool, lambda t: is_float(t) and (whole or not (t.is_leaf and t.requires_grad)))
    if i is None:
        return None
    act = _write(c, _shape(pool[i]), pool, pool[i])
    return None if act is None or _repeats(pool[i]) else lambda lib, p: act(lib, p, p[i])


@step
def write_part(c, pool):
    """Write into a view that nobody keeps."""
    i = c.var(pool, lambda t: is_float(t) and not (t.is_leaf and t.requires_grad))
    if i is None:
        return None
    look = _view_of(c, _shape(pool[i]))
    if look is None:
        return None
    try:
        part = look(pool[i].detach())
    except Exception:
        return None
    if _repeats(part):
        return None
    act = _write(c, _shape(part), pool, part)
    return None if act is None else lambda lib, p: _nothing(act(lib, p, look(p[i])))


def _nothing(_):
    return None


@step
def write_unrecorded(c, pool):
    i = c.var(pool)
    act = _write(c, _shape(pool[i]), pool, pool[i])
    if act is None or _repeats(pool[i]):
        return None

    def run(lib, p):
        with lib.no_grad():
            act(lib, p, p[i])

    return run


@step
def become(c, pool):
    """A tensor becomes a view of itself."""
    # PyTorch's other views of it would then depend on the new tensor, ours depend on the memory.
    i = c.var(pool, lambda t: not (t.is_leaf and t.requires_grad or t.retains_grad)
              and all(v._base is not t for v in pool))  # fmt: skip
    if i is None:
        return None
    name, ndim = c.of(["t_", "unsqueeze_", "squeeze_", "transpose_"]), pool[i].ndim
    if name == "t_":
        return lambda lib, p: p[i].t_() if ndim <= 2 else None
    if name == "unsqueeze_":
        return lambda lib, p: p[i].unsqueeze_(0) if ndim < 4 else None
    if name == "transpose_":
        return lambda lib, p: p[i].transpose_(0, -1) if ndim else None
    return lambda lib, p: p[i].squeeze_()


# ---- history -----------------------------------------------------------------------------------


@step
def detach(c, pool):
    i, name = c.var(pool), c.of(["detach", "clone", "detach_clone", "requires_grad", "contiguous"])
    if name == "detach_clone":
        return lambda lib, p: p[i].detach().clone()
    if name == "requires_grad":
        return lambda lib, p: p[i].detach().clone().requires_grad_()
    return lambda lib, p: getattr(p[i], name)()


@step
def unrecorded(c, pool):
    """Compute and look under no_grad."""
    i = c.var(pool)
    look = _view_of(c, _shape(pool[i]))
    if look is None:
        return None
    kind = c.yes()

    def run(lib, p):
        with lib.no_grad():
            return look(p[i] * 2) if kind else look(p[i].clone())

    return run


@step
def toggle(c, pool):
    # A view follows its base's flag in PyTorch, though it was made before.
    i = c.var(pool, lambda t: not t._is_view() and all(v._base is not t for v in pool))
    value = c.yes()
    return None if i is None else lambda lib, p: _nothing(p[i].requires_grad_(value))


@step
def drop(c, pool):
    i = c.below(len(pool))

    def run(lib, p):
        if len(p) > 3:
            del p[i]

    return run


@step
def hook(c, pool):
    # PyTorch forgets the hooks of a view when its memory is written, also under no_grad.
    i, kind = c.var(pool, lambda t: t.requires_grad and not t._is_view()), c.below(3)
    if i is None:
        return None

    def run(lib, p):
        if kind == 0:
            p[i].register_hook(lambda g: g * 2)
        elif kind == 1:
            p[i].register_hook(lambda g: None)
        else:
            p[i].retain_grad()

    return run


def _loss(t):
    return (t * t).sum() if t.numel() % 2 else t.sin().sum()


@step
def backward(c, pool):
    i = c.var(pool, lambda t: t.requires_grad and is_float(t))
    retain, create = c.below(4) != 3, c.below(5) == 4
    if i is None:
        return None

    def run(lib, p):
        _loss(p[i]).backward(retain_graph=retain or create, create_graph=create)

    return run


@step
def grad(c, pool):
    """Gradients with respect to leaves and intermediates, recorded."""
    i = c.var(pool, lambda t: t.requires_grad and is_float(t))
    # PyTorch skips the hooks of one of several inputs if that is not a leaf.
    j, k = (c.var(pool, lambda t: t.requires_grad and not t._backward_hooks) for _ in range(2))
    create = c.below(3) != 2
    if i is None or j is None or k is None:
        return None

    def run(lib, p):
        found = lib.autograd.grad(_loss(p[i]), [p[j], p[k]], create_graph=create,
                                  retain_graph=True, allow_unused=True)  # fmt: skip
        # What comes back may be one tensor twice, or a view: copies are alike in both libraries.
        return [g.clone() for g in found if g is not None]

    return run


@step
def zero_grads(c, pool):
    def run(lib, p):
        for t in p:
            if t.is_leaf:
                t.grad = None

    return run


@step
def write_data(c, pool):
    i, value = c.var(pool, lambda t: not _repeats(t)), c.of([0.5, 2.0])
    return None if i is None else lambda lib, p: _nothing(p[i].data.mul_(value))
