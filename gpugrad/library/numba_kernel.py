"""``numba_kernel``: a Numba CUDA kernel, called with tensors and numbers.

Numba takes any object with a ``__cuda_array_interface__``.  Tensors are handed over by one that
names no stream: the kernel is launched on CuPy's current stream, where the work before it is, and
Numba would wait for a stream that is named.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gpugrad import backends
from gpugrad.errors import ArgumentError, DeviceError, DTypeError, KernelError, RegistrationError
from gpugrad.library.launches import Count, Dims, Launcher
from gpugrad.refusals import brief
from gpugrad.tensor import Tensor

_INSTALL = "pip install 'numba-cuda[cu13]' (or cu12 for a CUDA 12 driver)"


def numba_kernel(kernel: Any, *, grid: Dims, mutates_args: Iterable[str], block: Dims = 256,
                 shared_mem: Count = 0) -> NumbaKernel:  # fmt: skip
    """A Numba CUDA kernel as a function of tensors and numbers.

    Args:
        kernel: what ``numba.cuda.jit`` made, or a plain function, which it is given to at the first
            call: then the program loads where Numba has no CUDA.
        grid: blocks: a number, up to three, or a function of the call's arguments that gives them.
        mutates_args: names of the parameters that it writes into.
        block: threads of a block, likewise.
        shared_mem: bytes of dynamic shared memory, a number or such a function.

    Raises:
        RegistrationError: for a name in ``mutates_args`` that is no parameter.
    """
    return NumbaKernel(kernel, grid, block, shared_mem, mutates_args)


class NumbaKernel(Launcher):
    """A Numba CUDA kernel.  Made by ``numba_kernel``."""

    def __init__(self, kernel: Any, grid: Dims, block: Dims, shared_mem: Count,
                 mutates_args: Iterable[str]) -> None:  # fmt: skip
        function: Callable[..., Any] = getattr(kernel, "py_func", kernel)
        self.parameters = tuple(inspect.signature(function).parameters)
        self._writes = frozenset(mutates_args)
        if extra := sorted(self._writes - set(self.parameters)):
            raise RegistrationError(
                f"numba_kernel: mutates_args has {extra}; the parameters of {function.__name__} "
                f"are {list(self.parameters)}"
            )
        self._kernel = None if kernel is function else kernel
        self._plain = function
        super().__init__(function.__name__, grid, block, shared_mem)

    def _given(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self._count(args, self.parameters)
        return tuple(map(self._one, self.parameters, args))

    def _one(self, name: str, value: Any) -> Any:
        if isinstance(value, Tensor):
            if value.dtype.foreign:
                raise DTypeError(
                    f"kernel {self.name}: argument {name!r} is {brief(value)}, a dtype that an "
                    "array interface has no name for; cast with .to(dtype)"
                )
            return value
        if not isinstance(value, int | float | np.number | np.bool_):
            raise ArgumentError(
                f"kernel {self.name}: argument {name!r} must be a Tensor or a number, got "
                f"{brief(value)}"
            )
        return value

    def _written(self, args: tuple[Any, ...]) -> list[Tensor]:
        return [a for name, a in zip(self.parameters, args, strict=True)
                if name in self._writes and isinstance(a, Tensor)]  # fmt: skip

    def _launch(self, grid: tuple[int, int, int], block: tuple[int, int, int],
                given: tuple[Any, ...], shared: int) -> None:  # fmt: skip
        cuda = self._numba()
        args = [_Array(a._array) if isinstance(a, Tensor) else a for a in given]
        pointer = backends.cuda().library.cuda.get_current_stream().ptr
        stream = cuda.external_stream(pointer) if pointer else 0  # 0 is the default stream to both
        try:
            if self._kernel is None:
                self._kernel = cuda.jit(self._plain)
            self._kernel[grid, block, stream, shared](*args)
        except Exception as error:
            raise KernelError(
                f"kernel {self.name}: Numba could not compile or launch it with a grid of {grid} "
                f"blocks of {block} threads: {type(error).__name__}: {error}"
            ) from error

    def _numba(self) -> Any:
        try:
            from numba import cuda
        except ImportError as error:
            raise DeviceError(
                f"kernel {self.name}: Numba's CUDA kernels need numba-cuda, which is not "
                f"importable ({error}); install it with {_INSTALL}"
            ) from None
        return cuda


class _Array:
    """A CuPy array for Numba: see the module's note."""

    def __init__(self, array: Any) -> None:
        flags = array.flags
        self.__cuda_array_interface__ = {
            "shape": array.shape, "typestr": array.dtype.str, "version": 3, "stream": None,
            "data": (array.data.ptr if array.size else 0, False),
            "strides": None if flags.c_contiguous else array.strides,
        }  # fmt: skip
        self._array = array  # the memory lives as long as this does
