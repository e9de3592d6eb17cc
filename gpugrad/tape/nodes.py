"""What the graph is made of: a node per recorded op, and a ``Leaf`` per leaf tensor."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from gpugrad import backends
from gpugrad.functional_namespace import F
from gpugrad.tape.plan import HALF_NP, Packed, PackedSaved

next_order = itertools.count(-1, -1).__next__
_next_leaf_order = itertools.count(0).__next__
_accumulation = threading.Lock()
#: What NumPy hands out: arrays, and scalars where an array has no dimensions.
HOST = (np.ndarray, np.generic)


class Node:
    """One recorded op.  See ``Plan`` for what ``saved`` holds.

    Attributes:
        op: the op's record.
        settings: its settings, plain data.
        storage: that of the single output, once it has one.
        saved: per array input and output what is kept: an input that has a history as its bare
            array (its tensor may go), anything else as a tensor; None where no rule reads it.
        edges: per array input, the node its gradient goes to, or None.  Held as ``edge0``,
            ``edge1`` and ``more``: Python's cyclic collector visits every container of a long-lived
            graph, and a tuple per node made a deep graph cost 1.3 us more per op.
        slots: per input, which output of that node it was; None when all are output 0.
        shape, dtype: of the single output; a tuple of pairs in ``outs`` for several.
        order: falling serial number.
        meta: what recorders noted (source line, module path), or None.
    """

    __slots__ = ("__weakref__", "dtype", "edge0", "edge1", "hooks", "meta", "more", "op", "order",
                 "outs", "plan", "saved", "settings", "shape", "shapes", "slots", "storage",
                 "versions")  # fmt: skip

    #: Whether an output that nobody used gets zeros for its gradient, or None.
    materialize = True

    def __init__(self, op: Any, plan: Any, edges: tuple[Any, ...], slots: tuple[int, ...] | None,
                 saved: tuple[Any, ...] | None, versions: tuple[int, ...] | None,
                 settings: dict[str, Any], shape: tuple[int, ...], dtype: Any) -> None:  # fmt: skip
        self.op = op
        self.plan = plan
        n = len(edges)
        self.edge0 = first = edges[0]
        self.edge1 = edges[1] if n > 1 else None
        self.more = edges[2:] if n > 2 else None
        if first is not None and first.shape == shape:
            shape = first.shape  # one tuple for a whole chain, for the same reason
        self.slots = slots
        self.saved = saved
        self.versions = versions
        self.settings = settings
        self.shape = shape
        self.dtype = dtype
        self.order = next_order()
        self.outs: tuple[tuple[tuple[int, ...], Any], ...] | None = None
        self.shapes: tuple[Any, ...] | None = None
        self.hooks: list[Any] | None = None
        self.meta: dict[str, Any] | None = None
        self.storage: Any = None

    @property
    def edges(self) -> tuple[Any, ...]:
        """Per array input, the node its gradient goes to, or None."""
        n = self.plan.n_args
        if n == 1:
            return (self.edge0,)
        return (self.edge0, self.edge1, *(self.more or ()))

    def name(self) -> str:
        """PyTorch's style of name, e.g. ``MulBackward0``."""
        return "".join(w.capitalize() for w in self.op.name.split("_")) + "Backward0"

    def __repr__(self) -> str:
        return f"<{self.name()}>"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """Per input, the node that its gradient flows to and which of its outputs it was."""
        slots = self.slots or (0,) * len(self.edges)
        return tuple(zip(self.edges, slots, strict=True))

    def register_hook(self, hook: Callable[[Any, Any], Any]) -> Handle:
        """Call ``hook(grad_inputs, grad_outputs)`` after this node's gradient was computed."""
        return _add_hook(self, ("post", 0, hook))

    def register_prehook(self, hook: Callable[[Any], Any]) -> Handle:
        """Call ``hook(grad_outputs)`` before this node's gradient is computed."""
        return _add_hook(self, ("pre", 0, hook))

    def apply(self, g: Any, create_graph: bool) -> Sequence[Any]:
        """Gradients of the inputs from that of the output (arrays, or tensors when recorded)."""
        if create_graph:
            return self.plan.variant("tensors")(F, g, self)  # type: ignore[no-any-return]
        if type(self.saved) is PackedSaved:
            return self._unpacked().apply(g, create_graph)
        first = g if self.outs is None or type(g) is not tuple else g[0]
        backend = backends.NUMPY if isinstance(first, HOST) else backends.for_array(first)
        if first.dtype in HALF_NP and backend.widens(self.op.half):
            fn = self.plan.variant("halves")
        else:
            fn = self.plan.variant("arrays")
        return backend.run(fn, backend.xp, g, self)  # type: ignore[no-any-return]

    def _unpacked(self) -> Node:
        """A stand-in whose saved values went through the unpack hooks.

        Hooks are the user's code, so they run before the rule does and not inside it.
        """
        assert self.saved is not None
        saved = tuple(F.wrap(s.tensor()._array) if isinstance(s, Packed) else s for s in self.saved)
        node = Node(self.op, self.plan, self.edges, self.slots, saved, None, self.settings,
                    self.shape, self.dtype)  # fmt: skip
        node.outs, node.shapes = self.outs, self.shapes
        return node

    def release(self) -> None:
        """Let go of what was kept for the gradient."""
        if self.plan.kept:
            self.saved = None


