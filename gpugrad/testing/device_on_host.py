"""A CUDA target over NumPy arrays: the text that a GPU would get, run by ``cuda_host``.

    target = DeviceOnHost()
    out = forward(target, registry["gelu"], [x], {"approximate": "none"})

So the choice of a variant, its grid, its arguments and the text itself are checked without a GPU.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from gpugrad.backends.nvidia.text import text
from gpugrad.codegen import device
from gpugrad.codegen.cuda import Variant
from gpugrad.codegen.device import DeviceTarget, prelude
from gpugrad.codegen.target import Program
from gpugrad.testing.cuda_host import HostModule

_modules: dict[str, HostModule] = {}


class DeviceOnHost(DeviceTarget):
    """NumPy arrays in place of a device's.

    Args:
        order: of threads and blocks; see ``cuda_host``.
        fenced: whether accesses beyond an array are errors.

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
            module.launch(name, grid, block, args, shared, self.order, self.fenced)

        return SimpleNamespace(launch=launch)

    def address(self, array: Any) -> int:
        return int(array.ctypes.data)


def _rubbish(shape: tuple[int, ...], dtype: Any) -> Any:
    out = np.empty(shape, dtype)
    out.view(np.uint8)[...] = 0xFF if out.ndim else 0
    return out
