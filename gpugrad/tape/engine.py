"""The chain rule in reverse: one pass over a graph, newest node first."""

from __future__ import annotations

import heapq
import math
import operator
from collections.abc import Iterable, Sequence
from sys import getrefcount
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from gpugrad import backends, dtypes
from gpugrad.backends.memory import Lease
from gpugrad.backends.numpy import quiet
from gpugrad.dtypes import DType
from gpugrad.errors import (
    ArgumentError,
    AutogradError,
    DeviceError,
    DTypeError,
    NotSupportedError,
    ShapeError,
)
from gpugrad.functional_namespace import F
from gpugrad.modes import modes
from gpugrad.tape.nodes import HOST, Leaf, Node
from gpugrad.tape.plan import HALF_NP, PackedSaved

if TYPE_CHECKING:
    from gpugrad.tensor import Tensor


def _own(g: Any, spare: int) -> Any:
    """An array that nothing else refers to: ``g`` itself where the caller holds the only reference.

    Args:
        spare: what ``getrefcount`` says here of such an array (see ``_calibrate``).
    """
    if isinstance(g, np.generic):
        return np.asarray(g)
    if (g.base is None or isinstance(g.base, Lease)) and getrefcount(g) <= spare:
        return g
    library = backends.ARRAY_TYPES.get(type(g))
    return g.copy() if library is None else library.copy(g)


class _Counter:
    """Stands for an array while reference counts are measured."""

    base = None

    def copy(self) -> None:
        return None


def _calibrate() -> int:
    # Measured, not assumed: newer interpreters borrow references and count fewer.
    g: Any = _Counter()
    return next(n for n in range(1, 10) if _own(g, n) is not None)


_SPARE = _calibrate()
_NDARRAY = np.ndarray
_XP = backends.NUMPY.xp


