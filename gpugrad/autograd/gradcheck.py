"""Gradients against finite differences: ``gradcheck`` and ``gradgradcheck``.

For inputs ``x``, outputs ``y = f(x)``, a direction ``u`` of the inputs and weights ``v`` of the
outputs, the number ``v . (J u)`` can be had in two ways: by differences of ``f`` along ``u``, and
as ``(v J) . u`` from one backward pass.  ``fast_mode`` compares that number for one random pair per
input; the full mode compares every entry of ``J``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad import backends, dtypes
from gpugrad.autograd.run import grad
from gpugrad.errors import ArgumentError, NotSupportedError
from gpugrad.tensor import Tensor, wrap

#: Points and weights of central differences by order: ``sum(w * f(x + p*h)) / h``.
STENCILS: dict[int, tuple[tuple[float, float], ...]] = {
    2: ((1.0, 0.5), (-1.0, -0.5)),
    4: ((1.0, 2 / 3), (-1.0, -2 / 3), (2.0, -1 / 12), (-2.0, 1 / 12)),
}


class GradcheckError(AssertionError, RuntimeError):
    """An analytical gradient does not match finite differences."""


def flatten(value: Any) -> list[Any]:
    """Leaves of nested tuples, lists and dicts, in order."""
    if isinstance(value, dict):
        return [leaf for v in value.values() for leaf in flatten(v)]
    if isinstance(value, tuple | list):
        return [leaf for v in value for leaf in flatten(v)]
    return [value]


def host(tensor: Tensor) -> np.ndarray[Any, Any]:
    """The elements as a float64 NumPy array (a copy)."""
    return np.array(tensor.numpy(force=True), dtype=np.float64)


def gradcheck(func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5,
              rtol: float = 1e-3, raise_exception: bool = True, nondet_tol: float = 0.0,
              check_grad_dtypes: bool = False, check_batched_grad: bool = False,
              check_forward_ad: bool = False, check_backward_ad: bool = True,
              fast_mode: bool = False, order: int = 2, seed: int = 0) -> bool:  # fmt: skip
    """Compare the gradients of ``func`` with finite differences, as ``torch.autograd.gradcheck``.

    Args:
        func: takes the inputs, returns a tensor or a tuple; outputs that need no gradient and
            those that are no float tensors are left out.
        inputs: a tensor or a tuple; tensors that require a gradient are checked and should be
            float64, everything else is passed on as it is.
        eps: step of the differences.
        atol, rtol: accepted is ``|a - n| <= atol + rtol * |n|``.
        raise_exception: raise on a mismatch instead of returning False.
        nondet_tol: how far two backward passes of the same graph may differ.
        check_grad_dtypes: also compare dtypes of gradients with those of the inputs.
        fast_mode: one random projection per input instead of the full Jacobian.
        order: 2, or 4 for a stencil of four points that stays accurate at larger ``eps``.
        seed: of the random projections.

    Raises:
        GradcheckError: naming the input and output and showing both numbers.
        NotSupportedError: for forward-mode and batched checks, which gpugrad has no mode for.
    """
    if check_batched_grad or check_forward_ad or not check_backward_ad:
        raise NotSupportedError("gradcheck: only reverse mode is checked, one gradient at a time")
    given = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    checker = _Checker(func, given, eps, atol, rtol, order, np.random.default_rng(seed))
    try:
        checker.check_determinism(nondet_tol, check_grad_dtypes)
        (checker.check_projected if fast_mode else checker.check_full)()
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *,
                  eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
                  gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True,
                  nondet_tol: float = 0.0, check_grad_dtypes: bool = False,
                  fast_mode: bool = False, order: int = 2, seed: int = 0) -> bool:  # fmt: skip
    """Compare second derivatives with finite differences of the first.

    The function that is checked maps inputs and output gradients to input gradients.

    Args:
        grad_outputs: gradients to start from, one per differentiable output; random if None.
        gen_non_contig_grad_outputs: make the random ones non-contiguous.
        func, inputs, eps, ...: as for ``gradcheck``.
    """
    given = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    rng = np.random.default_rng(seed + 1)
    outs = differentiable(func(*given))
    if not outs:
        raise ArgumentError("gradgradcheck: no output requires a gradient")
    if grad_outputs is None:
        starts = [_random_like(o, rng, gen_non_contig_grad_outputs) for o in outs]
    else:
        starts = list(grad_outputs) if isinstance(grad_outputs, tuple | list) else [grad_outputs]
    for s in starts:
        s.requires_grad_()
    count = len(given)

    def first(*values: Any) -> tuple[Tensor, ...]:
        xs, vs = values[:count], values[count:]
        wanted = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
        gs = grad(differentiable(func(*xs)), wanted, list(vs), create_graph=True, allow_unused=True)
        return tuple(g for g in gs if g is not None)

    return gradcheck(
        first, (*given, *starts), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol, check_grad_dtypes=check_grad_dtypes, fast_mode=fast_mode,
        order=order, seed=seed,
    )  # fmt: skip


def differentiable(result: Any) -> list[Tensor]:
    """Outputs through which a gradient flows."""
    return [t for t in flatten(result) if isinstance(t, Tensor) and t.requires_grad]


def _random_like(t: Tensor, rng: np.random.Generator, strided: bool) -> Tensor:
    shape = (*t.shape[:-1], 2 * t.shape[-1]) if strided and t.ndim else tuple(t.shape)
    numbers = _signed(rng, shape).astype(t.dtype.np)
    array = backends.for_array(t._array).from_numpy(numbers, t.device)
    return wrap(array[..., ::2] if strided and t.ndim else array)


def _signed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Numbers away from zero, so that every element counts in a projection."""
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))


