"""A CUDA target over NumPy arrays: the text that a GPU would get, run by ``cuda_host``.

    target = DeviceOnHost()
    with using(target):
        y = gg.softmax(x, -1)

So the choice of a variant, its grid, its arguments and the text itself are checked without a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from gpugrad import dispatch, lanes
from gpugrad.codegen.cuda import Variant
from gpugrad.codegen.device import DeviceTarget, prelude
from gpugrad.codegen.target import TARGETS, Program, Target
from gpugrad.testing.cuda_host import HostModule

_modules: dict[str, HostModule] = {}


class DeviceOnHost(DeviceTarget):
    """NumPy arrays in place of a device's.

    Args:
        order: of threads and blocks; see ``cuda_host``.
        fenced: whether accesses beyond an array are errors, where all arrays are contiguous.

    Attributes:
        launches: per launch the kernel's name, the grid and the text.
    """

    def __init__(self, order: str | int = "forward", fenced: bool = False) -> None:
        library = SimpleNamespace(empty=_rubbish, zeros=np.zeros, asarray=np.array)
        super().__init__(SimpleNamespace(
            library=library, array_type=np.ndarray, current=lambda: 0
        ))  # fmt: skip
        self.order, self.fenced = order, fenced
        self.launches: list[tuple[str, tuple[int, ...], str]] = []

    def kernel_of(self, program: Program, variant: Variant) -> Any:
        return self.kernel(prelude() + program.printed.print("kernel", variant), "kernel")

    def kernel(self, source: str, name: str, what: str = "") -> Any:
        """A kernel with the ``launch`` of ``backends.nvidia.launch.Kernel``."""
        if source not in _modules:
            _modules[source] = HostModule(source)
        module = _modules[source]

        def launch(grid: Any, block: Any, args: Any, shared: int = 0) -> None:
            self.launches.append((name, grid, source))
            if min(grid):  # as a device's kernel, which does nothing then
                arrays = [a for a in args if isinstance(a, np.ndarray)]
                fenced = self.fenced and all(a.flags.c_contiguous for a in arrays)
                module.launch(name, grid, block, args, shared, self.order, fenced)

        return SimpleNamespace(launch=launch)

    def address(self, array: Any) -> int:
        return int(array.ctypes.data)


@contextmanager
def using(target: Target) -> Iterator[None]:
    """Let NumPy arrays of any size have the kernels of a target inside a ``with`` block."""
    before, readers = TARGETS[np.ndarray], (dispatch, lanes)
    sizes = [vars(m)["LARGE"] for m in readers]
    TARGETS[np.ndarray] = target
    for module in readers:
        vars(module)["LARGE"] = 0
    try:
        yield
    finally:
        TARGETS[np.ndarray] = before
        for module, size in zip(readers, sizes):
            vars(module)["LARGE"] = size


def _rubbish(shape: tuple[int, ...], dtype: Any) -> Any:
    raw = np.full((*shape, np.dtype(dtype).itemsize), 0xFF, np.uint8)
    return raw.view(dtype).reshape(shape)