class Engine:
    """One backward pass: a heap of nodes that have gradients waiting."""

    def __init__(self, create_graph: bool, retain_graph: bool,
                 needed: set[Any] | None = None) -> None:  # fmt: skip
        self._create, self._retain, self._needed = create_graph, retain_graph, needed
        self._grads: dict[Any, Any] = {}
        self._heap: list[tuple[int, Any]] = []
        self._owned: set[Any] = set()
        #: (node, slot) -> gradient, for ``autograd.grad``
        self.captured: dict[tuple[Any, int], Any] = {}
        self._capture: dict[Any, set[int]] = {}
        self._leaves: set[Any] | None = None

    def capture(self, node: Any, slot: int) -> None:
        """Remember the gradient of this output instead of (for a leaf) accumulating it."""
        self._capture.setdefault(node, set()).add(slot)

    def only_leaves(self, leaves: Iterable[Any]) -> None:
        """Accumulate into these leaves and no others."""
        self._leaves = set(leaves)

    def seed(self, node: Any, slot: int, g: Any) -> None:
        """Start from this gradient of one output."""
        self._push(node, slot, g)

    def _push(self, node: Any, slot: int, g: Any) -> None:
        grads = self._grads
        held = grads.get(node)
        if node.outs is not None:
            if held is None:
                held = grads[node] = [None] * len(node.outs)
                heapq.heappush(self._heap, (node.order, node))
            held[slot] = g if held[slot] is None else self._add(held[slot], g)
        elif held is None:
            grads[node] = g
            heapq.heappush(self._heap, (node.order, node))
        elif self._create:
            grads[node] = held + g
        elif node in self._owned:
            quiet.run(np.add, held, g, held)
        else:
            grads[node] = self._add(held, g)
            if type(grads[node]) is _NDARRAY:
                self._owned.add(node)

    def _add(self, a: Any, b: Any) -> Any:
        if not self._create and isinstance(a, HOST):
            return backends.NUMPY.run(np.add, a, b)
        return a + b if self._create else backends.for_array(a).run(operator.add, a, b)

    def run(self) -> None:
        """Visit nodes, newest first, until no gradient is waiting."""
        heap, grads, create, retain = self._heap, self._grads, self._create, self._retain
        pop, run = heapq.heappop, quiet.run
        simple = not (create or self._capture or modes.anomaly)
        while heap:
            node = pop(heap)[1]
            g = grads.pop(node)
            if (
                simple and type(node) is Node and type(g) is _NDARRAY and node.hooks is None
                and node.outs is None and g.dtype not in HALF_NP
                and type(node.saved) is not PackedSaved
            ):  # fmt: skip
                # What `_visit` does for a node with nothing special about it, written straight.
                plan = node.plan
                gs = run(plan.arrays or plan.variant("arrays"), _XP, g, node)
                if not retain and plan.kept:
                    node.saved = None
            else:
                if node.hooks is not None:
                    g = self._tensor_hooks(node, g)
                if node in self._capture:
                    self._take(node, g)
                if type(node) is Leaf:
                    self._arrive(node, g if create else _own(g, _SPARE))
                    continue
                if self._ends_at(node):
                    continue
                gs = self._visit(node, g)
            g = None
            if node.slots is None and self._needed is None:
                self._send(node, gs)
            else:
                self._send_each(node, gs)
            gs = None  # else the arrays would not be ours alone when they reach a leaf

    def _ends_at(self, node: Any) -> bool:
        """Whether a gradient was asked for here and nowhere further back."""
        needed = self._needed
        return needed is not None and needed.isdisjoint(node.edges)

    def _arrive(self, leaf: Leaf, g: Any) -> None:
        if not self._capture and (self._leaves is None or leaf in self._leaves):
            leaf.accumulate(g, self._create)

    def _visit(self, node: Any, g: Any) -> Sequence[Any]:
        """Gradients of a node's inputs, with hooks and checks."""
        if node.outs is not None:
            g = _fill_missing(node, g, self._create)
        if node.hooks is not None:
            g = self._pre_hooks(node, g)
        gs: Sequence[Any] = node.apply(g, self._create)
        if not self._retain:
            node.release()
        if modes.anomaly:
            check_anomaly(node, gs)
        if node.hooks is not None:
            gs = self._post_hooks(node, gs, g)
        return gs

    def _send(self, node: Any, gs: Sequence[Any]) -> None:
        """Hand gradients to the inputs' nodes: every input was output 0, all are wanted."""
        grads, heap, owned = self._grads, self._heap, self._owned
        edges = node.edges
        if len(gs) != len(edges):
            _wrong_count(node, gs)
        for edge, gi in zip(edges, gs):  # the lengths were compared
            if edge is None or gi is None:
                continue
            if edge.outs is not None:
                shape, dtype = edge.outs[0]
                self._push(edge, 0, fit(gi, shape, dtype, node))
                continue
            if gi.shape != edge.shape or gi.dtype is not edge.dtype:
                gi = fit(gi, edge.shape, edge.dtype, node)
            if edge not in grads:
                grads[edge] = gi
                heapq.heappush(heap, (edge.order, edge))
            elif edge in owned:
                held = grads[edge]
                quiet.run(np.add, held, gi, held)
            else:
                self._push(edge, 0, gi)

    def _send_each(self, node: Any, gs: Sequence[Any]) -> None:
        """Hand gradients to the inputs' nodes, looking at which output each input was."""
        edges = node.edges
        if len(gs) != len(edges):
            _wrong_count(node, gs)
        slots = node.slots or (0,) * len(edges)
        for edge, slot, gi in zip(edges, slots, gs, strict=True):
            if edge is None or gi is None:
                continue
            if self._needed is not None and edge not in self._needed:
                continue
            shape, dtype = (edge.shape, edge.dtype) if edge.outs is None else edge.outs[slot]
            self._push(edge, slot, fit(gi, shape, dtype, node))

    def _take(self, node: Any, g: Any) -> None:
        for slot in self._capture[node]:
            value = g if node.outs is None else g[slot]
            if value is not None:
                self.captured[node, slot] = value

    def _lift(self, g: Any) -> Any:
        if g is None or self._create:
            return g
        return F.wrap(np.asarray(g) if isinstance(g, np.generic) else g, None)

    def _drop(self, t: Any) -> Any:
        return t if t is None or self._create else t._array

    def _tensor_hooks(self, node: Any, g: Any) -> Any:
        found = [h for h in node.hooks if h[0] == "tensor"]
        found += [h for h in node.hooks if h[0] == "retain"]
        for _, slot, hook in found:
            before = g if node.outs is None else g[slot]
            if before is None:
                continue
            after = hook(self._lift(before))
            if after is None:
                continue
            if not hasattr(after, "_array"):
                raise ArgumentError(
                    f"a hook on a gradient returned {type(after).__name__}; it must return a "
                    "Tensor of the same shape, or None"
                )
            if after.shape != before.shape:
                raise ShapeError(
                    f"a hook on a gradient of shape {tuple(before.shape)} returned "
                    f"{tuple(after.shape)}; it must return the same shape or None"
                )
            if node.outs is None:
                g = self._drop(after)
            else:
                g[slot] = self._drop(after)
        return g

    def _pre_hooks(self, node: Any, g: Any) -> Any:
        for kind, _, hook in list(node.hooks):
            if kind == "pre":
                single = type(g) is not tuple
                given = (g,) if single else g
                result = hook(tuple(self._lift(x) for x in given))
                if result is not None:
                    result = tuple(result) if isinstance(result, tuple | list) else (result,)
                    dropped = tuple(self._drop(x) for x in result)
                    g = dropped[0] if single else dropped
        return g

    def _post_hooks(self, node: Any, gs: Any, g: Any) -> Any:
        for kind, _, hook in list(node.hooks):
            if kind == "post":
                given = g if type(g) is tuple else (g,)
                result = hook(tuple(self._lift(x) for x in gs), tuple(self._lift(x) for x in given))
                if result is not None:
                    result = tuple(result) if isinstance(result, tuple | list) else (result,)
                    gs = tuple(self._drop(x) for x in result)
        return gs


