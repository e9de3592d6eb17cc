"""The gradient that passes through one call of a module, as its full backward hooks see it.

The hooks need a place on the tape: an identity is put on the module's inputs and one on its
outputs, and their nodes tell when the gradient enters the module and when it leaves.
"""

from __future__ import annotations

from typing import Any

from gpugrad.autograd import Function
from gpugrad.errors import AutogradError
from gpugrad.modes import modes
from gpugrad.tensor import Tensor


class _Mark(Function):
    """Nothing at all, with a node."""

    @staticmethod
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        return args

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads


def _mark(values: Any) -> tuple[tuple[Any, ...], list[int], Any]:
    """Pass the tensors that want a gradient through a ``_Mark``.

    Returns the values, which of them went through, and the node (None if none did).
    """
    values = tuple(values)
    places = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
    if not places or not modes.grad:
        return values, [], None
    marked = _Mark.apply(*(values[i] for i in places))
    swapped = dict(zip(places, marked))
    return tuple(swapped.get(i, v) for i, v in enumerate(values)), places, marked[0].grad_fn


def _spread(grads: Any, places: list[int], n: int) -> tuple[Any, ...]:
    held = dict(zip(places, grads))
    return tuple(held.get(i) for i in range(n))


class Watch:
    """One call of a module, as seen by its backward hooks."""

    def __init__(self, module: Any, before: list[Any], after: list[Any]) -> None:
        self._module, self._before, self._after = module, before, after
        self._grad_outputs: tuple[Any, ...] | None = None
        self._inputs = 0
        self._any_input = False  # wants a gradient

    def watch_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, tied to the call of the hooks at the end of the module's gradient."""
        self._inputs = len(args)
        args, places, node = _mark(args)
        self._any_input = node is not None
        if node is not None and self._after:
            node.register_hook(lambda gi, go: self._left(gi, places))
        return args

    def watch_outputs(self, out: Any) -> Any:
        """The result, tied to the call of the hooks at the start of the module's gradient."""
        single = not isinstance(out, tuple)
        values, places, node = _mark((out,) if single else out)
        if node is not None:
            n = len(values)  # the hook must not hold the values: they hold the node
            node.register_prehook(lambda go: self._entered(go, places, n))
        return values[0] if single else values

    def _entered(self, grads: Any, places: list[int], n: int) -> Any:
        self._grad_outputs = _spread(grads, places, n)
        for hook in self._before:
            result = hook(self._module, self._grad_outputs)
            if result is not None:
                self._grad_outputs = self._checked("grad_output", result, n)
        if not self._any_input:  # this is all there will be
            for hook in self._after:
                result = hook(self._module, (None,) * self._inputs, self._grad_outputs)
                if result is not None and any(r is not None for r in _tuple(result)):
                    raise AutogradError(
                        f"{type(self._module).__name__}: a backward hook returned a gradient for "
                        "inputs that need none; return None"
                    )
        return tuple(self._grad_outputs[i] for i in places)

    def _left(self, grads: Any, places: list[int]) -> Any:
        gradient = _spread(grads, places, self._inputs)
        for hook in self._after:
            result = hook(self._module, gradient, self._grad_outputs)
            if result is not None:
                gradient = self._checked("grad_input", result, self._inputs)
        self._grad_outputs = None
        return tuple(gradient[i] for i in places)

    def _checked(self, what: str, result: Any, n: int) -> tuple[Any, ...]:
        given = _tuple(result)
        if len(given) != n:
            raise AutogradError(
                f"{type(self._module).__name__}: a backward hook returned {len(given)} values for "
                f"{what}, which has {n}"
            )
        return given


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
