"""Steps of random programs: writes of all kinds, and what changes a tensor's history."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.engine.program_values import STEPS, fits, key_of, shape_of, step, view_of
from tests.engine.programs import Choices, Impossible, numbers


def repeats(t: Any) -> bool:
    """Whether two elements are one in memory: what a write then does is PyTorch's affair."""
    places = np.zeros((), dtype=int)
    for n, stride in zip(t.shape, t.stride(), strict=True):
        places = np.add.outer(places, np.arange(n) * stride)
    return len(np.unique(places)) < places.size


def free(t: Any) -> bool:
    """Whether it may be written while recording."""
    return not (t.is_leaf and t.requires_grad)


def _iadd(lib: Any, t: Any, a: Any, b: Any) -> Any:
    t += a
    return t


def _imul_self(lib: Any, t: Any, a: Any, b: Any) -> Any:
    t *= t
    return t


def _set_mask(lib: Any, t: Any, a: Any, b: Any) -> Any:
    t[t > 0] = 0.25
    return t


#: into a tensor, of two that broadcast to it
WRITES = {
    "add_": lambda lib, t, a, b: t.add_(a),
    "add_ alpha": lambda lib, t, a, b: t.add_(a, alpha=2),
    "sub_": lambda lib, t, a, b: t.sub_(a),
    "mul_": lambda lib, t, a, b: t.mul_(a),
    "mul_ number": lambda lib, t, a, b: t.mul_(-1.25),
    "div_": lambda lib, t, a, b: t.div_(a.abs() + 1),
    "copy_": lambda lib, t, a, b: t.copy_(a),
    "copy_ fresh": lambda lib, t, a, b: t.copy_(lib.where(t > 0, t, a)),
    "copy_ constant": lambda lib, t, a, b: t.copy_(
        lib.tensor(numbers(shape_of(t), 77), dtype=t.dtype)),
    "fill_": lambda lib, t, a, b: t.fill_(0.5),
    "fill_ tensor": lambda lib, t, a, b: t.fill_(a.sum()),
    "zero_": lambda lib, t, a, b: t.zero_(),
    "relu_": lambda lib, t, a, b: t.relu_(),
    "tanh_": lambda lib, t, a, b: t.tanh_(),
    "sigmoid_": lambda lib, t, a, b: t.sigmoid_(),
    "neg_": lambda lib, t, a, b: t.neg_(),
    "sin_": lambda lib, t, a, b: t.sin_(),
    "square_": lambda lib, t, a, b: t.square_(),
    "pow_": lambda lib, t, a, b: t.pow_(2),
    "clamp_": lambda lib, t, a, b: t.clamp_(-0.7, 0.8),
    "clamp_ tensors": lambda lib, t, a, b: t.clamp_(a - 1, b + 1),
    "addcmul_": lambda lib, t, a, b: t.addcmul_(a, b),
    "lerp_": lambda lib, t, a, b: t.lerp_(a.expand_as(t), b.expand_as(t)),
    "masked_fill_": lambda lib, t, a, b: t.masked_fill_(a > 0, 0.5),
    "masked_fill_ tensor": lambda lib, t, a, b: t.masked_fill_(a > 0, b.mean()),
    "masked_scatter_": lambda lib, t, a, b: t.masked_scatter_(t > 0, a.expand(t.shape) * 1),
    "+=": _iadd,
    "*= itself": _imul_self,
    "mask": _set_mask,
}  # fmt: skip


def _set_places(lib: Any, t: Any, a: Any, at: list[int]) -> Any:
    t[lib.tensor(sorted(set(at)))] = a.expand(t.shape)[sorted(set(at))]
    return t


def _set_one(lib: Any, t: Any, a: Any, at: list[int]) -> Any:
    t[at[0]] = a.sum()
    return t


#: into a tensor with a dim, of one that broadcasts to it, at places of its first dim
PLACED = {
    "index_add_": lambda lib, t, a, at: t.index_add_(0, lib.tensor(at), a.expand(t.shape)[at]),
    "index_copy_": lambda lib, t, a, at: t.index_copy_(
        0, lib.tensor(at[:1]), a.expand(t.shape)[at[:1]]),
    "index_put_": lambda lib, t, a, at: t.index_put_(
        (lib.tensor(at),), a.expand(t.shape)[at], accumulate=True),
    "index_fill_": lambda lib, t, a, at: t.index_fill_(t.ndim - 1, lib.tensor([0]), 0.5),
    "scatter_": lambda lib, t, a, at: t.scatter_(
        0, lib.full((1, *t.shape[1:]), at[0], dtype=lib.int64), a.expand(t.shape)[:1]),
    "scatter_add_": lambda lib, t, a, at: t.scatter_add_(
        0, lib.full((1, *t.shape[1:]), at[0], dtype=lib.int64), a.expand(t.shape)[:1]),
    "cumsum_": lambda lib, t, a, at: t.cumsum_(0),
    "tril_": lambda lib, t, a, at: t.tril_() if t.ndim > 1 else t.neg_(),
    "places": _set_places,
    "place": _set_one,
}  # fmt: skip


