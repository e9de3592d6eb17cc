"""Derivatives of functions: ``vjp``, ``jvp``, ``jacobian``, ``hessian``, ``vhp``, ``hvp``.

Everything is made of reverse mode.  ``jvp`` differentiates the linear map ``v -> v^T J`` (the
double backward trick: Townsend 2017, "A new trick for calculating Jacobian vector products").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad.autograd.run import grad
from gpugrad.errors import ArgumentError, AutogradError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.modes import enable_grad
from gpugrad.tensor import Tensor


def _tuple(value: Any, what: str) -> tuple[tuple[Tensor, ...], bool]:
    single = isinstance(value, Tensor)
    values = (value,) if single else tuple(value) if isinstance(value, tuple | list) else None
    if values is None or not all(isinstance(v, Tensor) for v in values):
        raise ArgumentError(f"{what} must be a Tensor or a tuple of Tensors, got {type(value)}")
    return values, single


def _fresh(inputs: tuple[Tensor, ...], create_graph: bool) -> tuple[Tensor, ...]:
    """Inputs to differentiate by: linked to the caller's graph only when that is wanted."""
    if create_graph:
        return tuple(
            x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in inputs
        )
    return tuple(x.detach().requires_grad_() for x in inputs)


def _vectors(v: Any, like: tuple[Tensor, ...], what: str) -> tuple[Tensor, ...]:
    if v is None:
        if len(like) == 1 and like[0].numel() == 1:
            return (F.ones_like(like[0].detach()),)
        raise ArgumentError(f"{what}: v may be left away only for a single one-element tensor")
    vectors, _ = _tuple(v, f"{what}: v")
    if len(vectors) != len(like):
        raise ArgumentError(f"{what}: v has {len(vectors)} tensors, {len(like)} are needed")
    for a, b in zip(vectors, like, strict=True):
        if a.shape != b.shape:
            raise ShapeError(f"{what}: v has shape {tuple(a.shape)}, {tuple(b.shape)} is needed")
    return vectors


def _filled(grads: tuple[Any, ...], like: tuple[Tensor, ...], strict: bool, what: str) -> Any:
    if strict and any(g is None for g in grads):
        i = next(i for i, g in enumerate(grads) if g is None)
        raise AutogradError(f"{what}: the output does not depend on input {i} (strict=True)")
    return tuple(
        F.zeros_like(x.detach()) if g is None else g for g, x in zip(grads, like, strict=True)
    )


def _out(values: tuple[Tensor, ...], single: bool, create_graph: bool) -> Any:
    done = values if create_graph else tuple(v.detach() for v in values)
    return done[0] if single else done


def _grads(outputs: Any, inputs: Any, v: Any, *, create_graph: bool) -> tuple[Any, ...]:
    """``grad`` that allows outputs without any history."""
    pairs = [(o, w) for o, w in zip(outputs, v, strict=True) if o.requires_grad]
    if not pairs:
        return (None,) * len(inputs)
    return grad([o for o, _ in pairs], inputs, [w for _, w in pairs], retain_graph=True,
                create_graph=create_graph, allow_unused=True)  # fmt: skip


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:  # fmt: skip
    """Return ``func(*inputs)`` and ``v^T J``; ``v`` has the outputs' shapes."""
    xs, single_in = _tuple(inputs, "vjp: inputs")
    with enable_grad():
        xs = _fresh(xs, create_graph)
        outs, single_out = _tuple(func(*xs), "vjp: outputs")
        vs = _vectors(v, outs, "vjp")
        gs = _filled(_grads(outs, xs, vs, create_graph=create_graph), xs, strict, "vjp")
    return _out(outs, single_out, create_graph), _out(gs, single_in, create_graph)


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:  # fmt: skip
    """Return ``func(*inputs)`` and ``J v``; ``v`` has the inputs' shapes."""
    xs, _ = _tuple(inputs, "jvp: inputs")
    with enable_grad():
        xs = _fresh(xs, create_graph)
        vs = _vectors(v, xs, "jvp")
        outs, single_out = _tuple(func(*xs), "jvp: outputs")
        probes = tuple(F.zeros_like(o.detach()).requires_grad_() for o in outs)
        # linear in the probes, so its gradient by them is J v
        gs = _filled(_grads(outs, xs, probes, create_graph=True), xs, strict, "jvp")
        products = _filled(_grads(gs, probes, vs, create_graph=create_graph), outs, False, "jvp")
    return _out(outs, single_out, create_graph), _out(products, single_out, create_graph)


