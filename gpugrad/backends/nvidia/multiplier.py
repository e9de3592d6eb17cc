"""Products of CuPy arrays by cuBLASLt: what the library is told of them, and what is copied first.

An operand is used where it lies if its matrices are told by ``stacks``: transposes, rows with gaps,
batches, one matrix for a whole batch.  Else it is copied once: negative distances, gaps in both
dims, repeated rows, batch dims that do not follow each other.  So it is, too, if the library
refuses to read it where it lies.  A stack times one matrix is one large product.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad.backends.nvidia import INSTALL, cublaslt
from gpugrad.backends.nvidia import product_plans as plans
from gpugrad.backends.nvidia.cublaslt import Library, Refused
from gpugrad.backends.nvidia.product_plans import Pointers, Problem
from gpugrad.backends.nvidia.stacks import Stack, folded, stack_of
from gpugrad.backends.nvidia.tuning import Choices
from gpugrad.errors import KernelError, ShapeError


def _strides(x: Any) -> tuple[int, ...] | None:
    """Elements from one to the next along each dim; None if they are no whole numbers."""
    size = x.itemsize
    if any(s % size for s in x.strides):
        return None
    return tuple(s // size for s in x.strides)


def _alignment(ptr: int) -> int:
    return min(ptr & -ptr, 256)


def describe(a: Any, b: Any) -> str:
    """Both sides of a product, for messages."""
    return f"{tuple(a.shape)} {a.dtype} @ {tuple(b.shape)} {b.dtype}"


def _plainly(x: Any) -> bool:
    return bool(x.flags.c_contiguous) and _alignment(x.data.ptr) == 256


class Multiplier:
    """Multiplies stacks of matrices in CuPy arrays, on the device that is current.

    Args:
        cupy: the library of arrays.
        private: tells the private pool from which this thread takes memory of a device.
    """

    def __init__(self, cupy: Any, private: Callable[[int], Any]) -> None:
        self._cupy, self._private = cupy, private
        self._device = cupy.cuda.runtime.getDevice
        self._lt: Any = None
        self._ready: bool | None = None
        self._libraries: dict[int, Library] = {}
        #: What was worked out for operands of these shapes, layouts, dtypes and alignments.
        self._known: dict[Any, Problem | None] = {}

    @property
    def ready(self) -> bool:
        """Whether cuBLASLt is there; asked for the first time, it is imported (0.4 to 0.9 s)."""
        if self._ready is None:
            try:
                self._lt = cublaslt.load()
                self._version = f"cublasLt {self._lt.get_version()}"
                self._ready = True
            except (ImportError, RuntimeError, OSError) as error:
                self._ready = False
                warnings.warn(
                    f"matrix products on CUDA go through CuPy, as cuBLASLt is missing ({error}): "
                    "16-bit floats are multiplied as float32, and none can be captured in a "
                    f"graph; {INSTALL} mends it", RuntimeWarning, stacklevel=2,
                )  # fmt: skip
        return self._ready

    def forget(self) -> None:
        """Drop the workspaces of graphs that will not be replayed any more."""
        for library in self._libraries.values():
            library.forget()

    def _takes(self, a: Any, b: Any) -> bool:
        return a.dtype == b.dtype and a.dtype in plans.TYPES and self.ready

    def _matrices(self, a: Any, b: Any) -> tuple[Any, Any, tuple[int, ...]]:
        """Both operands with at least two dims, and the shape of what ``a @ b`` is."""
        if not a.ndim or not b.ndim or a.shape[-1] != b.shape[max(b.ndim - 2, 0)]:
            raise ShapeError(f"matmul: {describe(a, b)}: the inner sizes differ")
        x = a[None] if a.ndim == 1 else a
        y = b[:, None] if b.ndim == 1 else b
        batch = x.shape[:-2]
        if y.ndim > 2:
            batch = np.broadcast_shapes(batch, y.shape[:-2])
        shape = (*batch, *(() if a.ndim == 1 else a.shape[-2:-1]),
                 *(() if b.ndim == 1 else b.shape[-1:]))  # fmt: skip
        return x, y, shape

    def _library(self) -> Library:
        device = self._device()
        found = self._libraries.get(device)
        if found is None:
            kind = self._cupy.cuda.runtime.getDeviceProperties(device)["name"].decode()
            found = self._libraries[device] = Library(
                self._cupy, self._lt, Choices(self._version, kind), lambda: self._private(device)
            )
        return found

    def _multiply(self, a: Any, b: Any, *, c: Any = None, alpha: float = 1, beta: float = 0,
                  epilogue: int = plans.PLAIN, bias: Any = None,
                  aux: Any = None) -> Any:  # fmt: skip
        """The product of two stacks ``(..., m, k)`` and ``(..., k, n)``, none of them empty."""
        batch = a.shape[:-2]
        if b.ndim > 2:
            batch = np.broadcast_shapes(batch, b.shape[:-2])
        out = self._cupy.empty((*batch, a.shape[-2], b.shape[-1]), a.dtype)
        if beta and c is not None and not self._addable(c, batch):
            out[...] = c
            c = out
        # The library's result is the transpose of ours, so its A is our b.
        at = (b.data.ptr, a.data.ptr, (out if c is None else c).data.ptr, out.data.ptr)
        aligned = tuple(map(_alignment, at))
        compute = plans.compute_type(plans.TYPES[a.dtype])
        like = None if c is None else (c.shape, c.strides)
        key = (a.shape, a.strides, b.shape, b.strides, a.dtype, like, epilogue, compute, aligned)
        try:
            problem = self._known[key]
        except KeyError:
            problem = self._problem(a, b, c, batch, epilogue, compute, aligned)
            if len(self._known) >= 4 * cublaslt.PLANS:
                self._known.pop(next(iter(self._known)), None)
            self._known[key] = problem
        rest = {"alpha": alpha, "beta": beta, "epilogue": epilogue, "bias": bias, "aux": aux}
        if problem is None:
            return self._multiply(*self._copied(a, b, batch), c=c, **rest)
        pointers = Pointers(*at, *(0 if x is None else x.data.ptr for x in (bias, aux)))
        library = self._library()
        try:
            library.run(library.plan(problem, pointers), pointers, alpha, beta)
        except KernelError as error:
            plain = epilogue == plans.PLAIN and isinstance(error, Refused)
            copies = [x if not plain or _plainly(x) else self._fresh(x) for x in (a, b)]
            if copies[0] is not a or copies[1] is not b:
                return self._multiply(*copies, c=c, **rest)
            raise type(error)(f"matmul: {describe(a, b)}: {error}") from None
        return out

    def _problem(self, a: Any, b: Any, c: Any, batch: tuple[int, ...], epilogue: int,
                 compute: int, aligned: Any) -> Problem | None:  # fmt: skip
        """What the library is told; None if an operand must be copied first.

        Row-major results are the library's transposes, so its A is our ``b`` and its B our ``a``.
        """
        m, n, count = a.shape[-2], b.shape[-1], math.prod(batch)
        left, right = self._stack(a, batch), self._stack(b, batch)
        added = None if c is None else self._stack(c, batch)
        if left is None or right is None:
            return None
        result = Stack(n, m, n, m * n, False)
        if count > 1 and not right.step and (rows := folded(left, count)):
            more = None if added is None else folded(added, count)
            if added is None or more is not None:
                left, added, result, count = rows, more, Stack(n, m * count, n, 0, False), 1
        if count == 1:
            left, right, result = (s._replace(step=0) for s in (left, right, result))
            added = added and added._replace(step=0)
        aux_ld = n if epilogue in plans.WITH_AUX else 0
        return Problem(right, left, added, result, count, plans.TYPES[a.dtype], compute,
                       epilogue, aux_ld, aligned)  # fmt: skip

    def _stack(self, x: Any, batch: tuple[int, ...]) -> Stack | None:
        strides = _strides(x)
        return None if strides is None else stack_of(x.shape, strides, batch)

    def _addable(self, c: Any, batch: tuple[int, ...]) -> bool:
        """Whether the library can read ``c`` where it lies: it lies as results do, by rows."""
        stack = self._stack(c, batch)
        return stack is not None and not stack.turned

    def _copied(self, a: Any, b: Any, batch: tuple[int, ...]) -> list[Any]:
        """Both operands, of which those were copied that the library cannot be told of.

        A copy holds the operand as it is; only where that still has no one step through the batch
        is it repeated along the batch.
        """
        result = []
        for x in (a, b):
            if self._stack(x, batch) is None:
                x = self._fresh(x)
            if self._stack(x, batch) is None:
                x = self._fresh(self._cupy.broadcast_to(x, (*batch, *x.shape[-2:])))
            result.append(x)
        return result

    def _fresh(self, x: Any) -> Any:
        """A copy in memory of its own, row by row."""
        copy = self._cupy.empty(x.shape, x.dtype)
        copy[...] = x
        return copy
