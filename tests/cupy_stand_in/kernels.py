"""Kernels: the "machine code" is the CUDA C++ text, which ``gpugrad.testing.cuda_host`` runs.

``install`` lets ``gpugrad.backends.nvidia.compile`` hand the text out as the image.  A launch is
over when the call returns, so what goes wrong in a kernel is raised there.
"""

from __future__ import annotations

import ctypes
import itertools
import weakref
from typing import Any

import numpy as np

from cupy_stand_in.array import host, ndarray
from cupy_stand_in.memory import DEVICES, MemoryPointer

MAX_DYNAMIC_SHARED_SIZE_BYTES = 8
#: Bytes of dynamic shared memory that a kernel has until the driver is asked for more, and at most.
_ALLOWED, _MOST = 48 * 1024, 227 * 1024
_NAMES = {1: "CUDA_ERROR_INVALID_VALUE: invalid argument",
          400: "CUDA_ERROR_INVALID_HANDLE: invalid resource handle",
          500: "CUDA_ERROR_NOT_FOUND: named symbol not found"}  # fmt: skip

_handles = itertools.count(4096, 16)
_functions: weakref.WeakValueDictionary[int, Function] = weakref.WeakValueDictionary()


class CUDADriverError(RuntimeError):
    """As ``cupy.cuda.driver.CUDADriverError``."""

    def __init__(self, status: int) -> None:
        super().__init__(_NAMES[status])
        self.status = status


class CPointer:
    """The address of an argument's value."""

    def __init__(self, p: int = 0) -> None:
        self.ptr = p


class Module:
    """Kernels of one text, loaded on the device that is current then."""

    def __init__(self) -> None:
        self.ptr = 0

    def load(self, cubin: bytes) -> None:
        from gpugrad.testing.cuda_host import HostModule

        if not isinstance(cubin, bytes):
            raise TypeError(f"Argument 'cubin' has incorrect type (expected bytes, got {cubin!r})")
        self._host, self._device = HostModule(cubin.decode()), DEVICES.current
        self.ptr = next(_handles)

    def get_function(self, name: str) -> Function:
        return Function(self, name)


class Function:
    """A kernel."""

    def __init__(self, module: Module, funcname: str) -> None:
        if funcname not in module._host.names:
            raise CUDADriverError(500)
        self.module, self._name, self._allowed = module, funcname, _ALLOWED
        self.ptr = next(_handles)
        _functions[self.ptr] = self

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: Any,
                 shared_mem: int = 0, stream: Any = None,
                 enable_cooperative_groups: bool = False) -> None:  # fmt: skip
        if not isinstance(grid, tuple) or not isinstance(block, tuple):
            raise TypeError(f"grid and block must be tuples, got {grid!r} and {block!r}")
        if enable_cooperative_groups:
            raise AssertionError("blocks run one after the other, so none may wait for another")
        if self.module._device != DEVICES.current:
            raise CUDADriverError(400)
        if shared_mem > self._allowed:
            raise CUDADriverError(1)
        kernel, sizes = self.module._host, self.module._host.parameter_sizes(self._name)
        if len(args) != len(sizes):
            raise AssertionError(f"{self._name} has {len(sizes)} parameters, got {len(args)}")
        values = [_value(a, size) for a, size in zip(args, sizes, strict=True)]
        (grid3, block3) = (tuple(max(1, n) for n in (*dims, 1, 1)[:3]) for dims in (grid, block))
        kernel.launch(self._name, grid3, block3, values, shared_mem)


def _value(arg: Any, size: int) -> Any:
    """An argument as CuPy takes it, for the host; ``size`` is that of the parameter."""
    if arg is None:
        return ctypes.c_void_p(0)
    if isinstance(arg, ndarray):
        host(arg)  # of the current device
        return ctypes.c_void_p(arg.data.ptr)
    if isinstance(arg, MemoryPointer):
        return ctypes.c_void_p(arg.ptr)
    if isinstance(arg, CPointer):
        return ctypes.string_at(arg.ptr, size)
    if isinstance(arg, np.ndarray):
        if arg.size != 1:
            raise TypeError(f"You are trying to pass a numpy.ndarray of shape {arg.shape} as a "
                            "kernel parameter. Only numpy.ndarrays of size one can be passed by "
                            "value.")  # fmt: skip
        return arg.tobytes()
    if isinstance(arg, np.generic):
        return arg
    if isinstance(arg, bool | int | float | complex):  # wide, whatever the kernel wants
        return np.asarray(arg)[()]
    raise TypeError(f"Unsupported type {type(arg)}")


def set_attribute(ptr: int, attribute: int, value: int) -> None:
    """As ``driver.funcSetAttribute``, for what a launch may ask for."""
    function = _functions.get(ptr)
    if function is None:
        raise CUDADriverError(400)
    if attribute != MAX_DYNAMIC_SHARED_SIZE_BYTES or not 0 <= value <= _MOST:
        raise CUDADriverError(1)
    function._allowed = value


def take_texts() -> None:
    """Let the engine's compiler of CUDA C++ give texts as they are, for any architecture."""
    from gpugrad.backends.nvidia import compile

    def compiled(source: str, arch: str, what: str = "") -> compile.Compiled:
        return compile.Compiled(source.encode(), {})

    compile.compiled = compiled
    compile.arch_for = lambda major, minor: f"sm_{major}{minor}"
