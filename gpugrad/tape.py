"""The tape: nodes, the plan that says what each keeps, and the chain rule in reverse.

Design
------
A result that needs a gradient points at a ``Node``; a node points at the nodes of its inputs, never
at a tensor that came out of it, so the graph has no reference cycles and is freed by reference
counting.  A leaf points at a ``Leaf``, where its gradient gathers.

``Plan`` is compiled once per (op, which inputs need a gradient): it knows what the rules read, so
that exactly this is kept, and calls them as straight-line code.

Nodes carry a falling serial number.  Inputs are always older than results, so a heap on that number
visits every node after all of its consumers without a first pass over the graph and without
recursion.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import numpy as np

from gpugrad import backends, dtypes
from gpugrad.dtypes import HALVES, DType
from gpugrad.errors import AutogradError, DTypeError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.modes import modes
from gpugrad.op import Op

if TYPE_CHECKING:
    from gpugrad.tensor import Tensor

next_order = itertools.count(-1, -1).__next__
_next_leaf_order = itertools.count(0).__next__
_accumulation = threading.Lock()
#: Set by ``gpugrad.tensor``: how to make a tensor of an array (tensors stand on the tape).
wrap: Callable[..., Any]


class Constant:
    """A Python number that a rule reads, in the shape of a saved tensor."""

    __slots__ = ("_array",)
    _storage = None

    def __init__(self, value: Any) -> None:
        self._array = value


class Packed:
    """A saved tensor that went through ``saved_tensors_hooks``."""

    __slots__ = ("_held", "_spec", "_unpack")
    _storage = None

    def __init__(self, tensor: Any, pack: Callable[[Any], Any], unpack: Callable[[Any], Any]) -> None:
        self._spec = (tensor.shape, tensor.dtype)
        self._unpack = unpack
        self._held = pack(tensor)

    def tensor(self) -> Any:
        """Unpack, and check that what comes back is what was given."""
        t = self._unpack(self._held)
        if (t.shape, t.dtype) != self._spec:
            raise AutogradError(
                f"unpack hook returned {tuple(t.shape)} {t.dtype}; packed was "
                f"{tuple(self._spec[0])} {self._spec[1]}"
            )
        return t

    @property
    def _array(self) -> Any:
        return self.tensor()._array


class Plan:
    """What one op keeps and runs when a given set of its inputs needs gradients.

    Attributes:
        names: positions of ``saved``: the op's arrays, then its outputs.
        keep: per array, whether a rule reads it.
        keep_outs: positions of the outputs that a rule reads.
        shapes: whether a rule reads some input's shape.
    """

    __slots__ = ("_bits", "_op", "_variants", "keep", "keep_outs", "kept", "n_args", "names",
                 "shapes")  # fmt: skip

    def __init__(self, op: Op, bits: tuple[bool, ...]) -> None:
        self._op, self._bits = op, bits
        self.n_args = len(bits)
        outs = op.outputs or ("out",)
        reads: set[str] = set()
        for rule in self._rules():
            reads.update(rule.reads)
        many = op.arrays[-1] if op.variadic else None
        fixed = op.arrays[:-1] if op.variadic else op.arrays
        args = [*fixed, *[many] * (self.n_args - len(fixed))]
        self.names = (*args, *outs)
        self.keep = tuple(a in reads for a in args)
        self.keep_outs = tuple(i for i, o in enumerate(outs) if o in reads)
        self.shapes = any(r.endswith("_shape") for r in reads)
        self.kept = tuple(i for i, k in enumerate(self.keep) if k) + tuple(
            self.n_args + i for i in self.keep_outs
        )
        self._variants: dict[str, Callable[..., Any]] = {}

    def _rules(self) -> list[Any]:
        rules = self._op.rules
        if None in rules:
            return [rules[None]]
        last = len(self._op.arrays) - 1
        wanted = {self._op.arrays[min(i, last)] for i, bit in enumerate(self._bits) if bit}
        return [rules[a] for a in self._op.arrays if a in wanted and a in rules]

    def variant(self, kind: str) -> Callable[..., Any]:
        """``fn(xp, g, node) -> gradients`` for ``arrays``, ``halves`` (cast up) or ``tensors``."""
        found = self._variants.get(kind)
        if found is None:
            found = self._variants[kind] = self._compile(kind)
        return found

    def _compile(self, kind: str) -> Callable[..., Any]:
        op, n = self._op, self.n_args
        lines = ["def backward(xp, g, node):"]
        scope: dict[str, Any] = {"up": _up, "unpack": _unpack, "stale": _stale,
                                 "arrays": backends.ARRAY_TYPES}  # fmt: skip
        if self.kept:
            lines += ["    saved = node.saved", "    if saved is None: stale(node, None)"]
        for i in self.kept:
            if kind == "tensors":
                lines.append(f"    v{i} = unpack(node, {i})")
            else:
                value = "t" if kind == "arrays" else "up(t)"
                lines += [f"    t = saved[{i}]"]
                if i < n:  # an input may be kept as its bare array
                    lines += [
                        "    if type(t) in arrays:",
                        f"        s = node.edges[{i}].storage",
                        "    else:",
                        "        s = t._storage",
                        "        t = t._array",
                    ]
                else:
                    lines += ["    s = t._storage", "    t = t._array"]
                lines += [
                    f"    if s is not None and s.version != (node.versions[{i}] "
                    "if node.versions else 0): stale(node, " + str(i) + ")",
                    f"    v{i} = {value}",
                ]
        outs = op.outputs or ("out",)

        def spell(read: str) -> str:
            if read in outs:
                return f"v{n + outs.index(read)}"
            if read.endswith("_shape") and read not in op.arrays:
                place = op.arrays.index(read[: -len("_shape")])
                many = op.variadic and place == len(op.arrays) - 1
                return f"node.shapes[{place}:]" if many else f"node.shapes[{place}]"
            place = op.arrays.index(read)
            if op.variadic and place == len(op.arrays) - 1:
                return "(" + "".join(f"v{i}, " for i in range(place, n)) + ")"
            return f"v{place}"

        def call(key: str | None) -> str:
            rule = op.rules[key]
            scope[f"rule_{key}"] = rule.fn
            args = ["xp", "g", *(f"{r}={spell(r)}" for r in rule.reads)]
            args += [f"{s}=node.settings[{s!r}]" for s in rule.settings]
            return f"rule_{key}({', '.join(args)})"

        if None in op.rules:
            lines.append(f"    r = {call(None)}")
            lines.append("    return r if type(r) is tuple or type(r) is list else (r,)")
        else:
            terms = [
                call(op.arrays[i]) if bit and op.arrays[i] in op.rules else "None"
                for i, bit in enumerate(self._bits)
            ]
            lines.append(f"    return ({', '.join(terms)},)")
        exec(compile("\n".join(lines), f"<gpugrad plan of {op.name}>", "exec"), scope)
        compiled: Callable[..., Any] = scope["backward"]
        return compiled


def plan_for(op: Op, bits: tuple[bool, ...]) -> Plan:
    """Return the plan of an op for this pattern of inputs that need gradients."""
    plan: Plan | None = op.plans.get(bits)
    if plan is None:
        plan = op.plans[bits] = Plan(op, bits)
    return plan


def _up(array: Any) -> Any:
    return array.astype(np.float32) if array.dtype in _HALF_NP else array


_HALF_NP = frozenset(d.np for d in HALVES)


def _unpack(node: Node, i: int) -> Any:
    """Saved value ``i`` as a tensor with its history, for gradients that are recorded."""
    assert node.saved is not None
    value = node.saved[i]
    if isinstance(value, Constant):
        return value._array
    # History is not kept with a value: that of an output is this node, that of an input its edge.
    n = node.plan.n_args
    owner, slot = (node, i - n) if i >= n else (node.edges[i], node.slots[i] if node.slots else 0)
    if isinstance(value, Packed):
        return wrap(value._array, owner, slot)
    bare = type(value) in backends.ARRAY_TYPES
    storage = owner.storage if bare else value._storage
    if storage is not None and storage.version != (node.versions[i] if node.versions else 0):
        _stale(node, i)
    if bare or i >= n:
        return wrap(value if bare else value._array, owner, slot, storage)
    return value


def _stale(node: Node, i: int | None) -> None:
    """Raise for a graph that was freed, or a saved tensor that was overwritten."""
    if i is None:
        raise AutogradError(
            f"backward through {node.name()} a second time: what it kept was freed by the first. "
            "Pass retain_graph=True to the first backward to keep it"
        )
    assert node.saved is not None
    value = node.saved[i]
    storage = node.edges[i].storage if type(value) in backends.ARRAY_TYPES else value._storage
    made = f"; the op was called at {node.meta['site']}" if node.meta else ""
    raise AutogradError(
        f"{node.op.name} needs its {node.plan.names[i]!r} of shape {tuple(value.shape)} for the "
        f"gradient, but it was modified by an in-place operation at {storage.last_write} (version "
        f"{storage.version}, expected {node.versions[i] if node.versions else 0}){made}"
    )


class Node:
    """One recorded op.  See ``Plan`` for what ``saved`` holds.

    Attributes:
        op: the op's record.
        settings: its settings, plain data.
        storage: that of the single output, once it has one.
        saved: per array input and output what is kept: an input that has a history as its bare
            array (its tensor may go), anything else as a tensor; None where no rule reads it.
        edges: per array input, the node its gradient goes to, or None.
        slots: per input, which output of that node it was; None when all are output 0.
        shape, dtype: of the single output; a tuple of pairs in ``outs`` for several.
        order: falling serial number.
        meta: what recorders noted (source line, module path), or None.
    """

    __slots__ = ("__weakref__", "dtype", "edges", "hooks", "meta", "op", "order", "outs", "plan",
                 "saved", "settings", "shape", "shapes", "slots", "storage", "versions")  # fmt: skip

    def __init__(self, op: Any, plan: Any, edges: tuple[Any, ...], slots: tuple[int, ...] | None,
                 saved: tuple[Any, ...] | None, versions: tuple[int, ...] | None,
                 settings: dict[str, Any], shape: tuple[int, ...], dtype: Any) -> None:  # fmt: skip
        self.op = op
        self.plan = plan
        self.edges = edges
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
        first = g if self.outs is None or type(g) is not tuple else g[0]
        backend = backends.NUMPY if isinstance(first, _HOST) else backends.for_array(first)
        if first.dtype in _HALF_NP and self.op.half == "f32":
            g = tuple(_up(x) for x in g) if type(g) is tuple else _up(g)
            fn = self.plan.variant("halves")
        else:
            fn = self.plan.variant("arrays")
        return backend.run(fn, backend.xp, g, self)  # type: ignore[no-any-return]

    def release(self) -> None:
        """Let go of what was kept for the gradient."""
        if self.plan.kept:
            self.saved = None


_HOST = (np.ndarray, np.generic)


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
        """Add to ``.grad``; ``g`` is an array of our own, or a tensor when recorded."""
        with _accumulation:
            if self.grad is None:
                self.grad = g if create_graph else wrap(g, None)
            elif create_graph or self.grad._node is not None:
                self.grad = self.grad + (g if create_graph else wrap(g, None))
            else:
                held = self.grad._array
                backends.for_array(held).run(_add_into, held, g)
                if self.grad._storage is not None:
                    self.grad._storage.bump()
        if self.post_hooks:
            tensor = self.tensor()
            for hook in list(self.post_hooks.values()):
                hook(tensor)


def _add_into(held: Any, g: Any) -> None:
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

    def __enter__(self) -> Handle:
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


def add_tensor_hook(node: Any, slot: int, hook: Callable[[Any], Any]) -> Handle:
    """Call ``hook(grad)`` with the full gradient of output ``slot``; its result replaces it."""
    return _add_hook(node, ("tensor", slot, hook))


def _calibrate() -> int:
    # Reference count of an array that only a local variable holds.  Measured, not assumed: newer
    # interpreters borrow references and count one less.
    g = object()
    return getrefcount(g)


_ALONE = _calibrate()


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
            backends.NUMPY.run(_add_into, held, g) if isinstance(held, _HOST) else _add_into(held, g)
        else:
            grads[node] = self._add(held, g)
            if type(grads[node]) is np.ndarray:
                self._owned.add(node)

    def _add(self, a: Any, b: Any) -> Any:
        if not self._create and isinstance(a, _HOST):
            return backends.NUMPY.run(np.add, a, b)
        return a + b

    def run(self) -> None:
        """Visit nodes, newest first, until no gradient is waiting."""
        heap, grads, needed, create = self._heap, self._grads, self._needed, self._create
        pop, push = heapq.heappop, heapq.heappush
        retain = self._retain
        special = self._capture
        while heap:
            node = pop(heap)[1]
            g = grads.pop(node)
            if node.hooks is not None:
                g = self._tensor_hooks(node, g)
            if special and node in special:
                self._take(node, g)
            if type(node) is Leaf:
                if not special and (self._leaves is None or node in self._leaves):
                    if not create:
                        if type(g) is np.generic or isinstance(g, np.generic):
                            g = np.asarray(g)
                        if g.base is not None or getrefcount(g) > _ALONE:
                            g = g.copy()
                    node.accumulate(g, create)
                continue
            if node.outs is not None:
                g = _fill_missing(node, g, create)
            if node.hooks is not None:
                g = self._pre_hooks(node, g)
            gs = node.apply(g, create)
            if not retain:
                node.release()
            if modes.anomaly:
                check_anomaly(node, gs)
            if node.hooks is not None:
                gs = self._post_hooks(node, gs, g)
            if len(gs) != len(node.edges):
                raise AutogradError(
                    f"gradient of {node.op.name} returned {len(gs)} values for "
                    f"{len(node.edges)} inputs"
                )
            g = None
            slots = node.slots
            for i, edge in enumerate(node.edges):
                if edge is None or (gi := gs[i]) is None:
                    continue
                if needed is not None and edge not in needed:
                    continue
                if slots is None and edge.outs is None:
                    if gi.shape != edge.shape or gi.dtype is not edge.dtype:
                        gi = fit(gi, edge.shape, edge.dtype, node)
                    # The common case of `_push`, written out: one consumer, one output.
                    if edge not in grads:
                        grads[edge] = gi
                        push(heap, (edge.order, edge))
                        continue
                    self._push(edge, 0, gi)
                else:
                    slot = 0 if slots is None else slots[i]
                    shape, dtype = (
                        (edge.shape, edge.dtype) if edge.outs is None else edge.outs[slot]
                    )
                    self._push(edge, slot, fit(gi, shape, dtype, node))
            gs = gi = None  # else the arrays would not be ours alone when they reach a leaf

    def _take(self, node: Any, g: Any) -> None:
        for slot in self._capture[node]:
            value = g if node.outs is None else g[slot]
            if value is not None:
                self.captured[node, slot] = value

    def _lift(self, g: Any) -> Any:
        if g is None or self._create:
            return g
        return wrap(np.asarray(g) if isinstance(g, np.generic) else g, None)

    def _drop(self, t: Any) -> Any:
        return t if t is None or self._create else t._array

    def _tensor_hooks(self, node: Any, g: Any) -> Any:
        for kind, slot, hook in list(node.hooks):
            if kind != "tensor":
                continue
            before = g if node.outs is None else g[slot]
            if before is None:
                continue
            after = hook(self._lift(before))
            if after is None:
                continue
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
                result = hook(
                    tuple(self._lift(x) for x in gs), tuple(self._lift(x) for x in given)
                )
                if result is not None:
                    result = tuple(result) if isinstance(result, tuple | list) else (result,)
                    gs = tuple(self._drop(x) for x in result)
        return gs


def _fill_missing(node: Any, g: list[Any], create: bool) -> Any:
    """Zeros for outputs nobody used; one differentiable output is passed bare."""
    have = next(x for x in g if x is not None)
    filled: list[Any] = []
    for (shape, dtype), x in zip(node.outs, g, strict=True):
        if dtype is None:
            continue  # an integer output: it has no gradient
        if x is None:
            x = _zeros(shape, dtype, have, create)
        filled.append(x)
    # A record with named outputs gets its one gradient bare; split and unbind always get a tuple.
    return filled[0] if len(filled) == 1 and node.op.outputs else tuple(filled)


def _zeros(shape: tuple[int, ...], dtype: Any, like: Any, create: bool) -> Any:
    array = like._array if create else like
    library = backends.NUMPY if isinstance(array, _HOST) else backends.for_array(array)
    zeros = library.xp.zeros(shape, dtype=dtype)
    return wrap(zeros, None) if create else zeros


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
        tensor = not isinstance(g, _HOST) and hasattr(g, "_node")
        xp: Any = F if tensor else backends.NUMPY.xp if isinstance(g, _HOST) else (
            backends.for_array(g).xp)  # fmt: skip
        axes = (*range(lead), *ones)
        g = xp.sum(g, axis=axes, keepdims=True) if axes else g
        if g.shape != shape:
            g = xp.reshape(g, shape)
    if hasattr(g, "_node"):
        return g if g._array.dtype == dtype else F.astype(g, dtypes.from_numpy(dtype))
    return g if g.dtype == dtype else g.astype(dtype)


def check_anomaly(node: Any, gs: Iterable[Any]) -> None:
    """Raise if a gradient holds NaN, naming the forward op and the line that called it."""
    for i, g in enumerate(gs):
        if g is None:
            continue
        array = g._array if hasattr(g, "_node") else g
        if array.dtype.kind != "f" and array.dtype not in _HALF_NP:
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
    if gradient is None:
        if math.prod(array.shape) != 1:
            raise AutogradError(
                f"{caller}: a gradient can be started by itself only for a scalar; the output has "
                f"shape {tuple(array.shape)}: reduce it, or pass a gradient of that shape"
            )
        ones = backends.for_array(array).xp.ones_like(array)
        return wrap(ones, None) if create_graph else ones
    if not hasattr(gradient, "_array"):
        raise AutogradError(f"{caller}: gradients must be tensors or None, got {type(gradient)}")
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
