"""From a record's samples to calls that can be made, repeated and varied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad import backends, dtypes, samples
from gpugrad.devices import CPU, Device
from gpugrad.dtypes import DType
from gpugrad.op import REQUIRED, Function, Op
from gpugrad.random import manual_seed
from gpugrad.samples import A, Sample, Writing
from gpugrad.tensor import Tensor, wrap

_KINDS = {"b": dtypes.BOOL, "i": dtypes.INTEGER, "f": dtypes.FLOAT}


class Slot:
    """The place of array ``i`` in a call's arguments."""

    __slots__ = ("i",)

    def __init__(self, i: int) -> None:
        self.i = i


class Call:
    """One call of a record: arguments with slots, and the arrays that fill them.

    Attributes:
        arrays: NumPy arrays in the order of the arguments.
        described: their descriptions in the sample.
    """

    def __init__(self, record: Op | Function, sample: Sample, dtype: DType, seed: int = 0) -> None:
        self.record, self.sample, self.dtype = record, sample, dtype
        made = samples.make(sample, dtype, seed)
        self.arrays: list[np.ndarray[Any, Any]] = []
        self.args = [self._slots(a) for a in made.args]
        self.kwargs = {k: self._slots(v) for k, v in made.kwargs.items()}
        self.described: list[A] = sample.arrays()
        #: Float arrays for which the rule says that there is no gradient (``NotSupportedError``).
        self.constant: frozenset[int] = frozenset()

    def _slots(self, value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            self.arrays.append(np.asarray(value))
            return Slot(len(self.arrays) - 1)
        if type(value) in (list, tuple):
            return type(value)(self._slots(v) for v in value)
        return value

    def __repr__(self) -> str:
        shown = [_brief(a) for a in self.sample.args]
        shown += [f"{k}={_brief(v)}" for k, v in self.sample.kwargs.items()]
        return f"{key(self.record)}({', '.join(shown)})"

    @property
    def floats(self) -> list[int]:
        """Which arrays can have a gradient."""
        return [i for i, a in enumerate(self.arrays) if is_float(a) and i not in self.constant]

    def tensors(self, device: Device = CPU, grad: bool = False,
                arrays: Sequence[Any] | None = None) -> list[Tensor]:  # fmt: skip
        """Fresh tensors, or of given arrays of a backend; leaves with a gradient if asked."""
        backend = backends.for_device(device)
        found = []
        for i, a in enumerate(self.arrays):
            t = wrap(backend.from_numpy(a.copy(), device) if arrays is None else arrays[i])
            floating = t.dtype.is_floating_point and i not in self.constant
            found.append(t.requires_grad_() if grad and floating else t)
        return found

    def __call__(self, tensors: Sequence[Any], function: Callable[..., Any] | None = None,
                 **more: Any) -> Any:  # fmt: skip
        """Make the call with these in the slots; random numbers begin anew each time."""
        restart_random()
        args = [fill(a, tensors) for a in self.args]
        kwargs = {k: fill(v, tensors) for k, v in self.kwargs.items()}
        target = args[0].clone() if isinstance(self.sample, Writing) else None
        if target is not None:
            args[0] = target
        result = (function or self.record.public)(*args, **kwargs, **more)
        return result if target is None else target


def _brief(value: Any) -> str:
    """A sample's argument in few words: ``float[3, 4]``."""
    if isinstance(value, A):
        return f"{value.kind}{list(value.shape)}"
    if type(value) in (list, tuple):
        return f"[{', '.join(map(_brief, value))}]"
    return repr(value)


def fill(value: Any, tensors: Sequence[Any]) -> Any:
    """Put tensors into the slots of an argument."""
    if isinstance(value, Slot):
        return tensors[value.i]
    if type(value) in (list, tuple):
        return type(value)(fill(v, tensors) for v in value)
    return value


def restart_random() -> None:
    """Make the next random op draw what it drew before."""
    manual_seed(0)


def key(record: Op | Function) -> str:
    """The registry's key of a record."""
    return f"{record.home}.{record.name}" if record.home else record.name


def is_float(array: Any) -> bool:
    """Whether an array's dtype is one of the floats."""
    return dtypes.from_numpy(array.dtype).is_floating_point


def samples_of(record: Op | Function) -> list[Sample]:
    """The samples of a record; an elementwise op without its own gets the usual shapes."""
    found = record.samples() if callable(record.samples) else record.samples
    if found is not None or not isinstance(record, Op) or not record.elementwise:
        return list(found or ())
    if any(v is REQUIRED for v in record.settings.values()):
        return []  # nobody can guess a setting
    return samples.for_elementwise(len(record.arrays), record.domain)


def claimed_dtypes(record: Op | Function) -> list[DType]:
    """The dtypes a record says it takes; a plain function says so by raising DTypeError."""
    if isinstance(record, Function) or record.promotion is None:
        return list(dtypes.ALL)
    return [d for d in dtypes.ALL if d.category in {_KINDS[k] for k in record.accepts}]