def jacobian(func: Callable[..., Any], inputs: Any, create_graph: bool = False,
             strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """Return the Jacobian: shape ``output.shape + input.shape``, nested by output, then input.

    ``vectorize`` is accepted for PyTorch's sake and changes nothing: rows are computed one by one.
    """
    if strategy != "reverse-mode":
        raise ArgumentError(f"jacobian: strategy must be 'reverse-mode', got {strategy!r}")
    xs, single_in = _tuple(inputs, "jacobian: inputs")
    with enable_grad():
        xs = _fresh(xs, create_graph)
        outs, single_out = _tuple(func(*xs), "jacobian: outputs")
        table = tuple(_rows(o, xs, create_graph, strict) for o in outs)
    rows = tuple(_out(r, single_in, create_graph) for r in table)
    return rows[0] if single_out else rows


def _rows(out: Tensor, xs: tuple[Tensor, ...], create_graph: bool, strict: bool) -> Any:
    columns: list[list[Tensor]] = [[] for _ in xs]
    flat = out.reshape(-1)
    for i in range(flat.numel()):
        one = F.zeros_like(flat.detach())
        one._array[i] = 1
        gs = _grads((flat,), xs, (one,), create_graph=create_graph)
        for column, g in zip(columns, _filled(gs, xs, strict, "jacobian"), strict=True):
            column.append(g)
    return tuple(
        F.stack(c).reshape((*out.shape, *x.shape)) if c
        else x.detach().new_zeros((*out.shape, *x.shape))
        for c, x in zip(columns, xs, strict=True)
    )  # fmt: skip


def _scalar(func: Callable[..., Any], xs: tuple[Tensor, ...], what: str) -> Tensor:
    out = func(*xs)
    if not isinstance(out, Tensor) or out.numel() != 1:
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ShapeError(f"{what}: the function must return one element, got {shape}")
    return out.reshape(())


def hessian(func: Callable[..., Any], inputs: Any, create_graph: bool = False,
            strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """Return second derivatives of a scalar function, nested by input twice."""
    xs, single = _tuple(inputs, "hessian: inputs")

    def gradient(*ys: Tensor) -> Any:
        gs = _grads((_scalar(func, ys, "hessian"),), ys, (None,), create_graph=True)
        return _filled(gs, ys, strict, "hessian")

    table = jacobian(gradient, xs, create_graph=create_graph, strict=strict,
                     strategy=outer_jacobian_strategy)  # fmt: skip
    return table[0][0] if single else table


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:  # fmt: skip
    """Return ``func(*inputs)`` and ``v^T H`` for a scalar function."""
    xs, single = _tuple(inputs, "vhp: inputs")
    with enable_grad():
        xs = _fresh(xs, create_graph)
        vs = _vectors(v, xs, "vhp")
        out = _scalar(func, xs, "vhp")
        gs = _filled(_grads((out,), xs, (None,), create_graph=True), xs, strict, "vhp")
        hs = _filled(_grads(gs, xs, vs, create_graph=create_graph), xs, strict, "vhp")
    return _out((out,), True, create_graph), _out(hs, single, create_graph)


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:  # fmt: skip
    """Return ``func(*inputs)`` and ``H v``.

    A Hessian of a function with continuous second derivatives is symmetric, so this is ``vhp``.
    """
    return vhp(func, inputs, v, create_graph, strict)
