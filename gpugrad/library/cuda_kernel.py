"""``cuda_kernel``: a kernel of CUDA C++ text, called with tensors and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import backends
from gpugrad.backends.nvidia import compile, launch
from gpugrad.backends.nvidia.compile import Usage
from gpugrad.errors import ArgumentError, DTypeError, SettingError
from gpugrad.library.c_signature import CParameter, parameters
from gpugrad.library.launches import Count, Dims, Launcher
from gpugrad.refusals import brief
from gpugrad.tensor import Tensor


def cuda_kernel(source: str, name: str | None = None, *, grid: Dims, block: Dims = 256,
                shared_mem: Count = 0, contiguous: bool = True) -> CudaKernel:  # fmt: skip
    """A kernel of CUDA C++ text, as a function of tensors and numbers.

    It is compiled by NVRTC for the device of its tensors at the first call, and kept on disk.  The
    text has no ``#include``; its kernels are ``extern "C" __global__``.  What a kernel takes is
    read off its declaration: a pointer takes a tensor of its dtype (``unsigned short*`` the bits of
    float16 and bfloat16) or None for null, anything else a number.  A pointer that is not to
    ``const`` is written through, as far as versions of tensors are concerned.

    Args:
        source: the text.
        name: the kernel's name; not needed if it is the only one.
        grid: blocks: a number, up to three, or a function of the call's arguments that gives them.
        block: threads of a block, likewise.
        shared_mem: bytes of dynamic shared memory, a number or such a function.
        contiguous: whether tensors must be; False for a kernel that is told their strides.

    Raises:
        KernelError: if there is no such kernel, or its parameters cannot be passed.
    """
    return CudaKernel(source, name, grid, block, shared_mem, contiguous)


class CudaKernel(Launcher):
    """A kernel of CUDA C++ text.  Made by ``cuda_kernel``.

    Attributes:
        source: the text.
        parameters: its parameters (``str`` gives the declaration).
    """

    def __init__(self, source: str, name: str | None, grid: Dims, block: Dims, shared_mem: Count,
                 contiguous: bool) -> None:  # fmt: skip
        found, self.parameters = parameters(source, name)
        self.source, self._contiguous = source, contiguous
        super().__init__(found, grid, block, shared_mem)

    def compile(self, arch: str | None = None) -> Usage:
        """Compile now, which needs no GPU if the architecture is given.

        Args:
            arch: ``"sm_90"`` and its like; the current device's by default.

        Returns:
            Registers, spills, stack and shared memory of the kernel.

        Raises:
            KernelError: if it does not compile; with the compiler's lines, and where the text is.
            SettingError: for an architecture that is not a device's (``compute_90``).
            DeviceError: if there is no compiler, or no device and no architecture.
        """
        arch = arch or launch.arch(backends.cuda().current())
        if not arch.startswith("sm_"):
            raise SettingError(f'compile: arch must be "sm_90" or its like, got {arch!r}')
        return compile.compiled(self.source, arch, f"cuda_kernel {self.name}").usage[self.name]

    def _given(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self._count(args, self.parameters)
        pairs = zip(self.parameters, args, strict=True)
        return tuple(self._one(i, p, a) for i, (p, a) in enumerate(pairs))

    def _one(self, place: int, p: CParameter, value: Any) -> Any:
        if not p.pointer:
            return self._number(place, p, value)
        if value is None:
            return None
        if not isinstance(value, Tensor):
            raise ArgumentError(
                f"{self._about(place, p)}, which takes a Tensor or None, got {brief(value)}"
            )
        if p.accepted is not None and value.dtype not in p.accepted:
            takes = ", ".join(d.name for d in p.accepted)
            raise DTypeError(f"{self._about(place, p)}, which takes {takes}, got {brief(value)}")
        if self._contiguous and not value.is_contiguous():
            raise ArgumentError(
                f"{self._about(place, p)}: the tensor has shape {tuple(value.shape)} and strides "
                f"{value.stride()}; pass .contiguous(), or make the kernel with contiguous=False "
                "and tell it strides"
            )
        return value._array

    def _number(self, place: int, p: CParameter, value: Any) -> Any:
        kind = np.dtype(p.scalar).kind
        plain = value.item() if isinstance(value, np.generic) else value
        if type(plain) not in ((bool,) if kind == "b" else (bool, int) if kind in "iu"
                               else (bool, int, float)):  # fmt: skip
            takes = {"b": "a bool", "i": "an int", "u": "an int", "f": "a number"}[kind]
            hint = "; .item() gives its number" if isinstance(value, Tensor) else ""
            raise ArgumentError(
                f"{self._about(place, p)}, which takes {takes}, got {brief(value)}{hint}"
            )
        if kind in "iu":
            limits = np.iinfo(p.scalar)
            if not limits.min <= plain <= limits.max:
                raise ArgumentError(
                    f"{self._about(place, p)}, which takes {limits.min} to {limits.max}, got "
                    f"{plain}"
                )
        return p.scalar(plain)

    def _about(self, place: int, p: CParameter) -> str:
        return f"kernel {self.name}: argument {place} is for {p.text!r}"

    def _written(self, args: tuple[Any, ...]) -> list[Tensor]:
        return [a for p, a in zip(self.parameters, args, strict=True)
                if p.written and isinstance(a, Tensor)]  # fmt: skip

    def _launch(self, grid: tuple[int, int, int], block: tuple[int, int, int],
                given: tuple[Any, ...], shared: int) -> None:  # fmt: skip
        launch.kernel(self.source, self.name, "cuda_kernel").launch(grid, block, given, shared)
