"""``Function``: a user's own forward and backward, on the tape like any op.

PyTorch's protocol: static ``forward(ctx, *args)`` and ``backward(ctx, *grads)``, called through
``apply``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad.errors import ArgumentError, AutogradError
from gpugrad.inplace import _rebase
from gpugrad.modes import _Switch, modes
from gpugrad.storage import Storage
from gpugrad.tape import Node, Packed
from gpugrad.tensor import Tensor, check_mode, wrap


class FunctionCtx:
    """What ``forward`` hands to ``backward``.  Attributes may be set on it freely."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self._to_save: tuple[Any, ...] = ()
        self._dirty: set[int] = set()
        self._non_differentiable: set[int] = set()
        self._materialize = True
        self._node: Any = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for ``backward``; they are checked against later writes."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise ArgumentError(
                    f"save_for_backward takes tensors or None, got {type(t).__name__}; "
                    "set other values as attributes of ctx"
                )
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What ``save_for_backward`` kept.

        Raises:
            AutogradError: after the graph was freed, or if one was overwritten since.
        """
        if self._node is None:
            return self._to_save
        return self._node.unpack()  # type: ignore[no-any-return]

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say which inputs ``forward`` wrote in place; they must be returned."""
        self._dirty = {id(t) for t in tensors}

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say which outputs carry no gradient."""
        self._non_differentiable = {id(t) for t in tensors}

    def set_materialize_grads(self, value: bool) -> None:
        """Whether ``backward`` gets zeros (the default) or None for outputs nobody used."""
        self._materialize = value


class _FunctionPlan:
    """The part of a plan that the tape asks of every node."""

    kept = ()
    names: tuple[str, ...] = ()
    n_args = 0


class _FunctionRecord:
    """A record's face for a Function class: enough for names, messages and viewers."""

    outputs = ()
    half = "native"

    def __init__(self, cls: type) -> None:
        self.name = cls.__name__
        self.doc = cls.__doc__ or ""

    def __repr__(self) -> str:
        return f"<function class {self.name}>"


class FunctionNode(Node):
    """The node of one ``Function.apply``."""

    __slots__ = ("_ctx", "_function", "_values", "edges")
    edges: tuple[Any, ...]
    _ctx: FunctionCtx
    _function: type[Function]
    #: what was kept, its version, and its (node, output) if it has none itself; None is this node
    _values: list[tuple[Any, int, tuple[Any, int] | None]] | None

    @property
    def materialize(self) -> bool:  # type: ignore[override]
        """As ``ctx.set_materialize_grads`` said."""
        return self._ctx._materialize

    def name(self) -> str:
        return f"{self.op.name}Backward"

    def unpack(self) -> tuple[Any, ...]:
        """The saved tensors, with history; outputs get this node as theirs."""
        if self._values is None:
            raise AutogradError(
                f"backward through {self.name()} a second time: what it kept was freed by the "
                "first. Pass retain_graph=True to the first backward to keep it"
            )
        result: list[Any] = []
        for value, version, history in self._values:
            if isinstance(value, Packed):
                value = wrap(value.tensor()._array, None, 0, Storage())
            elif value is not None and value._version != version:
                raise AutogradError(
                    f"{self.op.name} saved a tensor of shape {tuple(value.shape)} that was "
                    f"modified by an in-place operation at {value._storage.last_write} (version "
                    f"{value._version}, expected {version})"
                )
            if history is not None:
                node, slot = history
                value = wrap(value._array, node or self, slot, value._storage)
            result.append(value)
        return tuple(result)

    def release(self) -> None:
        self._values = None

    def apply(self, g: Any, create_graph: bool) -> Any:
        ctx = self._ctx
        given = g if type(g) is tuple else (g,)
        tensors: list[Any] = []
        rest = iter(given)
        for _, dtype in self.outs or ():
            x = None if dtype is None else next(rest)
            if isinstance(x, np.generic):  # NumPy's result where there are no dimensions
                x = np.asarray(x)
            tensors.append(x if x is None or create_graph else wrap(x))
        with _Switch(grad=create_graph):
            result = self._function.backward(ctx, *tensors)
        grads = tuple(result) if isinstance(result, tuple | list) else (result,)
        wanted = len(self.edges)
        if all(x is None for x in grads[wanted:]):  # for arguments left at their defaults
            grads = grads[:wanted]
        if len(grads) != wanted:
            raise AutogradError(
                f"{self.op.name}.backward returned {len(grads)} gradients; forward had {wanted} "
                "arguments, and there must be one (or None) for each"
            )
        for i, x in enumerate(grads):
            if x is not None and not isinstance(x, Tensor):
                raise AutogradError(
                    f"{self.op.name}.backward returned {type(x).__name__} for argument {i}; "
                    "it must be a Tensor or None"
                )
        if create_graph:
            return grads
        return tuple(None if x is None else x._array for x in grads)


