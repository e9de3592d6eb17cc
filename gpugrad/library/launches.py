"""What a launch on tensors looks at, whatever the kernel is written in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from gpugrad import backends
from gpugrad.errors import ArgumentError, AutogradError, DeviceError
from gpugrad.inplace import check_writable
from gpugrad.modes import modes
from gpugrad.refusals import brief
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor

#: A number, or a function of the kernel's arguments that gives it.
Count = int | Callable[..., int]
#: Up to three numbers (one stands for the first of three), or such a function.
Dims = int | Sequence[int] | Callable[..., int | Sequence[int]]
#: Most threads of a block: together, and along x, y and z.
_THREADS, _MOST = 1024, (1024, 1024, 64)


class Launcher:
    """A kernel that is called with tensors and numbers; subclasses say in what it is written."""

    def __init__(self, name: str, grid: Dims, block: Dims, shared_mem: Count) -> None:
        self.name = name
        self._grid, self._block, self._shared = grid, block, shared_mem
        for what, value in (("grid", grid), ("block", block), ("shared_mem", shared_mem)):
            if not callable(value):
                self._three(what, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __call__(self, *args: Any) -> None:
        """Launch the kernel on the current stream, with an argument per parameter of it.

        A grid with a 0 launches nothing.  Tensors that it may write into count as written.

        Raises:
            ArgumentError, DTypeError: for arguments that the kernel does not take.
            DeviceError: for tensors that are not on one CUDA device.
            AutogradError: while recording, for a tensor that requires a gradient.
            KernelError: if it does not compile or launch.
        """
        given = self._given(args)
        tensors = [a for a in args if isinstance(a, Tensor)]
        self._check_tensors(tensors)
        written = self._written(args)
        for t in written:
            check_writable(f"kernel {self.name}", t)
        grid = self._three("grid", self._asked(self._grid, args))
        block = self._three("block", self._asked(self._block, args))
        shared = self._three("shared_mem", self._asked(self._shared, args))[0]
        threads = block[0] * block[1] * block[2]
        if not 1 <= threads <= _THREADS or any(map(int.__gt__, block, _MOST)):
            raise ArgumentError(
                f"kernel {self.name}: a block of {block} threads; accepted are 1 to {_MOST} along "
                f"x, y and z, and {_THREADS} together"
            )
        if 0 in grid:
            return
        place = backends.cuda().on(tensors[0].device) if tensors else nullcontext()
        with place:
            self._launch(grid, block, given, shared)
        for t in written:
            t.storage_state().bump()

    # ---- what subclasses say -------------------------------------------------------------------

    def _given(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments as the kernel's library takes them."""
        raise NotImplementedError

    def _written(self, args: tuple[Any, ...]) -> list[Tensor]:
        """The tensors that the kernel may write into."""
        raise NotImplementedError

    def _launch(self, grid: tuple[int, int, int], block: tuple[int, int, int],
                given: tuple[Any, ...], shared: int) -> None:  # fmt: skip
        """Launch on the current device and stream."""
        raise NotImplementedError

    # ---- checks --------------------------------------------------------------------------------

    def _check_tensors(self, tensors: list[Tensor]) -> None:
        for t in tensors:
            if type(t._array) is Spec or t.device.type != "cuda":
                raise DeviceError(
                    f"kernel {self.name}: a tensor of shape {tuple(t.shape)} is on {t.device}, and "
                    "a CUDA kernel runs on cuda; a custom op has a function for other devices by "
                    'register_kernel("cpu"), and register_fake for meta'
                )
            if t.device != tensors[0].device:
                raise DeviceError(
                    f"kernel {self.name}: tensors are on {tensors[0].device} and {t.device}; move "
                    "one with .to(...)"
                )
            if modes.grad and t._node is not None:
                raise AutogradError(
                    f"kernel {self.name}: a tensor of shape {tuple(t.shape)} requires a gradient, "
                    "and a launch is not recorded; call it in a custom op (whose backward is made "
                    "of ops, or marked once_differentiable), or under no_grad"
                )

    def _asked(self, value: Any, args: tuple[Any, ...]) -> Any:
        return value(*args) if callable(value) else value

    def _three(self, what: str, value: Any) -> tuple[int, int, int]:
        numbers = list(value) if isinstance(value, tuple | list) else [value]
        plain = [type(n) is int or isinstance(n, np.integer) for n in numbers]
        if not 1 <= len(numbers) <= 3 or not all(plain) or min(numbers) < 0:
            raise ArgumentError(
                f"kernel {self.name}: {what} must be ints from 0 (one, or a tuple of up to three), "
                f"or a function of the arguments that gives them, got {brief(value)}"
            )
        x, y, z = [*map(int, numbers), 1, 1][:3]
        return x, y, z

    def _count(self, args: tuple[Any, ...], parameters: Sequence[Any]) -> None:
        if len(args) != len(parameters):
            raise ArgumentError(
                f"kernel {self.name} has {len(parameters)} parameters "
                f"({', '.join(map(str, parameters))}), got {len(args)} arguments: "
                f"{', '.join(map(brief, args)) or 'none'}"
            )
