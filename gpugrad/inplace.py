"""Writing into tensors: in-place ops, ``out=``, and what that does to history.

An in-place op is its functional op followed by a write: the target takes the result's values and
its place on the tape.  When the target is a view, the base's history becomes "the base with that
region replaced", and every live view of the same memory gets its history renewed from the base.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import backends, dtypes
from gpugrad.dispatch import call
from gpugrad.errors import (
    ArgumentError,
    AutogradError,
    DeviceError,
    DTypeError,
    ShapeError,
    ViewError,
)
from gpugrad.modes import modes
from gpugrad.op import Op, registry
from gpugrad.spec import Spec
from gpugrad.tape import Leaf, Node, plan_for
from gpugrad.tensor import Tensor, wrap


def check_writable(name: str, target: Tensor) -> None:
    """Refuse a write that would lose a leaf's history or hit one element twice.

    Raises:
        AutogradError: for a leaf that requires a gradient (or a view of one) while recording.
        ViewError: for an expanded tensor, several of whose elements are one in memory.
    """
    if not isinstance(target, Tensor):
        raise ArgumentError(f"{name}: the target must be a Tensor, got {type(target).__name__}")
    if modes.grad:
        base = target if target._view is None else target._view.base
        wanted = base._node is not None or target._node is not None
        if type(target._node) is Leaf or (base.is_leaf and wanted):
            what = "a leaf" if base is target else "a view of a leaf"
            raise AutogradError(
                f"{name}: {what} that requires a gradient cannot be written in place while "
                "recording; use `with gpugrad.no_grad():` or an out-of-place op"
            )
    if target.is_inference() and not modes.inference:
        raise AutogradError(
            f"{name}: a tensor made in inference_mode can be written only there; clone() it first"
        )
    array = target._array
    if (
        type(array) is not Spec
        and 0 in array.strides
        and array.size
        and any(
            stride == 0 and size > 1
            for stride, size in zip(array.strides, array.shape, strict=True)
        )
    ):
        raise ViewError(
            f"{name}: the target of shape {tuple(target.shape)} is expanded, several of its "
            "elements are one in memory; clone() it before writing"
        )


def check_overlap(name: str, target: Tensor, source: Tensor) -> None:
    """Refuse a source that shares only part of the target's memory."""
    a, b = target._array, source._array
    if (
        type(a) is Spec or type(a) is not type(b) or source._storage is None
        or source._storage is not target._storage
    ):  # fmt: skip
        return
    same = a.shape == b.shape and a.strides == b.strides and target.data_ptr() == source.data_ptr()
    if not same and backends.for_array(a).shares_memory(a, b):
        raise ViewError(
            f"{name}: the target and an operand share some but not all of their memory; "
            "clone() the operand first"
        )


def assign(name: str, target: Tensor, result: Tensor) -> Tensor:
    """Write ``result`` into ``target`` and give the target the result's history.

    Raises:
        ShapeError: if the result is larger than the target; DTypeError: if storing it would lose
            the kind of its numbers (a float in an integer tensor).
    """
    check_writable(name, target)
    if result._array.shape != target._array.shape:
        raise ShapeError(
            f"{name}: the result has shape {tuple(result.shape)}, the target "
            f"{tuple(target.shape)}; an in-place op cannot change its target's shape"
        )
    _check_kind(name, target, result)
    if modes.grad and (result._node is not None or family_node(target) is not None):
        if target._view is not None and not target._view.recorded:
            raise AutogradError(
                f"{name}: the target is a view made under no_grad, which has no part in the "
                "history of its base; make the view while recording, or write under no_grad"
            )
        if result._node is not None and result.dtype is not target.dtype:
            result = registry["to"].public(result, target.dtype)
        write(target, result._array)
        _rebase(target, result)
    else:
        write(target, result._array)
    return target


def _check_kind(name: str, target: Tensor, result: Tensor) -> None:
    mine, other = target._array, result._array
    if type(mine) is type(other) is np.ndarray and mine.dtype is other.dtype:
        return
    if not dtypes.can_cast(result.dtype, target.dtype):
        raise DTypeError(
            f"{name}: the result is {result.dtype.name}, the target {target.dtype.name}; "
            "a result of a higher kind cannot be stored in place"
        )
    if result.device != target.device:
        raise DeviceError(
            f"{name}: the result is on {result.device}, the target on {target.device}; they must "
            "be on one device"
        )


def shield(target: Tensor, result: Tensor, since: int) -> None:
    """Let what an in-place op just recorded keep copies of the values it is about to overwrite.

    Args:
        since: a serial number; nodes recorded after it was drawn belong to the op.
    """
    stack = [result._node]
    while stack:
        node = stack.pop()
        if type(node) is not Node or node.order > since:
            continue
        stack.extend(node.edges)
        for i in node.plan.kept:
            if node.saved is None:
                break
            if i < node.plan.n_args and _lies_in(target, node, i):
                node.saved = (*node.saved[:i], _copy_kept(node, i), *node.saved[i + 1 :])


