"""What one op keeps for its gradient, and how it runs its rules: compiled once, then straight-line.

The save list of a rule is its parameter list.  A plan unites the lists of the rules that will run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gpugrad import backends
from gpugrad.codegen.gradient import gradient
from gpugrad.codegen.target import TARGETS
from gpugrad.dtypes import HALVES
from gpugrad.errors import AutogradError
from gpugrad.functional_namespace import F
from gpugrad.op import Op
from gpugrad.storage import Storage

if TYPE_CHECKING:
    from gpugrad.tape.nodes import Node

HALF_NP = frozenset(d.np for d in HALVES)


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

    def __init__(
        self, tensor: Any, pack: Callable[[Any], Any], unpack: Callable[[Any], Any]
    ) -> None:
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


class PackedSaved(tuple[Any, ...]):
    """What a node keeps, when hooks packed it."""

    __slots__ = ()


class Plan:
    """What one op keeps and runs when a given set of its inputs needs gradients.

    Attributes:
        names: positions of ``saved``: the op's arrays, then its outputs.
        keep: per array, whether a rule reads it.
        keep_outs: positions of the outputs that a rule reads.
        many: whether the result is a tuple, be it of one (``split`` and ``unbind``).
        shapes: whether a rule reads some input's shape.
    """

    __slots__ = (
        "_bits",
        "_op",
        "_variants",
        "arrays",
        "keep",
        "keep_outs",
        "kept",
        "many",
        "n_args",
        "names",
        "shapes",
    )

    def __init__(self, op: Op, bits: tuple[bool, ...]) -> None:
        self._op, self._bits = op, bits
        self.n_args = len(bits)
        outs = op.outputs or ("out",)
        reads: set[str] = set()
        for rule in (*self._rules(), *self._together().values()):
            reads.update(rule.reads)
        many = op.arrays[-1] if op.variadic else None
        fixed = op.arrays[:-1] if op.variadic else op.arrays
        args = [*fixed, *[many] * (self.n_args - len(fixed))]
        self.names = (*args, *outs)
        self.keep = tuple(a in reads for a in args)
        self.keep_outs = tuple(i for i, o in enumerate(outs) if o in reads)
        self.shapes = any(r.endswith("_shape") for r in reads)
        self.many = bool(op.outputs) or op.annotations.get("return", "").startswith("tuple")
        self.kept = tuple(i for i, k in enumerate(self.keep) if k) + tuple(
            self.n_args + i for i in self.keep_outs
        )
        self._variants: dict[str, Callable[..., Any]] = {}
        #: The variant for arrays once it was asked for: a field, as the engine reads it per node.
        self.arrays: Callable[..., Any] | None = None

    def _rules(self) -> list[Any]:
        rules = self._op.rules
        if None in rules:
            return [rules[None]]
        last = len(self._op.arrays) - 1
        wanted = {self._op.arrays[min(i, last)] for i, bit in enumerate(self._bits) if bit}
        return [rules[a] for a in self._op.arrays if a in wanted and a in rules]

    def _together(self) -> dict[tuple[str, ...], Any]:
        """Rules for several arrays whose gradients are all wanted."""
        wanted = {a for a, bit in zip(self._op.arrays, self._bits) if bit}
        return {k: r for k, r in self._op.together.items() if wanted.issuperset(k)}

    def variant(self, kind: str) -> Callable[..., Any]:
        """``fn(xp, g, node) -> gradients`` for ``arrays``, ``halves`` (cast up) or ``tensors``."""
        found = self._variants.get(kind)
        if found is None:
            found = self._variants[kind] = self._compile(kind)
            if kind == "arrays":
                self.arrays = found
        return found

    def _compile(self, kind: str) -> Callable[..., Any]:
        op, n = self._op, self.n_args
        lines = ["def backward(xp, g, node):"]
        scope: dict[str, Any] = {"up": up, "unpack": _unpack, "stale": _stale,
                                 "arrays": backends.ARRAY_TYPES}  # fmt: skip
        if self.kept:
            lines += ["    saved = node.saved", "    if saved is None: stale(node, None)"]
        for i in self.kept:
            if kind == "tensors":
                lines.append(f"    v{i} = unpack(node, {i})")
            else:
                lines += [f"    t = saved[{i}]"]
                if i < n:  # an input may be kept as its bare array
                    edge = ("edge0", "edge1")[i] if i < 2 else f"more[{i - 2}]"
                    lines += [
                        "    if type(t) in arrays:",
                        f"        s = node.{edge}.storage",
                        "    else:",
                        "        s = t._storage",
                        "        t = t._array",
                    ]
                else:
                    lines += ["    s = t._storage", "    t = t._array"]
                lines += [
                    f"    if s is not None and s.version != (node.versions[{i}] "
                    "if node.versions else 0): stale(node, " + str(i) + ")",
                    f"    v{i} = t",
                ]
        outs = op.outputs or ("out",)
        if kind != "tensors":
            lines += self._kernel(outs, scope)
        if kind == "halves":
            lines.append("    g = tuple(map(up, g)) if type(g) is tuple else up(g)")
            lines += [f"    v{i} = up(v{i})" for i in self.kept]

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

        def call(rule: Any) -> str:
            name = f"rule{len(scope)}"
            scope[name] = rule.fn
            args = ["xp", "g", *(f"{r}={spell(r)}" for r in rule.reads)]
            args += [f"{s}=node.settings[{s!r}]" for s in rule.settings]
            return f"{name}({', '.join(args)})"

        if None in op.rules:
            lines.append(f"    r = {call(op.rules[None])}")
            lines.append("    return r if type(r) is tuple or type(r) is list else (r,)")
        else:
            given: dict[str, str] = {}
            for names, rule in self._together().items() if kind != "tensors" else ():
                lines.append(f"    r = {call(rule)}")
                given |= {name: f"r[{i}]" for i, name in enumerate(names)}
            terms = [
                given.get(op.arrays[i]) or call(op.rules[op.arrays[i]])
                if bit and op.arrays[i] in op.rules
                else "None"
                for i, bit in enumerate(self._bits)
            ]
            lines.append(f"    return ({', '.join(terms)},)")
        exec(compile("\n".join(lines), f"<gpugrad plan of {op.name}>", "exec"), scope)
        compiled: Callable[..., Any] = scope["backward"]
        return compiled

    def _kernel(self, outs: tuple[str, ...], scope: dict[str, Any]) -> list[str]:
        """Lines that leave large arrays to a generated kernel, if the op may have one."""
        op = self._op
        if op.view or op.variadic or not (op.elementwise or "dim" in op.settings):
            return []
        scope.update(targets=TARGETS, generated=gradient, op=op, bits=self._bits)
        names = (*op.arrays, *outs)
        values = ", ".join(f"{names[i]!r}: v{i}" for i in self.kept)
        return [
            "    x = g[0] if type(g) is tuple else g",
            "    target = targets[type(x)]",
            "    if target is not None and (x.size >= target.least" + "".join(
                f" or type(v{i}) is target.array_type and v{i}.size >= target.least"
                for i in self.kept) + "):",
            f"        r = generated(target, op, bits, g, {{{values}}}, node)",
            "        if r is not None: return r",
        ]  # fmt: skip


def plan_for(op: Op, bits: tuple[bool, ...]) -> Plan:
    """Return the plan of an op for this pattern of inputs that need gradients."""
    plan: Plan | None = op.plans.get(bits)
    if plan is None:
        plan = op.plans[bits] = Plan(op, bits)
    return plan


def up(array: Any) -> Any:
    # None stands for an optional array that was left out.
    return array.astype(np.float32) if getattr(array, "dtype", None) in HALF_NP else array


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
        return F.wrap(value.tensor()._array, owner, slot, Storage())
    bare = type(value) in backends.ARRAY_TYPES
    storage = owner.storage if bare else value._storage
    if storage is not None and storage.version != (node.versions[i] if node.versions else 0):
        _stale(node, i)
    if bare or i >= n:
        return F.wrap(value if bare else value._array, owner, slot, storage)
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
