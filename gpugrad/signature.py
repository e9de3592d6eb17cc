"""Readers of a record's signature: public parameters, binding, dimensions, promotion.

Used by the public wrappers, by ``Spec`` and by the stubs, so that a call means the same to all.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.config import config
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, DimError, DTypeError, SettingError, ShapeError
from gpugrad.op import KEYWORD_ONLY, REQUIRED, Function, Op

_KINDS = {"b": dtypes.BOOL, "i": dtypes.INTEGER, "f": dtypes.FLOAT}
#: The array API's keyword for PyTorch's.
KEYWORD_ALIASES = {"axis": "dim", "keepdims": "keepdim", "axes": "dims"}
NUMBERS = (int, float)  # bool is an int


@dataclass(frozen=True, slots=True)
class Parameter:
    """One public parameter of an op: ``kind`` is ``array``, ``arrays``, ``setting`` or ``ints``."""

    name: str
    kind: str
    default: Any
    keyword_only: bool


def parameters(op: Op) -> list[Parameter]:
    """Public parameters in PyTorch's order."""
    found: dict[str, Parameter] = {}
    for name in op.arrays:
        default = None if name in op.optional else REQUIRED
        kind = "arrays" if op.variadic and name == op.arrays[-1] else "array"
        found[name] = Parameter(name, kind, default, False)
    for name, default in op.settings.items():
        kind = "ints" if op.annotations.get(name) == "Shape" else "setting"
        found[name] = Parameter(name, kind, default, name in KEYWORD_ONLY and name not in op.order)
    ordered = [found.pop(n) for n in op.order] + list(found.values())
    if op.takes_inplace:
        ordered.append(Parameter("inplace", "setting", False, False))
    return sorted(ordered, key=lambda p: p.keyword_only)


def missing(op: Op, name: str) -> ArgumentError:
    """The error for a call without a required argument."""
    return ArgumentError(f"{op.name}: missing argument {name!r}; it is {signature_text(op)}")


def function_text(record: Function) -> str:
    """A plain function's signature as a reader sees it."""
    bare = inspect.signature(record.fn)
    plain = [p.replace(annotation=p.empty) for p in bare.parameters.values()]
    return f"{record.name}{bare.replace(parameters=plain, return_annotation=bare.empty)}"


def signature_text(op: Op) -> str:
    """The public signature as a reader sees it."""
    parts: list[str] = []
    star = False
    for p in parameters(op):
        if p.keyword_only and not star:
            parts.append("*")
            star = True
        parts.append(p.name if p.default is REQUIRED else f"{p.name}={p.default!r}")
    return f"{op.name}({', '.join(parts)})"


