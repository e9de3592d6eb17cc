"""Derivatives of functions: ``grad``, ``vjp``, ``jvp``, ``jacrev``, ``hessian``.

Inputs are differentiated as leaves of their own.  A result is recorded in turn exactly when the
function depends on something else that requires a gradient: an outer derivative's input, or a
tensor of the program; so these functions nest.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from gpugrad.autograd import functional
from gpugrad.autograd.run import grad as tape_grad
from gpugrad.errors import ArgumentError, AutogradError, ShapeError
from gpugrad.func.tree import flatten
from gpugrad.functional_namespace import F
from gpugrad.modes import enable_grad, modes
from gpugrad.tape import Leaf
from gpugrad.tensor import Tensor

ArgNums = int | tuple[int, ...]


#: Leaves of derivatives that have been worked out: nobody differentiates by them any more.
_done: weakref.WeakSet[Any] = weakref.WeakSet()


def _finish(inputs: Sequence[Tensor]) -> None:
    _done.update(x._node for x in inputs if type(x._node) is Leaf)


def _fresh(x: Any, what: str) -> Tensor:
    """The same values as an input to differentiate by."""
    if not isinstance(x, Tensor):
        raise ArgumentError(f"{what}: only tensors are differentiated by, got {type(x).__name__}")
    linked = x.requires_grad and modes.grad  # an outer derivative may want its part
    return x.view_as(x) if linked else x.detach().requires_grad_()


def _others(outs: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
    """Whether outputs depend on a leaf that is none of ours: then derivatives are recorded."""
    if not modes.grad:
        return False
    own = {x._node for x in inputs if type(x._node) is Leaf}
    seen: set[Any] = set()
    waiting = [o._node for o in outs if o._node is not None]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if type(node) is Leaf and node not in own and node not in _done:
            return True
        waiting.extend(e for e in node.edges if e is not None)
    return False


def _gradients(out: Tensor, inputs: Sequence[Tensor], weight: Tensor | None,
               record: bool) -> list[Tensor]:  # fmt: skip
    """``weight^T d out / d inputs``; zeros where there is no dependence."""
    if not out.requires_grad:
        return [F.zeros_like(x.detach()) for x in inputs]
    return list(tape_grad(out, inputs, weight, retain_graph=True, create_graph=record,
                          materialize_grads=True))  # fmt: skip


def _plain(tensors: Sequence[Any], record: bool) -> list[Any]:
    return [t if record or not isinstance(t, Tensor) else t.detach() for t in tensors]


class _Chosen:
    """The arguments chosen by ``argnums``, flat; the call with others in their places."""

    def __init__(self, what: str, argnums: ArgNums, args: tuple[Any, ...]) -> None:
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        if not numbers or not all(isinstance(n, int) for n in numbers):
            raise ArgumentError(
                f"{what}: argnums must be an int or a tuple of ints, got {argnums!r}"
            )
        for n in numbers:
            if not -len(args) <= n < len(args):
                raise ArgumentError(f"{what}: argnums has {n}, there are {len(args)} arguments")
        self.single = isinstance(argnums, int)
        self._args, self._numbers = args, [n % len(args) for n in numbers]
        leaves, self._build = flatten(tuple(args[n] for n in self._numbers))
        self.inputs = [_fresh(x, what) for x in leaves]

    def arguments(self) -> list[Any]:
        """All arguments, with the inputs in the places of the chosen ones."""
        args = list(self._args)
        for n, value in zip(self._numbers, self._build(self.inputs), strict=True):
            args[n] = value
        return args

    def shaped(self, leaves: list[Any]) -> Any:
        """Results per input, in the form of the chosen arguments."""
        built = self._build(leaves)
        return built[0] if self.single else built


def _with_aux(result: Any, has_aux: bool, what: str) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise ArgumentError(f"{what}: with has_aux=True the function must return (output, aux)")
    return result


def _aux(aux: Any, record: bool) -> Any:
    leaves, build = flatten(aux)
    return build(_plain(leaves, record))


def _scalar(out: Any, what: str) -> Tensor:
    if not isinstance(out, Tensor) or out.ndim:
        shown = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise ShapeError(f"{what}: the function must return a tensor without dims, got {shown}")
    return out


def _grad_and_value(what: str, func: Callable[..., Any], argnums: ArgNums,
                    has_aux: bool) -> Callable[..., Any]:  # fmt: skip
    """``(gradients, value, aux)`` of a scalar function."""

    @functools.wraps(func)
    def differentiated(*args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        chosen = _Chosen(what, argnums, args)
        outer = modes.grad
        with enable_grad():
            result = func(*chosen.arguments(), **kwargs)
            out, aux = _with_aux(result, has_aux, what)
            out = _scalar(out, what)
            record = outer and _others([out], chosen.inputs)
            found = _gradients(out, chosen.inputs, None, record)
        _finish(chosen.inputs)
        (value,) = _plain([out], record)
        return chosen.shaped(found), value, _aux(aux, record)

    return differentiated


def grad(func: Callable[..., Any], argnums: ArgNums = 0,
         has_aux: bool = False) -> Callable[..., Any]:  # fmt: skip
    """The gradient of a function that returns a tensor without dims, as a function.

    Args:
        func: takes tensors, also in nested tuples, lists and dicts.
        argnums: the argument, or the tuple of arguments, to differentiate by.
        has_aux: whether ``func`` returns ``(output, aux)``; then so does the gradient.
    """
    run = _grad_and_value("grad", func, argnums, has_aux)

    @functools.wraps(func)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, _, aux = run(*args, **kwargs)
        return (found, aux) if has_aux else found

    return gradient


def grad_and_value(func: Callable[..., Any], argnums: ArgNums = 0,
                   has_aux: bool = False) -> Callable[..., Any]:  # fmt: skip
    """As ``grad``; the new function returns ``(gradient, value)``, or with aux ``(gradient,
    (value, aux))``."""
    run = _grad_and_value("grad_and_value", func, argnums, has_aux)

    @functools.wraps(func)
    def both(*args: Any, **kwargs: Any) -> Any:
        found, value, aux = run(*args, **kwargs)
        return found, ((value, aux) if has_aux else value)

    return both


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """``(output, vjp_fn)``, and aux: ``vjp_fn(cotangents)`` gives ``cotangents^T J``, a tuple with
    an entry per primal."""
    chosen = _Chosen("vjp", tuple(range(len(primals))), primals)
    outer = modes.grad
    with enable_grad():
        out, aux = _with_aux(func(*chosen.arguments()), has_aux, "vjp")
    outs, build = flatten(out)
    record = outer and _others(outs, chosen.inputs)
    _finish(chosen.inputs)

    def pull(cotangents: Any) -> Any:
        weights, _ = flatten(cotangents)
        if len(weights) != len(outs):
            raise ArgumentError(f"vjp: {len(weights)} cotangents for {len(outs)} outputs")
        recorded = record or (modes.grad and any(w.requires_grad for w in weights))
        total: list[Any] = [None] * len(chosen.inputs)
        for o, w in zip(outs, weights, strict=True):
            found = _gradients(o, chosen.inputs, w, recorded)
            total = [g if t is None else t + g for t, g in zip(total, found, strict=True)]
        return chosen.shaped(_plain(total, recorded))

    result = build(_plain(outs, record))
    return (result, pull, _aux(aux, record)) if has_aux else (result, pull)


def jvp(func: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], *,
        strict: bool = False, has_aux: bool = False) -> tuple[Any, ...]:  # fmt: skip
    """``(output, J tangents)``, and aux; by two reverse passes (see ``autograd.functional.jvp``).

    Args:
        func, primals, tangents: a function, a tuple of its arguments, and directions of their form.
        strict: whether an output that does not depend on the primals is an error.
        has_aux: whether ``func`` returns ``(output, aux)``.
    """
    flat, build = flatten(tuple(primals))
    directions, _ = flatten(tuple(tangents))
    notes: list[Any] = []

    def run(*leaves: Tensor) -> Any:
        out, aux = _with_aux(func(*build(list(leaves))), has_aux, "jvp")
        outs, shape = flatten(out)
        if strict and not all(o.requires_grad for o in outs):
            raise AutogradError("jvp: an output does not depend on the primals (strict=True)")
        notes[:] = [shape, aux, modes.grad and _others(outs, leaves)]
        _finish(leaves)
        return tuple(outs)

    record = modes.grad and any(x.requires_grad for x in (*flat, *directions))
    outs, products = functional.jvp(run, tuple(flat), tuple(directions), create_graph=record)
    if not record and modes.grad and notes[2]:  # it depends on tensors of the program
        outs, products = functional.jvp(run, tuple(flat), tuple(directions), create_graph=True)
        record = True
    result = notes[0](list(outs)), notes[0](list(products))
    return (*result, _aux(notes[1], record)) if has_aux else result


def jacrev(func: Callable[..., Any], argnums: ArgNums = 0, *, has_aux: bool = False,
           chunk_size: int | None = None) -> Callable[..., Any]:  # fmt: skip
    """The Jacobian as a function: shape ``output.shape + input.shape``, nested by output, then
    input.

    Args:
        func: takes and returns tensors, also in nested tuples, lists and dicts.
        argnums: the argument, or the tuple of arguments, to differentiate by.
        has_aux: whether ``func`` returns ``(output, aux)``; then so does the Jacobian.
        chunk_size: how many rows may be computed at once; one is, which any bound allows.
    """

    @functools.wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen = _Chosen("jacrev", argnums, args)
        outer = modes.grad
        with enable_grad():
            out, aux = _with_aux(func(*chosen.arguments(), **kwargs), has_aux, "jacrev")
            outs, build = flatten(out)
            record = outer and _others(outs, chosen.inputs)
            blocks = [chosen.shaped(_rows(o, chosen.inputs, record)) for o in outs]
        _finish(chosen.inputs)
        result = build(blocks)
        return (result, _aux(aux, record)) if has_aux else result

    return jacobian


def _rows(out: Tensor, inputs: Sequence[Tensor], record: bool) -> list[Tensor]:
    """The Jacobian of one output, a pass per element."""
    ones = F.eye(out.numel(), dtype=out.dtype, device=out.device)
    rows = [_gradients(out, inputs, one.reshape(out.shape), record) for one in ones.unbind(0)]
    return [
        F.stack([row[i] for row in rows]).reshape((*out.shape, *x.shape)) if rows
        else x.detach().new_zeros((*out.shape, *x.shape))
        for i, x in enumerate(inputs)
    ]  # fmt: skip


def jacfwd(func: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False, *,
           randomness: str = "error") -> Callable[..., Any]:  # fmt: skip
    """The same as ``jacrev``, and computed so: there is no forward mode.

    ``func`` runs once, so ``randomness`` has nothing to decide.
    """
    return jacrev(func, argnums, has_aux=has_aux)


def hessian(func: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """Second derivatives of a function, nested by output, input and input."""
    return jacrev(jacrev(func, argnums), argnums)
