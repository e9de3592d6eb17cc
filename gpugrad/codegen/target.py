"""What a kernel can run on: the two sides that ``forward``, ``gradient`` and ``update`` ask.

``TARGETS[type(array)]`` is the target of an array's class, None for one without (``Spec``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpugrad import backends, dtypes
from gpugrad.codegen.levels import Layout
from gpugrad.codegen.trace import Trace
from gpugrad.dtypes import DType
from gpugrad.errors import GpugradError


def dtype_of(array: Any) -> DType:
    """The dtype of an array's elements."""
    return dtypes.from_numpy(array.dtype)


#: How a record's function that is not written for expressions may fail on them.
_UNFIT = (GpugradError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(slots=True)
class Program:
    """A kernel bound to one choice of settings: what to pass to it and what comes out.

    Attributes:
        printed: the target's text of it.
        per_row: per output whether it is one value per row.
        numbers: what the target passes for the constants.
        name: what it computes, in a word or two.
        exact: whether array code gives the same bits.
        calls: how often it was asked for before it was compiled.
        function: what the target runs, once compiled.
    """

    trace: Trace
    layout: Layout
    printed: Any
    per_row: tuple[bool, ...]
    numbers: Any
    name: str = ""
    exact: bool = False
    calls: int = 0
    function: Any = None


@dataclass(slots=True)
class Frame:
    """Arrays as a kernel of rows and columns sees them.

    Attributes:
        reads: per array how it is read (see ``codegen.levels.Layout``).
        wanted: the same of shapes that gradients are added up to.
        arrays: the arrays, rearranged where that made them fit.
        shape: of results, in the kernel's order of dimensions.
        back: the order that brings results' dimensions to their places; None if they are there.
        dims: sizes and strides for arrays that are read by strides.
    """

    rows: int
    columns: int
    reads: tuple[str, ...]
    wanted: tuple[str, ...]
    arrays: Sequence[Any]
    shape: tuple[int, ...]
    back: tuple[int, ...] | None = None
    dims: Any = None


@dataclass(slots=True)
class Recipe:
    """An elementwise kernel with all that the same call needs again.

    Attributes:
        launch: takes the arrays that the kernel reads, and those for its results.
        used: which of the call's arrays it reads.
        empty: makes an array of a shape and a dtype.
        shape, kinds: of the results.
        where: of gradients, per operand: see ``Trace``.
    """

    launch: Callable[..., None]
    used: tuple[int, ...]
    empty: Callable[..., Any]
    shape: tuple[int, ...]
    kinds: tuple[Any, ...]
    where: tuple[int | None, ...] = ()

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """The results for arrays like those of the first call."""
        outs = [self.empty(self.shape, k) for k in self.kinds]
        self.launch([arrays[i] for i in self.used], outs)
        return outs


class Target:
    """Where kernels run.

    Attributes:
        array_type: the class of its arrays.
        least: elements from which a kernel pays.
        recipes: calls that were made before, by what they depend on.
        reduces: whether it has kernels for sums of columns and of everything.
        halves: whether 16-bit floats may be updated in place.
    """

    array_type: Any
    least: int
    reduces = False
    halves = False
    _ROOM = 1024

    def __init__(self) -> None:
        self._programs: dict[Any, Program | None] = {}
        self.recipes: dict[Any, Recipe] = {}

    def known(self, key: Any) -> bool:
        """Whether it was settled before if there is a program."""
        try:
            return key in self._programs
        except TypeError:
            return True

    def program_of(self, key: Any, name: str, make: Callable[[], Program]) -> Program | None:
        """The program of a key, made on first use and named; None if there can be none."""
        try:
            return self._programs[key]
        except KeyError:
            pass
        except TypeError:  # a setting without a hash
            return None
        program: Program | None
        try:
            program = make()
            program.name = name
        except _UNFIT:
            program = None
        if len(self._programs) >= self._ROOM:
            self._programs.clear()
        self._programs[key] = program
        return program

    def recipe_key(self, about: tuple[Any, ...], settings: dict[str, Any],
                   arrays: Sequence[Any]) -> Any:  # fmt: skip
        """What a call's recipe depends on; None where it has none, as looking is not worth it."""
        return None

    def remember(self, key: Any, recipe: Recipe) -> None:
        """Keep a recipe."""
        if len(self.recipes) >= self._ROOM:
            self.recipes.clear()
        self.recipes[key] = recipe

    def build(self, trace: Trace, layout: Layout) -> Program:
        """Print the kernel of a trace.

        Raises:
            NotSupportedError: if it cannot be a kernel of this target.
        """
        raise NotImplementedError

    def ready(self, program: Program, patience: int | None = None) -> bool:
        """Whether the program may run now; compiles it if so.

        Args:
            program: what is to run.
            patience: at which call to compile an exact one; the target's own by default.
        """
        raise NotImplementedError

    def frame(self, shape: tuple[int, ...], arrays: Sequence[Any],
              wanted: Sequence[tuple[int, ...]] = ()) -> Frame | None:  # fmt: skip
        """How an elementwise kernel over ``shape`` reads the arrays; None if it cannot.

        Args:
            shape: what everything broadcasts to.
            arrays: what is read.
            wanted: shapes that gradients are to be added up to.
        """
        raise NotImplementedError

    def as_rows(self, arrays: Sequence[Any]) -> Sequence[Any] | None:
        """The arrays as a kernel over rows reads them, contiguous; None if they cannot be."""
        raise NotImplementedError

    def run(self, program: Program, rows: int, columns: int, inputs: Sequence[Any],
            outputs: Sequence[Any], dims: Any = None) -> Any:  # fmt: skip
        """Run a kernel; False from a target that leaves the work to the array code after all.

        A target with recipes gives what launches an elementwise kernel again, or True.

        Args:
            program: which.
            rows, columns: of the frame.
            inputs: the arrays that the trace uses.
            outputs: arrays for the results; for those that are added up, ``sums``.
            dims: of a frame with strides.
        """
        raise NotImplementedError

    def instead(self) -> AbstractContextManager[None]:
        """What surrounds ops that do the work of one kernel that ``run`` has left to them."""
        return nullcontext()

    def columns(self, program: Program, rows: int, columns: int, array: Any,
                outputs: Sequence[Any]) -> bool:  # fmt: skip
        """Run a program of sums along rows over columns instead; False if it cannot.

        Args:
            program: made for rows.
            rows, columns: of the array.
            array: contiguous.
            outputs: one value per column each.
        """
        return False

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory for a result."""
        raise NotImplementedError

    def sums(self, program: Program, rows: int, columns: int, dtype: Any) -> Any:
        """Memory for an output that is added up over rows: a row per block of rows."""
        raise NotImplementedError

    def total(self, sums: Any, dtype: Any) -> Any:
        """The blocks of ``sums`` added up: one value per column."""
        raise NotImplementedError

    def direct(self, array: Any) -> bool:
        """Whether a kernel can take the array as it lies."""
        return bool(array.flags.c_contiguous)

    def writable(self, array: Any) -> bool:
        """Whether a kernel may overwrite the array."""
        raise NotImplementedError

    def address(self, array: Any) -> int:
        """Where the first element of an array lies."""
        raise NotImplementedError

    def with_numbers(self, program: Program, numbers: Sequence[float]) -> Program:
        """The program with other constants."""
        raise NotImplementedError

    def run_table(self, program: Program, table: Any, lengths: Any) -> bool:
        """Run a kernel over rows that lie in arrays of their own; False as for ``run``.

        Args:
            program: of a layout with ``table``.
            table: int64 ``(rows, inputs)``, where each row of each input lies.
            lengths: int64 ``(rows,)``, elements of each row.
        """
        raise NotImplementedError

    def reduce_table(self, program: Program, table: Any, lengths: Any) -> Any:
        """The reduction of each row by a program with one output, for targets that ``reduces``."""
        raise NotImplementedError

    def operand_key(self, a: Any, read: str) -> Any:
        """What stands for an operand in a key: dtype and read of an array, a number, or None."""
        if type(a) is self.array_type:
            return (dtype_of(a), read)
        return a.item() if isinstance(a, np.generic) else a

    def compact(self, a: Any, like: tuple[int, ...]) -> Any:
        """An array as a kernel reads it: a repeated value once, small ones contiguous."""
        if a.flags.c_contiguous:
            return a
        if not any(a.strides):
            return a[(slice(0, 1),) * a.ndim].reshape(())
        return a.copy(order="C") if 8 * a.size <= math.prod(like) else a


class _Targets(dict[type, Target | None]):
    def __missing__(self, kind: type) -> Target | None:
        found: Target | None = None
        if kind is np.ndarray:
            from gpugrad.codegen.host import HostTarget

            found = HostTarget()
        elif kind in backends.ARRAY_TYPES:
            from gpugrad.codegen.device import DeviceTarget

            found = DeviceTarget(backends.ARRAY_TYPES[kind])
        self[kind] = found
        return found


TARGETS = _Targets()


def distinct(operand: Any) -> Any:
    """What tells an operand from others in a key: zeros of two signs are equal, yet two."""
    return repr(operand) if isinstance(operand, float | np.floating) else operand


def traced(operand: Any) -> Any:
    """The operand as ``codegen.trace`` takes it: 16-bit floats compute in float32."""
    if type(operand) is not tuple:
        return operand
    return (dtypes.float32 if operand[0] in dtypes.HALVES else operand[0], operand[1])