class _Checker:
    """One comparison: the function, where it is evaluated, and what counts as equal."""

    def __init__(self, func: Callable[..., Any], inputs: tuple[Any, ...], eps: float, atol: float,
                 rtol: float, order: int, rng: np.random.Generator) -> None:  # fmt: skip
        if order not in STENCILS:
            raise ArgumentError(f"gradcheck: order must be one of {list(STENCILS)}, got {order}")
        self.func, self.inputs, self.eps = func, inputs, eps
        self.atol, self.rtol, self.order, self.rng = atol, rtol, order, rng
        self.checked = [
            i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad
        ]
        if not self.checked:
            raise ArgumentError("gradcheck: no input requires a gradient")
        for i in self.checked:
            if inputs[i].dtype is not dtypes.float64:
                raise ArgumentError(
                    f"gradcheck: input {i} is {inputs[i].dtype.name}; differences need float64"
                )
        self.leaves = self._fresh({})
        self.places, self.outs = self._outputs(self.func(*self.leaves))

    def _fresh(self, moved: dict[int, np.ndarray[Any, Any]]) -> list[Any]:
        """Leaves at the inputs' values, some of them moved by a step."""
        values: list[Any] = []
        for i, x in enumerate(self.inputs):
            if not isinstance(x, Tensor):
                values.append(x)
                continue
            array = x._array.copy(order="K")
            if i in moved:
                array += backends.for_array(array).from_numpy(np.asarray(moved[i]), x.device)
            values.append(wrap(array).requires_grad_(x.requires_grad))
        return values

    def _outputs(self, result: Any) -> tuple[list[int], list[Tensor]]:
        flat = flatten(result)
        places = [
            i for i, t in enumerate(flat)
            if isinstance(t, Tensor) and t.requires_grad and t.dtype.is_floating_point
        ]  # fmt: skip
        return places, [flat[i] for i in places]

    def _at(self, moved: dict[int, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        flat = flatten(self.func(*self._fresh(moved)))
        return [host(flat[i]) for i in self.places]

    def difference(self, i: int, direction: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Derivative of every output along a direction of input ``i``."""
        total: list[Any] = [0.0] * len(self.outs)
        for point, weight in STENCILS[self.order]:
            values = self._at({i: direction * (point * self.eps)})
            total = [t + v * (weight / self.eps) for t, v in zip(total, values, strict=True)]
        return total

    def backward(self, weights: Sequence[np.ndarray[Any, Any]]) -> list[Tensor | None]:
        """Gradients of the checked inputs for weights of the outputs."""
        if not self.outs:
            return [None] * len(self.checked)
        starts = [
            wrap(backends.for_array(o._array).from_numpy(w.astype(o.dtype.np), o.device))
            for o, w in zip(self.outs, weights, strict=True)
        ]
        wanted = [self.leaves[i] for i in self.checked]
        return list(grad(self.outs, wanted, starts, retain_graph=True, allow_unused=True))

    def _weights(self) -> list[np.ndarray[Any, Any]]:
        return [_signed(self.rng, tuple(o.shape)) for o in self.outs]

    def check_determinism(self, tolerance: float, check_dtypes: bool) -> None:
        """Two passes over one graph agree, and gradients look like their inputs."""
        weights = self._weights()
        once, twice = self.backward(weights), self.backward(weights)
        for i, a, b in zip(self.checked, once, twice, strict=True):
            if a is None or b is None:
                continue
            x = self.inputs[i]
            if tuple(a.shape) != tuple(x.shape) or (check_dtypes and a.dtype is not x.dtype):
                raise GradcheckError(
                    f"gradient of input {i} is {tuple(a.shape)} {a.dtype.name}, the input "
                    f"{tuple(x.shape)} {x.dtype.name}"
                )
            if not np.allclose(host(a), host(b), rtol=0, atol=tolerance, equal_nan=True):
                raise GradcheckError(
                    f"gradient of input {i} differs between two backward passes by "
                    f"{np.abs(host(a) - host(b)).max():.3g}; nondet_tol is {tolerance}"
                )

    def check_projected(self) -> None:
        """One random projection per input."""
        weights = self._weights()
        for i, g in zip(self.checked, self.backward(weights), strict=True):
            x = self.inputs[i]
            u = _signed(self.rng, tuple(x.shape))
            moved = self.difference(i, u)
            numerical = sum(float((w * m).sum()) for w, m in zip(weights, moved, strict=True))
            analytical = 0.0 if g is None else float((host(g) * u).sum())
            # What cancels in the projection must not be mistaken for precision.
            size = sum(float(np.abs(w * m).sum()) for w, m in zip(weights, moved, strict=True))
            self._compare(analytical, numerical, i, "a random projection", size)

    def check_full(self) -> None:
        """Every entry of every Jacobian."""
        columns = {i: self._numerical(i) for i in self.checked}
        for k, out in enumerate(self.outs):
            for j in range(out.numel()):
                weights = [np.zeros(tuple(o.shape)) for o in self.outs]
                weights[k].reshape(-1)[j] = 1
                for i, g in zip(self.checked, self.backward(weights), strict=True):
                    row = np.zeros(self.inputs[i].numel()) if g is None else host(g).reshape(-1)
                    for e, analytical in enumerate(row):
                        numerical = float(columns[i][e][k].reshape(-1)[j])
                        where = f"output {k} element {j}, input element {e}"
                        self._compare(float(analytical), numerical, i, where, abs(numerical))

    def _numerical(self, i: int) -> list[list[np.ndarray[Any, Any]]]:
        shape = tuple(self.inputs[i].shape)
        found = []
        for e in range(self.inputs[i].numel()):
            unit = np.zeros(shape)
            unit.reshape(-1)[e] = 1
            found.append(self.difference(i, unit))
        return found

    def _compare(self, analytical: float, numerical: float, i: int, where: str,
                 size: float) -> None:  # fmt: skip
        if np.isnan(analytical) and np.isnan(numerical):
            return
        bound = self.atol * max(1.0, size) + self.rtol * abs(numerical)
        if analytical == numerical or abs(analytical - numerical) <= bound:
            return
        raise GradcheckError(
            f"gradient of input {i} of shape {tuple(self.inputs[i].shape)} is wrong ({where}): "
            f"analytical {analytical:.10g}, numerical {numerical:.10g}, difference "
            f"{abs(analytical - numerical):.3g}, accepted {bound:.3g}"
        )