def bind(
    op: Op, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Sort a public call into (arrays, settings).

    Raises:
        ArgumentError: for a missing, surplus or unknown argument; it shows the signature.
    """
    values: dict[str, Any] = {}
    params = parameters(op)
    positional = [p for p in params if not p.keyword_only]
    names = {p.name for p in params}
    rest = list(args)
    for p in positional:
        if not rest:
            break
        if p.kind == "ints" and isinstance(rest[0], int):
            values[p.name], rest = tuple(rest), []
        else:
            values[p.name] = rest.pop(0)
    if rest:
        raise ArgumentError(
            f"{op.name}: {len(rest)} arguments too many; it is {signature_text(op)}"
        )
    for key, value in kwargs.items():
        name = key if key in names else KEYWORD_ALIASES.get(key, key)
        if name not in names:
            raise ArgumentError(f"{op.name}: unknown argument {key!r}; it is {signature_text(op)}")
        if name in values:
            raise ArgumentError(f"{op.name}: {name!r} given twice; it is {signature_text(op)}")
        values[name] = value
    for p in params:
        if p.name not in values:
            if p.default is REQUIRED:
                raise missing(op, p.name)
            values[p.name] = p.default
    if op.takes_inplace and values.pop("inplace"):
        raise ArgumentError(f"{op.name}: inplace=True needs a Tensor to write into")
    arrays: tuple[Any, ...] = tuple(values.pop(a) for a in op.arrays)
    if op.variadic:
        arrays = (*arrays[:-1], *arrays[-1])
    return arrays, values


def wrap_dim(op_name: str, dim: Any, ndim: int, what: str = "dim") -> int:
    """Make one dimension non-negative.

    Raises:
        DimError: if it is outside ``[-ndim, ndim)`` (a 0-d input takes 0 and -1).
        ArgumentError: if it is not an integer.
    """
    if type(dim) is int and 0 <= dim < ndim:
        return dim
    try:
        d = operator.index(dim)
    except TypeError:
        raise ArgumentError(f"{op_name}: {what} must be an int, got {dim!r}") from None
    bound = max(ndim, 1)
    if not -bound <= d < bound:
        raise DimError(
            f"{op_name}: {what} {d} is out of range for {ndim} dimensions; "
            f"accepted: {-bound} to {bound - 1}"
        )
    return d + bound if d < 0 else d


def wrap_dims(op_name: str, dims: Any, ndim: int) -> tuple[int, ...] | None:
    """Make several dimensions non-negative; ``None`` and ``()`` mean all of them."""
    if dims is None:
        return None
    if type(dims) is int and 0 <= dims < ndim:
        return (dims,)
    if not isinstance(dims, tuple | list):
        dims = (dims,)
    wrapped = tuple(wrap_dim(op_name, d, ndim) for d in dims)
    if len(set(wrapped)) != len(wrapped):
        raise DimError(f"{op_name}: dim {dims} names a dimension twice")
    return wrapped if wrapped and ndim else None


def int_tuple(op_name: str, name: str, value: Any) -> tuple[int, ...]:
    """Read a shape: an int, a sequence of ints, or a size."""
    try:
        if isinstance(value, tuple | list):
            return tuple([operator.index(v) for v in value])
        return (operator.index(value),)
    except TypeError:
        raise ArgumentError(f"{op_name}: {name} must be ints, got {value!r}") from None


def plain_int(op_name: str, name: str, value: Any) -> int:
    """Read an int, or anything that stands for one (a 0-d integer tensor)."""
    try:
        return operator.index(value)
    except TypeError:
        raise ArgumentError(f"{op_name}: {name} must be an int, got {value!r}") from None


#: Kinds of plain settings that are checked where a call gives them: what the words mean.
PLAIN = {
    "bool": "a bool", "int": "an int", "float": "a number", "str": "a string",
    "tuple[float, float]": "two numbers", "tuple[float, float, float]": "three numbers",
}  # fmt: skip
_PYTHON: dict[str, Any] = {"bool": bool, "int": int, "float": (int, float), "str": str}
_EXACT: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}


def plain_kind(annotation: str) -> str:
    """The annotation of a plain setting, in full; an empty string for any other."""
    return annotation if annotation.removesuffix(" | None") in PLAIN else ""


def plain_value(op_name: str, name: str, kind: str, value: Any) -> Any:
    """Check a setting of a kind in ``PLAIN``; a 0-d tensor stands for its number.

    Raises:
        ArgumentError: if it is of another type.
    """
    if type(value) is _EXACT.get(kind):
        return value
    bare = kind.removesuffix(" | None")
    if value is None and bare != kind:
        return None
    if bare in ("int", "float") and hasattr(value, "requires_grad") and not value.requires_grad:
        value = value.item() if not value.ndim else value
    if isinstance(value, np.generic):
        value = value.item()
    if bare.startswith("tuple"):
        if isinstance(value, (tuple, list)) and len(value) == bare.count("float"):
            return tuple(plain_value(op_name, name, "float", v) for v in value)
    elif isinstance(value, _PYTHON[bare]):
        return value
    if bare == "int" and hasattr(value, "__index__"):
        return plain_int(op_name, name, value)
    or_none = " or None" if bare != kind else ""
    raise ArgumentError(f"{op_name}: {name} must be {PLAIN[bare]}{or_none}, got {value!r}")


#: How a setting of each annotation in ``op.NORMALISED`` is read: ``(op, name, value, ndim)``.
_NORMALISE: dict[str, Callable[[Op, str, Any, int], Any]] = {
    "Dim": lambda op, name, value, ndim: wrap_dim(op.name, value, ndim, name),
    "Dim | None": lambda op, name, value, ndim: wrap_dim(op.name, value, ndim, name),
    "NewDim": lambda op, name, value, ndim: wrap_dim(op.name, value, ndim + 1, name),
    "Dims": lambda op, name, value, ndim: wrap_dims(op.name, value, ndim),
    "Shape": lambda op, name, value, ndim: int_tuple(op.name, name, value),
    "Ints": lambda op, name, value, ndim: int_tuple(op.name, name, value),
    "Ints | None": lambda op, name, value, ndim: int_tuple(op.name, name, value),
    "Int": lambda op, name, value, ndim: plain_int(op.name, name, value),
    "DType": lambda op, name, value, ndim: dtypes.as_dtype(value),
    "DType | None": lambda op, name, value, ndim: dtypes.as_dtype(value),
}


def normalise(op: Op, ndim: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Check and complete dims, shapes and dtypes; settings become plain, comparable data."""
    for name, kind in op.normal:
        value = settings[name]
        if value is None and not (kind == "Dims" and op.settings[name] is not REQUIRED):
            if kind.endswith("| None"):
                continue
            if op.settings[name] is REQUIRED:
                raise ArgumentError(f"{op.name}: {name} must be given, got None")
        settings[name] = _NORMALISE[kind](op, name, value, ndim)
    return settings


def compute_dtype(op: Op, args: Sequence[Any]) -> DType | None:
    """Dtype in which the op's (non-index) arrays take part, or None where promotion is off.

    Raises:
        DTypeError: if the op does not take that kind of number.
    """
    if op.promotion is None:
        return None
    ranks: tuple[list[DType], list[DType], list[DType]] = ([], [], [])
    last = len(op.arrays) - 1
    for i, a in enumerate(args):
        if a is None or op.arrays[min(i, last)] in op.indices:
            continue
        if isinstance(a, (*NUMBERS, complex)):
            ranks[2].append(dtypes.of_scalar(a))
        else:
            ranks[0 if a.ndim else 1].append(a.dtype)
    if not any(ranks):
        return None
    if op.promotion == "same" and len(mixed := {d for rank in ranks[:2] for d in rank}) > 1:
        raise DTypeError(
            f"{op.name}: operands have the dtypes {' and '.join(sorted(d.name for d in mixed))}; "
            "they must be the same: cast one with .to(dtype)"
        )
    dtype = dtypes.result_type(*ranks)
    taken = [_KINDS[k] for k in op.accepts]
    if op.each:
        dtype = next((d for rank in ranks for d in rank if d.category not in taken), dtype)
    if dtype.category not in taken:
        words = {"b": "bool", "i": "integer", "f": "floating"}
        took = " or ".join(words[k] for k in op.accepts)
        raise DTypeError(f"{op.name}: takes {took} dtypes, got {dtype.name}")
    if dtype in dtypes.EIGHTS and op.half != "native":
        raise DTypeError(
            f"{op.name}: nothing is computed in {dtype.name}, it only stores; cast with .to(dtype)"
        )
    if op.promotion == "float" and dtype.category != dtypes.FLOAT:
        return config.default_dtype
    return dtype


def same_dtype(op_name: str, **tensors: Any) -> None:
    """Raise a DTypeError unless all tensors (``None`` is left out) have one dtype."""
    given = [f"{name} is {t.dtype.name}" for name, t in tensors.items() if t is not None]
    if len({t.dtype for t in tensors.values() if t is not None}) > 1:
        raise DTypeError(
            f"{op_name}: {', '.join(given)}; they must be the same: cast one with .to(dtype)"
        )


def broadcast_shapes(op_name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Common shape of operands.

    Raises:
        ShapeError: naming the op, the shapes and the dimension that differs.
    """
    ndim = max((len(s) for s in shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        for i, size in enumerate(shape, ndim - len(shape)):
            if size == 1 or size == result[i]:
                continue
            if result[i] != 1:
                listed = " and ".join(str(tuple(s)) for s in shapes)
                raise ShapeError(
                    f"{op_name}: shapes {listed} do not broadcast: sizes {result[i]} and {size} "
                    f"at dimension {i - ndim}; sizes must be equal or 1"
                )
            result[i] = size
    return tuple(result)


def check_choice(op_name: str, name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise a SettingError unless ``value`` is among ``choices``."""
    if value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise SettingError(f"{op_name}: {name} must be one of {listed}; got {value!r}")