def _copy_kept(node: Node, i: int) -> Tensor:
    """A copy of kept input ``i``, with a history of its own that leads to where the input's did."""
    assert node.saved is not None
    value, edge = node.saved[i], node.edges[i]
    array = value if type(value) in backends.ARRAY_TYPES else value._array
    copy = wrap(backends.for_array(array).copy(array))
    if edge is not None:
        op = registry["clone"]
        slots = (node.slots[i],) if node.slots else None
        copy._node = Node(
            op,
            plan_for(op, (True,)),
            (edge,),
            slots,
            None,
            None,
            {"memory_format": None},
            copy._array.shape,
            copy._array.dtype,
        )
    return copy


def _lies_in(target: Tensor, node: Node, i: int) -> bool:
    """Whether input ``i`` that a node kept is memory of the target."""
    assert node.saved is not None
    value = node.saved[i]
    if type(value) in backends.ARRAY_TYPES:
        storage, array = node.edges[i].storage, value
    elif isinstance(value, Tensor) and not value.is_meta:
        storage, array = value._storage, value._array
    else:
        return False  # a number, or packed away by a hook
    return array is target._array or (storage is not None and storage is target._storage)


def write(target: Tensor, array: Any, site: str | None = None) -> None:
    """Put values into a tensor's memory and count the write; history is the caller's matter.

    ``site`` is the user's line, for callers that know it already.
    """
    if type(target._array) is not Spec:
        backends.for_array(target._array).copyto(target._array, array)
    target.storage_state().bump(site)


def family_node(target: Tensor) -> Any:
    """The node whose history a write into the target changes."""
    return target._node if target._view is None else target._view.base._node


def _rebase(target: Tensor, result: Tensor) -> None:
    """Give ``target`` the history of ``result``, through its base where it is a view."""
    storage = target.storage_state()
    if target._view is None:
        _take_history(target, result)
        _keep_target(target)
        base = target
    else:
        base, chain = target._view.base, target._view.chain
        op = registry["view_scatter"]
        bits = (base._node is not None, result._node is not None)
        plan = plan_for(op, bits)
        slots = (base._slot, result._slot)
        node = Node(op, plan, (base._node, result._node), slots if any(slots) else None, None, None,
                    {"chain": chain}, base._array.shape, base._array.dtype)  # fmt: skip
        node.storage = storage
        base._move_to(node, 0)
    for view in storage.views():
        if view._view is not None and view._view.base is base:
            _renew(view)


def _renew(view: Tensor) -> None:
    """Rebuild a view's history from its base, op by op."""
    assert view._view is not None
    base = view._view.base
    if base._node is None:
        view._move_to(None, 0)
        return
    walked = base
    for name, settings, index in view._view.chain:
        out = call(registry[name], (walked,), dict(settings))
        walked = out[index] if isinstance(out, tuple) else out
    _take_history(view, walked)


def _take_history(target: Tensor, source: Tensor) -> None:
    target._move_to(source._node, source._slot)
    if target._node is not None and target._node.outs is None:
        target._node.storage = target._storage


def _keep_target(target: Tensor) -> None:
    """Let a node that kept its output keep the target instead, which holds the same values now.

    Node and target then have one storage, and the memory of the output is free.
    """
    node = target._node
    if type(node) is not Node or node.outs is not None or type(node.saved) is not tuple:
        return
    for i in node.plan.keep_outs:
        place, storage = node.plan.n_args + i, target.storage_state()
        versions = node.versions or (0,) * len(node.saved)
        kept = wrap(target._array, None, 0, storage)
        node.saved = (*node.saved[:place], kept, *node.saved[place + 1 :])
        node.versions = (*versions[:place], storage.version, *versions[place + 1 :])


def write_out(op: Op, result: Any, out: Any) -> Any:
    """Serve ``out=``: write the results into the given tensors and return those.

    Raises:
        AutogradError: if a gradient is wanted; ``out=`` cannot be recorded.
    """
    many = isinstance(result, tuple)
    if many and (not isinstance(out, tuple | list) or len(out) != len(result)):
        raise ArgumentError(f"{op.name}: out must be {len(result)} tensors")
    pairs = list(zip(result, out, strict=True)) if many else [(result, out)]
    for r, o in pairs:  # all are checked before one is written
        _check_out(op.name, r, o)
    for r, o in pairs:
        if o.shape != r.shape:
            backend = backends.for_array(o._array)
            with backend.on(o.device):
                o._array = backend.xp.empty(r.shape, dtype=o._array.dtype)
        assign(op.name, o, r)
    if not many:
        return out
    return type(result)(*out) if op.outputs else tuple(out)


def _check_out(name: str, result: Tensor, out: Any) -> None:
    if not isinstance(out, Tensor):
        raise ArgumentError(f"{name}: out must be a Tensor, got {type(out).__name__}")
    if modes.grad and (result._node is not None or out._node is not None):
        raise AutogradError(
            f"{name}: out= cannot be recorded for a gradient; leave it away, or use no_grad"
        )
    check_writable(name, out)
    if out.shape != result.shape and (out.numel() or out.is_meta):
        raise ShapeError(
            f"{name}: the result has shape {tuple(result.shape)}, out {tuple(out.shape)}; they "
            "must be the same, or out empty"
        )
    _check_kind(name, out, result)