class Function:
    """Base of user-written differentiable functions.

    Subclass with static methods ``forward(ctx, *args, **kwargs)`` and ``backward(ctx, *grads)``;
    call with ``MyFunction.apply(...)``.  ``backward`` returns one gradient (or None) per argument
    of ``forward``.  A gradient of the gradient needs a ``backward`` made of ops; mark it
    with ``once_differentiable`` where it is not.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute the result from tensors; nothing inside is recorded."""
        raise AutogradError("a Function needs a static forward(ctx, *args)")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Return the gradients of forward's arguments from those of its results."""
        raise AutogradError("a Function needs a static backward(ctx, *grads)")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` and put it on the tape."""
        ctx = FunctionCtx()
        tensors = [a if isinstance(a, Tensor) else None for a in args]
        ctx.needs_input_grad = tuple(t is not None and t._node is not None for t in tensors)
        setup = getattr(cls, "setup_context", None)
        with _Switch(grad=False):
            if setup is not None:
                result = cls.forward(*args, **kwargs)
                setup(ctx, args, result)
            else:
                result = cls.forward(ctx, *args, **kwargs)
        many = isinstance(result, tuple)
        outs: list[Any] = list(result) if many else [result]
        recorded = modes.grad and any(ctx.needs_input_grad)
        inputs = {id(t) for t in tensors if t is not None}
        missing = ctx._dirty - {id(o) for o in outs}
        if missing:
            raise AutogradError(f"{cls.__name__}: an input marked dirty must be returned")
        outs = [
            o.detach() if isinstance(o, Tensor) and id(o) in inputs and id(o) not in ctx._dirty
            else o
            for o in outs
        ]  # fmt: skip
        if recorded:
            _record(cls, ctx, tensors, outs)
        if not modes.plain:
            for o in outs:
                if isinstance(o, Tensor):
                    check_mode(o)
        return tuple(outs) if many else outs[0]


def _record(cls: type[Function], ctx: FunctionCtx, tensors: list[Any], outs: list[Any]) -> None:
    edges = tuple(t._node if t is not None else None for t in tensors)
    slots = tuple(t._slot if t is not None else 0 for t in tensors)
    flows = [
        isinstance(o, Tensor) and o.dtype.is_floating_point
        and id(o) not in ctx._non_differentiable
        for o in outs
    ]  # fmt: skip
    first = next((o for o in outs if isinstance(o, Tensor)), None)
    if first is None or not any(flows):
        return
    node = FunctionNode(_FunctionRecord(cls), _FunctionPlan, edges, slots if any(slots) else None,
                        None, None, {}, first._array.shape, first._array.dtype)  # fmt: skip
    node.outs = tuple(
        (o._array.shape, o._array.dtype if f else None) if isinstance(o, Tensor) else ((), None)
        for o, f in zip(outs, flows, strict=True)
    )
    node.edges = edges
    node._ctx, node._function = ctx, cls
    places = {id(o): i for i, o in enumerate(outs) if flows[i]}
    values: list[Any] = []
    for t in ctx._to_save:
        place = places.get(id(t))
        # An output is kept without its node, or it would keep itself alive.
        history = None if place is None else (None, place)
        if t is None:
            values.append((None, 0, None))
        elif modes.saved_hooks:
            if place is None and t._node is not None:
                history = (t._node, t._slot)
            values.append((Packed(t, *modes.saved_hooks[-1]), 0, history))
        elif place is not None:
            values.append((wrap(t._array, None, 0, t.storage_state()), t._version, history))
        else:
            values.append((t, t._version, None))
    node._values = values
    ctx._to_save = ()
    ctx._node = _Weak(node)
    for i, o in enumerate(outs):
        if not flows[i]:
            continue
        if id(o) in ctx._dirty:
            _rebase(o, wrap(o._array, node, i))
        else:
            o._node, o._slot = node, i


class _Weak:
    """The node seen from its ctx: a plain reference would be a cycle."""

    def __init__(self, node: FunctionNode) -> None:
        import weakref

        self._ref = weakref.ref(node)

    def unpack(self) -> tuple[Any, ...]:
        node = self._ref()
        if node is None:
            raise AutogradError("saved_tensors: the graph is gone")
        return node.unpack()


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a ``backward`` that is not made of recorded ops: differentiating it again raises."""

    @functools.wraps(backward)
    def guarded(ctx: Any, *grads: Any) -> Any:
        recording = modes.grad
        with _Switch(grad=False):
            result = backward(ctx, *grads)
        if not recording:
            return result
        outs = tuple(result) if isinstance(result, tuple | list) else (result,)
        return tuple(o if o is None else _Refuse.apply(o.detach().requires_grad_()) for o in outs)

    return guarded


class _Refuse(Function):
    """Identity whose gradient is an error."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        raise AutogradError(
            "differentiating twice through a backward marked with once_differentiable"
        )
