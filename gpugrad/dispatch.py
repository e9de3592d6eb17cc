"""From a public call to arrays and back: what happens, in order, when an op is called.

1. devices agree; 2. dims, dtypes and shapes are made plain; 3. the op runs on the arrays (or on
``Spec`` for ``meta`` tensors); 4. the tape keeps what the rules read; 5. recorders take note.

Elementwise ops of one or two arrays have a *lane*: the same steps written straight for the common
case (plain tensors of one dtype on the CPU), which hands everything else to ``call``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import backends, dtypes, signature
from gpugrad.backends.numpy import quiet
from gpugrad.codegen.forward import forward as generated
from gpugrad.codegen.host import LARGE
from gpugrad.codegen.target import TARGETS
from gpugrad.devices import CPU
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, DeviceError
from gpugrad.functional_namespace import F
from gpugrad.modes import casting, modes
from gpugrad.op import REQUIRED, Op, registry
from gpugrad.refusals import brief, refuse_op
from gpugrad.spec import Spec, result_of, spec_of
from gpugrad.tape import Constant, Node, Packed, PackedSaved, Plan, plan_for
from gpugrad.tensor import TENSOR_TYPES, Tensor, View, check_mode, wrap

_NDARRAY = np.ndarray
_XP = backends.NUMPY.xp
_HALF_NP = frozenset(d.np for d in dtypes.HALVES)
_FLOAT_NP = frozenset(d.np for d in dtypes.FLOATS)
_F32 = dtypes.float32


def prepare(op: Op) -> None:
    """Work out which dtypes an op computes in as they are (no promotion, no cast)."""
    kinds = {"b": dtypes.BOOL, "i": dtypes.INTEGER, "f": dtypes.FLOAT}
    accepted = {kinds[k] for k in op.accepts}
    if op.promotion == "float":
        accepted &= {dtypes.FLOAT}
    halves = op.half == "native" or op.promotion is None
    op.native = frozenset(
        d.np for d in dtypes.ALL if d.category in accepted and (halves or d not in dtypes.HALVES)
    )


def call(op: Op, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """Run an op on tensors (and numbers), recording it where a gradient is wanted.

    Args:
        op: the record.
        args: its arrays in the record's order; ``None`` for an optional one left out.
        settings: every setting by name, not yet normalised; the call owns the dict.
    """
    if modes.autocast is not None and (cast := modes.autocast(op, args, {})) is not None:
        with casting():
            return call(op, cast[0], settings)
    first = None
    odd = False  # something other than tensors of one dtype and one device
    dtype = kind = None
    needs = False
    arrays: list[Any] = []
    last = len(op.arrays) - 1
    for a in args:
        if type(a) in TENSOR_TYPES:
            x = a._array
            if first is None:
                first, dtype, kind = a, x.dtype, type(x)
            elif x.dtype is not dtype or type(x) is not kind:
                odd = True
            if a._node is not None:
                needs = True
            arrays.append(x)
        else:
            odd = odd or a is not None or op.arrays[min(len(arrays), last)] not in op.optional
            arrays.append(a)
    try:
        if odd or first is None or (kind is not _NDARRAY and backends.several):
            args, first = _checked(op, args)
            arrays = [a._array if isinstance(a, Tensor) else a for a in args]
        if op.normal:
            if not first._array.shape and _lifts(op, settings):
                return _lifted(op, args, settings)
            signature.normalise(op, len(first._array.shape), settings)
        half: DType | None = None
        if op.promotion is not None and (odd or dtype not in op.native):
            args, half = _promoted(op, args)
            arrays = [a._array if isinstance(a, Tensor) else a for a in args]
        recorded = needs and modes.grad and op.differentiable
        if recorded and not op.rules:
            return _composed(op, args, settings, half)
        if modes.clock is not None:
            modes.clock()
        if type(first._array) is Spec:
            out = _on_meta(op, arrays, settings)
        else:
            run: Any = quiet.run
            xp, out = _XP, None
            if type(first._array) is not _NDARRAY:
                backend = backends.ARRAY_TYPES[type(first._array)]
                run, xp = backend.run, backend.xp
            if first._array.size >= LARGE or type(first._array) is not _NDARRAY:
                target = TARGETS[type(first._array)]
                if target is not None and first._array.size >= target.least:
                    out = run(generated, target, op, arrays, settings, half)
            if out is None:
                if half is not None:
                    arrays = [run(_to_f32, x) for x in arrays]
                out = run(op.fn, xp, *arrays, **settings)
                if half is not None:
                    wanted = settings.get("dtype") or half
                    out = run(_from_f32, out, wanted)
    except Exception as error:
        refuse_op(op, args, settings, error)
    many = type(out) is tuple or type(out) is list
    outs = [wrap(x if type(x) is _NDARRAY or not isinstance(x, np.generic) else np.asarray(x))
            for x in out] if many else [
            wrap(np.asarray(out) if isinstance(out, np.generic) else out)]  # fmt: skip
    if op.view:
        _link_views(op, args[0], settings, outs)
    if recorded:
        _track(op, args, settings, outs)
    if not modes.plain:
        for t in outs:
            check_mode(t)
        for recorder in modes.recorders:
            recorder.record(op, args, settings, tuple(outs))
    if not many:
        return outs[0]
    return op.public.result_type(*outs) if op.outputs else tuple(outs)


def _composed(op: Op, args: tuple[Any, ...], settings: dict[str, Any], half: DType | None) -> Any:
    """A composite without a rule: run it on tensors, so that its parts are recorded.

    16-bit floats are cast up before and down after, so its parts round like those of one op.
    """
    if half is None:
        return op.fn(F, *args, **settings)
    cast = registry["to"].public
    wide = tuple(cast(a, _F32) if isinstance(a, Tensor) and a.dtype is half else a for a in args)
    result = op.fn(F, *wide, **settings)
    wanted = settings.get("dtype") or half
    if isinstance(result, Tensor):
        return cast(result, wanted) if result.dtype is _F32 else result
    narrow = [cast(r, wanted) if r.dtype is _F32 else r for r in result]
    return op.public.result_type(*narrow) if op.outputs else tuple(narrow)


def _to_f32(x: Any) -> Any:
    return x.astype(np.float32) if getattr(x, "dtype", None) in _HALF_NP else x


def _from_f32(out: Any, dtype: DType) -> Any:
    if type(out) is tuple or type(out) is list:
        return tuple(_from_f32(x, dtype) for x in out)
    return out.astype(dtype.np) if out.dtype == np.float32 else out


def _checked(op: Op, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Tensor]:
    """Check kinds and devices of the operands; return them, and the tensor that leads."""
    checked: list[Any] = []
    last = len(op.arrays) - 1
    for i, a in enumerate(args):
        if isinstance(a, np.generic):
            a = a.item()
        name = op.arrays[min(i, last)]
        if not isinstance(a, (Tensor, *signature.NUMBERS)) and not (
            a is None and name in op.optional
        ):
            if a is REQUIRED:
                raise signature.missing(op, name)
            if isinstance(a, complex):
                dtypes.of_scalar(a)
            hint = "; use gpugrad.from_numpy" if isinstance(a, np.ndarray) else ""
            raise ArgumentError(
                f"{op.name}: {name} must be a Tensor{' or a number' if op.elementwise else ''}, "
                f"got {brief(a)}{hint}"
            )
        checked.append(a)
    tensors = [a for a in checked if isinstance(a, Tensor)]
    if not tensors:
        raise ArgumentError(
            f"{op.name}: at least one of {', '.join(op.arrays)} must be a Tensor, got "
            f"{', '.join(map(brief, args)) or 'nothing'}"
        )
    if (
        not op.elementwise
        and not op.indices
        and len(tensors) < len([a for a in checked if a is not None])
    ):
        bad = next(i for i, a in enumerate(checked) if a is not None and not isinstance(a, Tensor))
        raise ArgumentError(
            f"{op.name}: {op.arrays[min(bad, last)]} must be a Tensor, got {brief(checked[bad])}"
        )
    leading = next((t for t in tensors if t.device is not CPU), tensors[0])
    device = leading.device
    for i, a in enumerate(checked):
        if isinstance(a, Tensor) and a.device != device:
            if a.ndim == 0 and a.device is CPU:  # a 0-d host tensor is a number to a device
                checked[i] = a.to(device)
                continue
            raise DeviceError(
                f"{op.name}: operands are on {device} and {a.device}; move one with .to(...)"
            )
    first = checked[0] if isinstance(checked[0], Tensor) else leading
    return tuple(checked), first


def _promoted(op: Op, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], DType | None]:
    """Bring every promoted operand to the computing dtype; say if that is a 16-bit float."""
    dtype = signature.compute_dtype(op, args)
    if dtype is None:
        return args, None
    half = dtype if dtype in dtypes.HALVES and _widens(op, args) else None
    number_type = np.float32 if half else dtype.np
    last = len(op.arrays) - 1
    result: list[Any] = []
    for i, a in enumerate(args):
        if a is None or op.arrays[min(i, last)] in op.indices:
            result.append(a)
        elif isinstance(a, Tensor):
            result.append(a if a.dtype is dtype else registry["to"].public(a, dtype))
        else:
            result.append(quiet.run(_number, a, number_type))
    return tuple(result), half


def _widens(op: Op, args: tuple[Any, ...]) -> bool:
    """Whether 16-bit floats are cast up for an op, on the device that these operands are on."""
    array = next(a._array for a in args if isinstance(a, Tensor))
    library = backends.NUMPY if type(array) is Spec else backends.for_array(array)
    return library.widens(op.half)


def _number(value: Any, np_dtype: Any) -> Any:
    """A typed scalar; integers wrap as PyTorch's do."""
    return np.asarray(value).astype(np_dtype)[()]