def _wrong_count(node: Any, gs: Sequence[Any]) -> NoReturn:
    raise AutogradError(
        f"gradient of {node.op.name} returned {len(gs)} values for {len(node.edges)} inputs"
    )


def _fill_missing(node: Any, g: list[Any], create: bool) -> Any:
    """Zeros for outputs nobody used; one differentiable output is passed bare."""
    have = next(x for x in g if x is not None)
    filled: list[Any] = []
    for (shape, dtype), x in zip(node.outs, g, strict=True):
        if dtype is None:
            continue  # an integer output: it has no gradient
        if x is None and node.materialize:
            x = _zeros(shape, dtype, have, create)
        filled.append(x)
    # A record with named outputs gets its one gradient bare; split and unbind always get a tuple.
    return filled[0] if len(filled) == 1 and node.op.outputs else tuple(filled)


def _zeros(shape: tuple[int, ...], dtype: Any, like: Any, create: bool) -> Any:
    array = like._array if create else like
    library = backends.NUMPY if isinstance(array, HOST) else backends.for_array(array)
    zeros = library.run(lambda _: library.xp.zeros(shape, dtype=dtype), array)
    return F.wrap(zeros, None) if create else zeros


def _cast(g: Any, dtype: Any) -> Any:
    return g.astype(dtype)