class Leaf:
    """Where the gradient of a leaf tensor gathers.  It does not keep the tensor alive."""

    __slots__ = ("__weakref__", "dtype", "grad", "hooks", "order", "post_hooks", "shape", "storage",
                 "tensor")  # fmt: skip
    outs = None
    edges: tuple[Any, ...] = ()
    slots = None
    meta = None

    def __init__(self, tensor: Any) -> None:
        self.tensor = weakref.ref(tensor)
        self.shape = tensor._array.shape
        self.dtype = tensor._array.dtype
        self.storage = tensor._storage
        self.grad: Any = None
        self.hooks: list[Any] | None = None
        self.post_hooks: dict[int, Callable[[Any], Any]] | None = None
        self.order = _next_leaf_order()

    def name(self) -> str:
        """PyTorch's name for the node at a leaf."""
        return "AccumulateGrad"

    @property
    def variable(self) -> Any:
        """The leaf tensor, or None if it is gone."""
        return self.tensor()

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """A leaf leads nowhere."""
        return ()

    def accumulate(self, g: Any, create_graph: bool) -> None:
        """Add to ``.grad``; ``g`` is an array of our own, or a tensor when recorded.

        Nothing happens if the tensor is gone, or is no leaf any more: ``requires_grad_(False)``.
        """
        tensor = self.tensor()
        if tensor is None or tensor._node is not self:
            return
        with _accumulation:
            if self.grad is None:
                self.grad = g if create_graph else F.wrap(g, None)
            elif create_graph or self.grad._node is not None:
                self.grad = self.grad + (g if create_graph else F.wrap(g, None))
            else:
                held = self.grad._array
                backends.for_array(held).run(add_into, held, g)
                if self.grad._storage is not None:
                    self.grad._storage.bump()
        if self.post_hooks:
            for hook in list(self.post_hooks.values()):
                hook(tensor)


def add_into(held: Any, g: Any) -> None:
    held += g


class Handle:
    """Removes a hook: ``handle.remove()``, or at the end of a ``with`` block."""

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove: Callable[[], None] | None = remove

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        if self._remove is not None:
            self._remove()
            self._remove = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def _add_hook(node: Any, entry: tuple[str, int, Any]) -> Handle:
    if node.hooks is None:
        node.hooks = []
    hooks = node.hooks
    hooks.append(entry)

    def remove() -> None:
        hooks[:] = [h for h in hooks if h is not entry]

    return Handle(remove)


def add_tensor_hook(node: Any, slot: int, hook: Callable[[Any], Any],
                    kind: str = "tensor") -> Handle:  # fmt: skip
    """Call ``hook(grad)`` with the full gradient of output ``slot``; its result replaces it.

    Hooks of kind ``retain`` come after all others, and see what those made of it.
    """
    return _add_hook(node, (kind, slot, hook))
