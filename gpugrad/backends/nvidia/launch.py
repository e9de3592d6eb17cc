"""Kernels on a CUDA device: compiled, loaded once per device, launched on CuPy's current stream.

A launch costs what CuPy's ``Function`` costs and a look at the types of the arguments, which CuPy
would take wrongly in silence: a Python float has the width of a double whatever the kernel expects.
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
from typing import Any

import numpy as np

from gpugrad import backends
from gpugrad.backends.nvidia import compile, failures
from gpugrad.backends.nvidia.compile import Compiled, Usage
from gpugrad.config import config
from gpugrad.errors import ArgumentError, KernelError

#: Most blocks along x and along y or z, of any device; CuPy would cut off higher bits.
_MOST_X, _MOST_YZ = 2**31 - 1, 2**16 - 1

_lock = threading.Lock()
_kernels: dict[tuple[str, str, int], Kernel] = {}
_modules: dict[tuple[str, int], Any] = {}
_archs: dict[int, str] = {}


def kernel(source: str, name: str, what: str = "") -> Kernel:
    """A kernel of a text, ready for the current device; made once, then looked up.

    Args:
        source: CUDA C++ with any number of kernels; they share one module per device.
        name: the kernel's symbol, its name if it is ``extern "C"``.
        what: what it is for, for errors: the op.  A kernel keeps its first caller's words.

    Raises:
        KernelError: if it does not compile or load, or has no kernel of that name.
        DeviceError: without a device, CuPy, cuda-core or NVRTC.
    """
    cuda = backends.cuda()
    index = cuda.current() if backends.several else 0
    found = _kernels.get((source, name, index))
    if found is None:
        built = compile.compiled(source, arch(index), what)  # threads may compile side by side
        with _lock:
            found = _kernels.get((source, name, index))
            if found is None:
                found = _kernels[source, name, index] = _load(source, name, what, index, built)
    return found


def arch(index: int) -> str:
    """What to compile for, so that a device by number runs it."""
    if index not in _archs:
        properties = backends.cuda().properties(index)
        _archs[index] = compile.arch_for(properties.major, properties.minor)
    return _archs[index]


class Kernel:
    """A loaded kernel of one device.

    Attributes:
        name: its symbol.
        usage: registers, spills and shared memory; None where the driver compiled it, because the
            device is newer than NVRTC.
    """

    __slots__ = ("_allowed", "_cupy", "_function", "_plans", "_source", "_what", "name", "usage")

    def __init__(self, cupy: Any, function: Any, source: str, name: str, what: str,
                 usage: Usage | None) -> None:  # fmt: skip
        self.name, self.usage = name, usage
        self._cupy, self._function, self._source, self._what = cupy, function, source, what
        #: Bytes of dynamic shared memory that the driver lets it have so far.
        self._allowed = 48 * 1024 - usage.shared if usage is not None else 0
        #: By the types of the arguments: which of them to hand over by address.
        self._plans: dict[tuple[type, ...], tuple[int, ...]] = {}

    def launch(self, grid: tuple[int, int, int], block: tuple[int, int, int],
               args: tuple[Any, ...], shared: int = 0) -> None:  # fmt: skip
        """Queue the kernel on the current stream; the device that it was made on is current.

        Args:
            grid: blocks along x, y and z; nothing is launched if there are none.
            block: threads per block along x, y and z.
            args: per parameter, a CuPy array for a pointer (None for a null pointer), or what is
                passed by value with its exact width: a NumPy scalar, structured ones included, a
                NumPy array of one element, or a ctypes number or structure.
            shared: bytes of dynamic shared memory; what the device has, above 48 KiB, too.

        Raises:
            ArgumentError: for an argument of another type, or a grid that is out of range.
            KernelError: if the launch fails; it says where the kernel's source was kept.
        """
        x, y, z = grid
        if not 0 < x <= _MOST_X or not 0 < y <= _MOST_YZ or not 0 < z <= _MOST_YZ:
            if min(grid) == 0:
                return
            raise ArgumentError(
                f"{self._about()}: a grid of {grid} blocks; accepted are 0 to {_MOST_X} along x, "
                f"0 to {_MOST_YZ} along y and z"
            )
        types = tuple(map(type, args))
        plan = self._plans.get(types)
        if plan is None:
            plan = self._plans[types] = self._plan(types)
        given = args
        if plan:
            pointer, handed = self._cupy.cuda.function.CPointer, list(args)
            for i in plan:
                handed[i] = pointer(ctypes.addressof(args[i]))
            given = tuple(handed)
        try:
            if shared > self._allowed:
                self._allow(shared)
            self._function(grid, block, given, shared)
            if config.sync_debug:
                failures.settle(self._cupy)
        except Exception as error:
            raise self._failed(error, grid, block, args, shared) from error

    def _about(self) -> str:
        return f"{self._what}: kernel {self.name}" if self._what else f"kernel {self.name}"

    def _plan(self, types: tuple[type, ...]) -> tuple[int, ...]:
        """Which arguments CuPy does not take, so that it gets their addresses."""
        plain = (self._cupy.ndarray, np.generic, np.ndarray, type(None))
        by_address = []
        for i, kind in enumerate(types):
            if issubclass(kind, _CTYPES):
                by_address.append(i)
            elif not issubclass(kind, plain):
                raise ArgumentError(
                    f"{self._about()}: argument {i} is of type {kind.__name__}; accepted are CuPy "
                    "arrays, None for a null pointer, and NumPy scalars or ctypes values, which "
                    "say how wide they are"
                )
        return tuple(by_address)

    def _allow(self, shared: int) -> None:
        driver = self._cupy.cuda.driver
        attribute = driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        driver.funcSetAttribute(self._function.ptr, attribute, shared)
        self._allowed = shared

    def _failed(self, error: Exception, grid: tuple[int, ...], block: tuple[int, ...],
                args: tuple[Any, ...], shared: int) -> Exception:  # fmt: skip
        if failures.is_late(error):
            return failures.late(error, self._about(), args)
        told = (
            f"{self._about()}: could not be launched: {error}{failures.given(args)}; grid {grid}, "
            f"block {block}, {shared} bytes of dynamic shared memory, {self._needs()}"
        )
        return KernelError(f"{told}\n{_kept(self._source, told)}")

    def _needs(self) -> str:
        if self.usage is None:
            return "compiled by the driver"
        return f"{self.usage.registers} registers a thread, {self.usage.shared} bytes static shared"


_CTYPES = (ctypes._SimpleCData, ctypes.Structure, ctypes.Union, ctypes.Array)


def _load(source: str, name: str, what: str, index: int, built: Compiled) -> Kernel:
    cupy = backends.cuda().library
    module = _modules.get((source, index))
    if module is None:
        module = _modules[source, index] = _module(cupy, source, what, index, built)
    try:
        function = module.get_function(name)
    except Exception as error:
        has = f"; it has {', '.join(sorted(built.usage))}" if built.usage else ""
        told = f"{what or 'a kernel'}: no kernel {name!r} in its source: {error}{has}"
        raise KernelError(f"{told}\n{_kept(source, told)}") from error
    return Kernel(cupy, function, source, name, what, built.usage.get(name))


def _module(cupy: Any, source: str, what: str, index: int, built: Compiled) -> Any:
    module = cupy.cuda.function.Module()
    try:
        module.load(built.image)
    except Exception as error:
        if failures.is_late(error):
            raise failures.late(error, what or "loading a kernel") from error
        told = f"{what or 'a kernel'}: could not be loaded on cuda:{index}: {error}"
        raise KernelError(f"{told}\n{_kept(source, told)}") from error
    return module


def _kept(source: str, why: str) -> str:
    return compile.kept_source(source, hashlib.sha256(source.encode()).hexdigest()[:40], why)
