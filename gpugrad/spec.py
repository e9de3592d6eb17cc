"""Shape and dtype without data: the namespace that answers "what would come out?".

``Spec`` stands for an array; ``SPEC`` is the ``xp`` to run an op on.  A leaf answers by its result
rule, an elementwise op by broadcasting and promotion, a composite by running its own function here.
"""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes, signature
from gpugrad.config import config
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError
from gpugrad.op import Function, Op, registry
from gpugrad.symbolic import Operators


class Spec(Operators):
    """An array's shape and dtype."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: DType) -> None:
        self.shape = tuple(shape)
        self.dtype = dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        n = 1
        for s in self.shape:
            n *= s
        return n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and self.shape == other.shape and self.dtype is other.dtype

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype.name))

    def __repr__(self) -> str:
        return f"Spec({self.shape}, {self.dtype.name})"

    @classmethod
    def _apply(cls, name: str, *args: Any) -> Any:
        return getattr(SPEC, name)(*args)


def spec_of(array: Any) -> Spec:
    """Spec of a NumPy or CuPy array."""
    return Spec(array.shape, dtypes.from_numpy(array.dtype))


def result_of(op: Op, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """Spec (or tuple of specs) of an op's result on specs and numbers, after normalisation."""
    if op.result is not None:
        return op.result(*args, **settings)
    if not op.elementwise:
        return op.fn(SPEC, *args, **settings)
    dtype: DType | None
    dtype = signature.compute_dtype(op, args)
    if op.promotion == "bool":
        dtype = dtypes.bool_
    shapes = [a.shape for a in args if isinstance(a, Spec)]
    spec = Spec(signature.broadcast_shapes(op.name, *shapes), dtype or config.default_dtype)
    return (spec,) * len(op.outputs) if op.outputs else spec


class _SpecNamespace:
    """``xp`` over specs: every op by its array-API name."""

    def __getattr__(self, name: str) -> Any:
        record = registry.by_xp.get(name)
        if record is None or isinstance(record, Function):
            raise AttributeError(f"no op is known to Spec as xp.{name}")

        def call(*args: Any, **kwargs: Any) -> Any:
            arrays, settings = signature.bind(record, args, kwargs)
            first = next((a for a in arrays if isinstance(a, Spec)), None)
            if first is None:
                raise ArgumentError(f"{record.name}: no array among its arguments")
            settings = signature.normalise(record, first.ndim, settings)
            dtype = signature.compute_dtype(record, arrays)
            if dtype is not None:
                arrays = tuple(
                    Spec(a.shape, dtype)
                    if isinstance(a, Spec)
                    and record.arrays[min(i, len(record.arrays) - 1)] not in record.indices
                    else a
                    for i, a in enumerate(arrays)
                )
            return result_of(record, arrays, settings)

        setattr(self, name, call)
        return call


SPEC: Any = _SpecNamespace()