def _folded(xp: Any, g: Any, axes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    g = xp.sum(g, axis=axes, keepdims=True) if axes else g
    return g if g.shape == shape else xp.reshape(g, shape)


def fit(g: Any, shape: tuple[int, ...], dtype: Any, node: Any) -> Any:
    """Sum a gradient over the dimensions that were broadcast, and cast it to the input's dtype.

    Raises:
        ShapeError: if the gradient's shape cannot come from broadcasting ``shape``.
    """
    if g.shape != shape:
        lead = len(g.shape) - len(shape)
        ones = tuple(
            i for i, s in enumerate(shape, lead) if s == 1 and lead >= 0 and g.shape[i] != 1
        )
        if lead < 0 or any(s not in (1, g.shape[i]) for i, s in enumerate(shape, lead)):
            raise ShapeError(
                f"gradient of {node.op.name} has shape {tuple(g.shape)}, its input {shape}; "
                "a gradient must have the input's shape or one that it broadcasts to"
            )
        tensor = not isinstance(g, HOST) and hasattr(g, "_node")
        axes = (*range(lead), *ones)
        if tensor:
            g = _folded(F, g, axes, shape)
        else:
            library = backends.NUMPY if isinstance(g, HOST) else backends.for_array(g)
            g = library.run(_folded, library.xp, g, axes, shape)
    if hasattr(g, "_node"):
        return g if g._array.dtype == dtype else F.astype(g, dtypes.from_numpy(dtype))
    if g.dtype == dtype:
        return g
    library = backends.NUMPY if isinstance(g, HOST) else backends.for_array(g)
    return library.run(_cast, g, dtype)


def check_anomaly(node: Any, gs: Iterable[Any]) -> None:
    """Raise if a gradient holds NaN, naming the forward op and the line that called it."""
    for i, g in enumerate(gs):
        if g is None:
            continue
        array = g._array if hasattr(g, "_node") else g
        if array.dtype.kind != "f" and array.dtype not in HALF_NP:
            continue
        if bool((array != array).any()):
            site = node.meta["site"] if node.meta else "an unknown line (anomaly mode was off)"
            raise AutogradError(
                f"{node.name()} returned nan for its input {i}; "
                f"the forward op {node.op.name} was called at {site}"
            )


def reachable(roots: Iterable[Any], targets: set[Any]) -> set[Any]:
    """All nodes on a path from a root to a target, found without recursion."""
    order: list[Any] = []
    seen: set[Any] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        order.append(node)
        stack.extend(e for e in node.edges if e is not None and e not in seen)
    order.sort(key=lambda n: -n.order)  # oldest first: inputs before the nodes that use them
    needed = {n for n in order if n in targets}
    for node in order:
        if any(e in needed for e in node.edges if e is not None):
            needed.add(node)
    return needed


def start_gradient(tensor: Tensor, gradient: Any, create_graph: bool, caller: str) -> Any:
    """Check a root and its gradient; ones for a scalar without one."""
    if tensor._node is None:
        kind = tensor.dtype
        why = (
            f"its dtype is {kind}, and only floating tensors have gradients"
            if not kind.is_floating_point
            else "no input of its history required one"
        )
        raise AutogradError(f"{caller}: the tensor does not require a gradient: {why}")
    array = tensor._array
    if type(array) not in backends.ARRAY_TYPES:
        raise NotSupportedError(f"{caller}: a tensor on the meta device has no data for a gradient")
    if gradient is None:
        if math.prod(array.shape) != 1:
            raise AutogradError(
                f"{caller}: a gradient can be started by itself only for a scalar; the output has "
                f"shape {tuple(array.shape)}: reduce it, or pass a gradient of that shape"
            )
        backend = backends.for_array(array)
        ones = backend.run(backend.xp.ones_like, array)
        return F.wrap(ones, None) if create_graph else ones
    if not hasattr(gradient, "_array"):
        raise ArgumentError(
            f"{caller}: gradients must be tensors or None, got {type(gradient).__name__}"
        )
    if gradient.device != tensor.device:
        raise DeviceError(
            f"{caller}: a gradient on {gradient.device} for an output on {tensor.device}; they "
            "must be on one device"
        )
    if tuple(gradient.shape) != tuple(array.shape):
        raise ShapeError(
            f"{caller}: gradient of shape {tuple(gradient.shape)} for an output of shape "
            f"{tuple(array.shape)}; they must be the same"
        )
    if not isinstance(gradient.dtype, DType) or not gradient.dtype.is_floating_point:
        raise DTypeError(f"{caller}: the gradient must be floating, got {gradient.dtype}")
    if create_graph:
        return fit(gradient, array.shape, array.dtype, tensor._node)
    return fit(gradient._array, array.shape, array.dtype, tensor._node)