def _lifts(op: Op, settings: dict[str, Any]) -> bool:
    return any(
        kind == "Dim" or (kind == "Dim | None" and settings[name] is not None)
        for name, kind in op.normal
    )


def _lifted(op: Op, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """An op along a dim of a 0-d tensor: PyTorch treats the tensor as having one dim of size 1."""
    up = tuple(F.reshape(a, (1,)) if isinstance(a, Tensor) and a.ndim == 0 else a for a in args)
    result = call(op, up, settings)
    if isinstance(result, Tensor):
        return F.reshape(result, ()) if result.numel() == 1 else result
    down = [F.reshape(r, ()) if r.numel() == 1 else r for r in result]
    return type(result)(*down) if op.outputs else tuple(down)


def _on_meta(op: Op, arrays: list[Any], settings: dict[str, Any]) -> Any:
    specs = tuple(
        a if not hasattr(a, "shape") or isinstance(a, Spec | np.generic) else spec_of(a)
        for a in arrays
    )
    specs = tuple(a.item() if isinstance(a, np.generic) else a for a in specs)
    return result_of(op, specs, settings)


def _link_views(op: Op, source: Tensor, settings: dict[str, Any], outs: list[Tensor]) -> None:
    """Tell results that share memory with their source what they are views of."""
    array = source._array
    if type(array) is Spec:
        return
    root = array if array.base is None else array.base
    above, key = source._view, op.key
    base, chain = (source, ()) if above is None else (above.base, above.chain)
    recorded = modes.grad and (above is None or above.recorded)
    for i, t in enumerate(outs):
        x = t._array
        if x is not array and x.base is not root and x.base is not array and not _inside(x, array):
            continue  # reshape had to copy
        if x is array:  # the library gave the same object back; a view is a tensor of its own
            t._array = x.view()
        t._storage = storage = source._storage or source.storage_state()
        t._view = View(base, (*chain, (key, settings, i)), recorded)
        if recorded:
            storage.add_view(t)


def _inside(x: Any, array: Any) -> bool:
    """Whether ``x`` looks into the memory of ``array``, for libraries that do not tell by ``base``.

    Fresh memory never lies between two elements of a block in use, so touching ranges settle it.
    """
    return x.size == 0 or bool(backends.for_array(array).may_share_memory(x, array))


def _track(op: Op, args: tuple[Any, ...], settings: dict[str, Any], outs: list[Tensor]) -> None:
    """Put one executed op on the tape."""
    first = outs[0]._array
    dtype = first.dtype if type(first) is _NDARRAY else _dtype_key(first)
    if dtype not in _FLOAT_NP and not any(_dtype_key(t._array) in _FLOAT_NP for t in outs):
        return
    edges: list[Any] = []
    sliced = False  # whether some input was not output 0 of its node
    for a in args:
        if type(a) in TENSOR_TYPES:
            edges.append(a._node)
            sliced = sliced or a._slot != 0
        else:
            edges.append(None)
    bits = tuple([e is not None for e in edges])
    plan = op.plans.get(bits) or plan_for(op, bits)
    saved, versions = _keep(plan, args, edges, outs) if plan.kept else (None, None)
    slots = tuple([getattr(a, "_slot", 0) for a in args]) if sliced else None
    node = Node(op, plan, tuple(edges), slots, saved, versions, settings, first.shape, dtype)
    if plan.shapes:
        node.shapes = tuple([getattr(a, "_array", a).shape if a is not None else None
                             for a in args])  # fmt: skip
    if not plan.many and len(outs) == 1:
        t = outs[0]
        node.storage, t._node, t._slot = t._storage, node, 0
        return
    keys = [_dtype_key(t._array) for t in outs]
    node.outs = tuple(
        [(t._array.shape, k if k in _FLOAT_NP else None) for t, k in zip(outs, keys, strict=True)]
    )
    for i, t in enumerate(outs):
        if keys[i] in _FLOAT_NP:
            t._node, t._slot = node, i


def _keep(plan: Plan, args: tuple[Any, ...], edges: list[Any],
          outs: list[Tensor]) -> tuple[tuple[Any, ...], tuple[int, ...] | None]:  # fmt: skip
    """What a node saves (see ``Node.saved``), and the versions where one is not 0."""
    kept: list[Any] = [None] * (plan.n_args + len(outs))
    versions = [0] * len(kept)
    for i in plan.kept:
        if i < plan.n_args:
            a = args[i]
            if type(a) not in TENSOR_TYPES:
                kept[i] = Constant(a)
                continue
        else:
            out = outs[i - plan.n_args]
            a = wrap(out._array, None, 0, out.storage_state())
        kept[i] = a
        if a._storage is not None:
            versions[i] = a._storage.version
    if modes.saved_hooks:
        pack, unpack = modes.saved_hooks[-1]
        packed = [Packed(k, pack, unpack) if isinstance(k, Tensor) else k for k in kept]
        return PackedSaved(packed), None
    for i, edge in enumerate(edges):
        if edge is not None and edge.outs is None and kept[i] is not None:
            kept[i] = _bare(kept[i], edge)
    return tuple(kept), tuple(versions) if any(versions) else None


def _bare(tensor: Tensor, edge: Any) -> Any:
    """What to keep of an input that has a history: the array alone, so that the tensor may go.

    Then its node is asked for the version.  Not so for what hooks unpacked, which has the node's
    place on the tape, but memory of its own.
    """
    own = tensor._storage is edge.storage and type(tensor._array) in backends.ARRAY_TYPES
    return tensor._array if own else tensor


def _dtype_key(array: Any) -> Any:
    d = array.dtype
    return d.np if type(d) is DType else d


def _op_of_arrays(xp: backends.Namespace, name: str) -> Any:
    """An op as a function of arrays: ``xp.<name>`` where the library has no such function."""
    record = registry.by_xp.get(name)
    if not isinstance(record, Op):
        return None

    def run(*args: Any, **kwargs: Any) -> Any:
        arrays, settings = signature.bind(record, args, kwargs)
        first = next(a for a in arrays if a is not None)
        signature.normalise(record, first.ndim, settings)
        return record.fn(xp, *arrays, **settings)

    return run


backends.Namespace.missing = _op_of_arrays