def write_into(c: Choices, pool: list[Any], target: Any) -> Any:
    """A write into such a target, as a function of it."""
    if repeats(target):
        raise Impossible
    j, k = (c.var(pool, lambda t: fits(target, t)) for _ in range(2))
    name = c.of([*WRITES, *PLACED, "setitem"])
    if name in WRITES:
        return lambda lib, p, t: WRITES[name](lib, t, p[j], p[k])
    shape = shape_of(target)
    if not shape or not target.numel():
        raise Impossible
    if name == "setitem":
        key = key_of(c, shape)

        def setitem(lib: Any, p: list[Any], t: Any) -> Any:
            t[key] = p[j].sum()
            return t

        return setitem
    at = [c.below(shape[0]), c.below(shape[0])]
    return lambda lib, p, t: PLACED[name](lib, t, p[j], at)


@step
def write(c: Choices, pool: list[Any]) -> Any:
    """Write into a tensor of the pool; now and then one that must not be."""
    any_one = c.below(8) == 7
    i = c.var(pool, lambda t: any_one or free(t))
    put = write_into(c, pool, pool[i])
    return lambda lib, p: put(lib, p, p[i])


@step
def write_part(c: Choices, pool: list[Any]) -> Any:
    """Write into a view that nobody keeps."""
    i = c.var(pool, free)
    look = view_of(c, shape_of(pool[i]))
    try:
        part = look(pool[i].detach())
    except RuntimeError:  # there is no such view
        raise Impossible from None
    put = write_into(c, pool, part)

    def run(lib: Any, p: list[Any]) -> None:
        put(lib, p, look(p[i]))

    return run


@step
def write_unrecorded(c: Choices, pool: list[Any]) -> Any:
    i = c.var(pool)
    put = write_into(c, pool, pool[i])

    def run(lib: Any, p: list[Any]) -> None:
        with lib.no_grad():
            put(lib, p, p[i])

    return run


@step
def write_data(c: Choices, pool: list[Any]) -> Any:
    """A write that PyTorch does not count."""
    i = c.var(pool, lambda t: not repeats(t))

    def run(lib: Any, p: list[Any]) -> None:
        p[i].data.mul_(0.5)

    return run


# ---- history -----------------------------------------------------------------------------------


def _alone(pool: list[Any], t: Any) -> bool:
    """Whether no other tensor of the pool is a view of it."""
    return all(v._base is not t for v in pool)


@step
def become(c: Choices, pool: list[Any]) -> Any:
    """A tensor becomes a view of itself."""
    i = c.var(pool, lambda t: free(t) and not t.retains_grad and _alone(pool, t) and 0 < t.ndim < 4)
    name, args = c.of([("squeeze_", ()), ("unsqueeze_", (0,)), ("transpose_", (0, -1)),
                       ("swapaxes_", (0, -1))])  # fmt: skip

    def run(lib: Any, p: list[Any]) -> Any:
        result = getattr(p[i], name)(*args)
        result.became = True
        return result

    return run


@step
def renew(c: Choices, pool: list[Any]) -> Any:
    i = c.var(pool)
    fn = c.of(
        [
            lambda t: t.detach(),
            lambda t: t.clone(),
            lambda t: t.detach().clone(),
            lambda t: t.contiguous(),
            lambda t: t.detach().clone().requires_grad_(),
        ]
    )
    return lambda lib, p: fn(p[i])


@step
def toggle(c: Choices, pool: list[Any]) -> Any:
    # A view that was made before follows its base's flag in PyTorch.
    i, value = c.var(pool, lambda t: not t._is_view() and _alone(pool, t)), c.yes()

    def run(lib: Any, p: list[Any]) -> None:
        p[i].requires_grad_(value)

    return run


@step
def drop(c: Choices, pool: list[Any]) -> Any:
    i = c.below(len(pool))

    def run(lib: Any, p: list[Any]) -> None:
        if len(p) > 3:
            del p[i]

    return run


def _hooked(t: Any) -> bool:
    # PyTorch forgets the hooks of a view when its memory is written, also under no_grad.
    return t.requires_grad and not t._is_view() and not hasattr(t, "became")


@step
def hook(c: Choices, pool: list[Any]) -> Any:
    i, kind = c.var(pool, _hooked), c.below(3)

    def run(lib: Any, p: list[Any]) -> None:
        if kind == 0:
            p[i].retain_grad()
        else:
            p[i].register_hook((lambda g: g * 2) if kind == 1 else (lambda g: None))

    return run


@step
def custom(c: Choices, pool: list[Any]) -> Any:
    """A Function of one's own that keeps an input and an output."""
    i = c.var(pool)
    return lambda lib, p: _cube(lib).apply(p[i])


def _cube(lib: Any) -> Any:
    class Cube(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            out = x * x * x
            ctx.save_for_backward(x, out)
            return out

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, _ = ctx.saved_tensors
            return g * 3 * x * x

    return Cube


@step
def packed(c: Choices, pool: list[Any]) -> Any:
    """What the tape keeps goes through hooks, or is computed again."""
    i, replay = c.var(pool), c.yes()
    j = c.var(pool, lambda t: fits(pool[i], t))

    def run(lib: Any, p: list[Any]) -> Any:
        def fn(a: Any, b: Any) -> Any:
            return (a * b).tanh() + a.sin()

        if replay:
            return lib.utils.checkpoint.checkpoint(fn, p[i], p[j], use_reentrant=False)
        copies = lib.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t)
        with copies:
            return fn(p[i], p[j])

    return run


__all__ = ["STEPS"]
