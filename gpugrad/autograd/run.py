"""Starting the chain rule: ``backward`` and ``grad``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from gpugrad import backends, tape
from gpugrad.errors import ArgumentError, AutogradError, OutOfMemoryError
from gpugrad.modes import _Switch
from gpugrad.tape import Engine, Leaf, start_gradient
from gpugrad.tensor import Tensor, wrap


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return (
        tuple(value) if isinstance(value, Sequence) and not isinstance(value, Tensor) else (value,)
    )


def _seed(engine: Engine, tensors: tuple[Any, ...], gradients: Any, create_graph: bool,
          caller: str) -> None:  # fmt: skip
    grads = (None,) * len(tensors) if gradients is None else _as_tuple(gradients)
    if len(grads) != len(tensors):
        raise ArgumentError(f"{caller}: {len(tensors)} outputs but {len(grads)} gradients")
    for t, g in zip(tensors, grads, strict=True):
        if not isinstance(t, Tensor):
            raise ArgumentError(f"{caller}: outputs must be tensors, got {type(t).__name__}")
        engine.seed(t._node, t._slot, start_gradient(t, g, create_graph, caller))


def _run(engine: Engine, create_graph: bool) -> None:
    # Rules record themselves exactly when the gradient is to be differentiated.
    with _Switch(grad=create_graph):
        try:
            engine.run()
        except OutOfMemoryError:
            raise
        except MemoryError as error:
            raise OutOfMemoryError(f"backward: {error}") from error


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None,
             create_graph: bool = False, inputs: Any = None) -> None:  # fmt: skip
    """Add the gradients of ``tensors`` to ``.grad`` of the leaves they were made of.

    Args:
        tensors: a tensor or several.
        grad_tensors: their gradients, of the same shapes; optional for scalars.
        retain_graph: keep what the graph saved for another pass; default: ``create_graph``.
        create_graph: record the gradients themselves.
        inputs: gather only into these leaves.

    Raises:
        AutogradError: if a root needs no gradient, is no scalar and has none given, or the graph
            was freed by an earlier pass.
    """
    roots = _as_tuple(tensors)
    retain = create_graph if retain_graph is None else retain_graph
    needed = None
    leaves: list[Any] | None = None
    if inputs is not None:
        chosen = _as_tuple(inputs)
        if not chosen:
            raise ArgumentError("backward: inputs is empty; leave it away to reach every leaf")
        for t in chosen:
            if not isinstance(t, Tensor):
                raise ArgumentError(f"backward: inputs must be tensors, got {type(t).__name__}")
            if type(t._node) is not Leaf:
                raise AutogradError("backward: inputs must be leaf tensors that require a gradient")
        leaves = [t._node for t in chosen]
        needed = tape.reachable([r._node for r in roots if r._node is not None], set(leaves))
    engine = Engine(create_graph, retain, needed)
    if leaves is not None:
        engine.only_leaves(leaves)
    _seed(engine, roots, grad_tensors, create_graph, "backward")
    _run(engine, create_graph)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """Return the gradients of ``outputs`` with respect to ``inputs``; no ``.grad`` is touched.

    Args:
        outputs, grad_outputs, retain_graph, create_graph: as for ``backward``.
        inputs: a tensor or several, leaves or not.
        only_inputs: always so; False warns, as it does in PyTorch.
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.
        materialize_grads: give zeros instead of None (implies ``allow_unused``).
        is_grads_batched: not supported; differentiate in a loop.

    Returns:
        One tensor (or None) per input.
    """
    if not only_inputs:
        warnings.warn(
            "grad: only_inputs=False is deprecated and ignored; use backward to accumulate "
            "the gradients of everything else",
            FutureWarning,
            stacklevel=2,
        )
    if is_grads_batched:
        raise AutogradError("grad: is_grads_batched is not supported; call grad once per row")
    if materialize_grads and allow_unused is False:
        raise ArgumentError("grad: materialize_grads=True needs allow_unused=True or None")
    roots, wanted = _as_tuple(outputs), _as_tuple(inputs)
    for t in wanted:
        if not isinstance(t, Tensor):
            raise ArgumentError(f"grad: inputs must be tensors, got {type(t).__name__}")
        if t._node is None:
            raise AutogradError("grad: one of the inputs does not require a gradient")
    retain = create_graph if retain_graph is None else retain_graph
    needed = tape.reachable(
        [r._node for r in roots if isinstance(r, Tensor) and r._node is not None],
        {t._node for t in wanted},
    )
    engine = Engine(create_graph, retain, needed)
    for t in wanted:
        engine.capture(t._node, t._slot)
    _seed(engine, roots, grad_outputs, create_graph, "grad")
    _run(engine, create_graph)
    results: list[Any] = []
    for i, t in enumerate(wanted):
        g = engine.captured.get((t._node, t._slot))
        if g is None:
            if not (allow_unused or materialize_grads):
                raise AutogradError(
                    f"grad: input {i} of shape {tuple(t.shape)} was not used to compute the "
                    "outputs; pass allow_unused=True to get None for it"
                )
            results.append(t.detach().new_zeros(t.shape) if materialize_grads else None)
            continue
        results.append(g if create_graph else _own(g, t))
    return tuple(results)


def _own(g: Any, like: Tensor) -> Tensor:
    import numpy as np

    array = np.asarray(g) if isinstance(g, np.generic) else g
    # The pass may have handed the same array to two inputs, or a view of the caller's gradient.
    return wrap(backends.for_array(array).copy(array))
