"""What a product is to cuBLASLt: all that decides how it is computed, and its descriptors.

Numbers of types, compute modes and epilogues are those of ``library_types.h``, ``cublas_api.h`` and
``cublasLt.h``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gpugrad import dtypes
from gpugrad.backends.nvidia.stacks import Stack
from gpugrad.config import config

#: ``cudaDataType_t`` of what is multiplied.
TYPES = {dtypes.float32.np: 0, dtypes.float64.np: 1, dtypes.float16.np: 2, dtypes.bfloat16.np: 14}
ITEMSIZES = {number: dtype.itemsize for dtype, number in TYPES.items()}
F64 = 1
#: ``cublasComputeType_t``
_COMPUTE_32F, _COMPUTE_64F, _COMPUTE_TF32 = 68, 70, 77
#: ``cublasLtEpilogue_t``.  GELU is the approximation by tanh; DGELU multiplies by its derivative.
PLAIN, BIAS, GELU_AUX_BIAS, DGELU, BGRADB = 1, 4, 164, 192, 512
WITH_BIAS = frozenset((BIAS, GELU_AUX_BIAS, BGRADB))
WITH_AUX = frozenset((GELU_AUX_BIAS, DGELU))


class Problem(NamedTuple):
    """All that decides how a product is computed, in the library's terms.

    Attributes:
        a, b: the factors in memory; ``turned`` ones are transposed on reading.
        c, d: what is added (None if nothing is), and the result.
        batch: matrices in each stack.
        type: ``cudaDataType_t`` of all four.
        compute: ``cublasComputeType_t``.
        epilogue: what is done to each element at last.
        aux_ld: elements between columns of the epilogue's own matrix.
        alignments: bytes, up to 256, that divide the addresses of a, b, c and d.
    """

    a: Stack
    b: Stack
    c: Stack | None
    d: Stack
    batch: int
    type: int
    compute: int
    epilogue: int
    aux_ld: int
    alignments: tuple[int, int, int, int]


class Pointers(NamedTuple):
    """Addresses of the operands; those that a problem has no use for are 0."""

    a: int
    b: int
    c: int
    d: int
    bias: int = 0
    aux: int = 0


def compute_type(type: int) -> int:
    """How products of this ``cudaDataType_t`` are computed now."""
    if type == F64:
        return _COMPUTE_64F
    exact = config.float32_matmul_precision == "highest"
    return _COMPUTE_32F if type or exact else _COMPUTE_TF32


class Plan:
    """Descriptors of one problem, and the algorithm; destroyed with the last reference.

    Args:
        lt: the bindings.
        problem: what it is a plan of.
    """

    def __init__(self, lt: Any, problem: Problem) -> None:
        self._lt, self.problem = lt, problem
        self.lock = threading.Lock()
        self.algorithm = np.zeros(1, lt.matmul_algo_dtype)
        self.algorithm_at = self.algorithm.ctypes.data
        self.workspace = 0
        self._made: list[tuple[Any, int]] = []
        scale = F64 if problem.type == F64 else 0
        create, destroy = lt.matmul_desc_create, lt.matmul_desc_destroy
        self.desc = self._keep(destroy, create(problem.compute, scale))
        names = lt.MatmulDescAttribute
        self._set(names.TRANSA, int(problem.a.turned))
        self._set(names.TRANSB, int(problem.b.turned))
        self._set(names.EPILOGUE, problem.epilogue)
        #: Addresses that belong to the descriptor: set anew before each run.
        self.pointers = np.zeros(2, np.int64)
        self._pointers_at = self.pointers.ctypes.data
        if problem.epilogue in WITH_AUX:
            self._set(names.EPILOGUE_AUX_LD, problem.aux_ld)
            self._set(names.EPILOGUE_AUX_BATCH_STRIDE, problem.d.step)
        self.a, self.b = self._layout(problem.a), self._layout(problem.b)
        self.d = self._layout(problem.d)
        self.c = self.d if problem.c is None else self._layout(problem.c)

    def _keep(self, destroy: Any, made: int) -> int:
        self._made.append((destroy, made))
        return made

    def _set(self, name: Any, value: int) -> None:
        box = np.array(value, self._lt.get_matmul_desc_attribute_dtype(name))
        self._lt.matmul_desc_set_attribute(self.desc, name, box.ctypes.data, box.itemsize)

    def _layout(self, stack: Stack) -> int:
        lt, problem = self._lt, self.problem
        made = lt.matrix_layout_create(problem.type, stack.rows, stack.cols, stack.ld)
        self._keep(lt.matrix_layout_destroy, made)
        if problem.batch > 1:
            names = lt.MatrixLayoutAttribute
            for name, value in ((names.BATCH_COUNT, problem.batch),
                                (names.STRIDED_BATCH_OFFSET, stack.step)):  # fmt: skip
                box = np.array(value, lt.get_matrix_layout_attribute_dtype(name))
                lt.matrix_layout_set_attribute(made, name, box.ctypes.data, box.itemsize)
        return int(made)

    def point(self, bias: int, aux: int) -> None:
        """Tell the descriptor where the epilogue's operands are; the caller holds the lock."""
        names, epilogue = self._lt.MatmulDescAttribute, self.problem.epilogue
        self.pointers[:] = bias, aux
        at = self._pointers_at
        if epilogue in WITH_BIAS:
            self._lt.matmul_desc_set_attribute(self.desc, names.BIAS_POINTER, at, 8)
        if epilogue in WITH_AUX:
            self._lt.matmul_desc_set_attribute(self.desc, names.EPILOGUE_AUX_POINTER, at + 8, 8)

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        # At the interpreter's end globals are gone, and the library may be.
        if not ending():
            for destroy, made in reversed(self._made):
                destroy(made)
