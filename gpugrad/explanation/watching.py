"""A device's target that notes every launch, and a recorder that notes what has no kernel.

Over NumPy arrays nothing is launched: the target makes all choices as on a device, notes them, and
leaves the work to the array code.  On a device each kernel runs as ever, and is timed besides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import numpy as np

from gpugrad.backends.nvidia.launch import kernel
from gpugrad.codegen.cuda import Variant
from gpugrad.codegen.device import DeviceTarget, Sums, describe, prelude
from gpugrad.codegen.target import TARGETS, Program
from gpugrad.explanation import by_hand, timing
from gpugrad.explanation.behind import runner
from gpugrad.explanation.report import Kernel, Other
from gpugrad.explanation.traffic import (
    Traffic,
    extent,
    of_arrays,
    of_kernel,
    of_table,
    passes,
    root_of,
)
from gpugrad.modes import _Switch, modes, recording
from gpugrad.op import Op
from gpugrad.tape.plan import HALF_NP
from gpugrad.tensor import Tensor
from gpugrad.testing.device_on_host import using


def _host() -> Any:
    """What stands for a device's backend: NumPy's arrays, whose pages nobody touches."""
    library = SimpleNamespace(empty=np.empty, zeros=np.zeros, asarray=np.array)
    return SimpleNamespace(library=library, array_type=np.ndarray, current=lambda: 0)


class Watch(DeviceTarget):
    """Notes what is launched.

    Args:
        backend: the device's; None for NumPy arrays in place of a device's.
        scratch: whether the call works on copies that nobody looks at, so that an update need not
            happen, or may happen often.

    Attributes:
        steps: what was noted.
        phase: what is being done.
        launched: whether a kernel was noted since an op began.
        ran: the last program that ran, or would have.
        outside: arrays of tensors that ops read and no op made.
    """

    sees_kernels = True

    def __init__(self, backend: Any = None, scratch: bool = False) -> None:
        super().__init__(backend or _host())
        self.real, self.scratch = backend is not None, scratch
        self.steps: list[Kernel | Other] = []
        self.phase, self.launched = "forward", False
        self.ran: Program | None = None
        self.outside: dict[int, Any] = {}
        self._made: set[int] = set()
        self._muted = False

    def recipe_key(self, about: tuple[Any, ...], settings: dict[str, Any],
                   arrays: Sequence[Any]) -> Any:  # fmt: skip
        return None  # every call is to be seen

    def address(self, array: Any) -> int:
        return super().address(array) if self.real else int(array.ctypes.data)

    # ---- kernels ---------------------------------------------------------------------------

    def kernel_of(self, program: Program, variant: Variant) -> Any:
        return _Noted(self, prelude(), program.printed.print("kernel", variant), "kernel",
                      describe(program), program, variant)  # fmt: skip

    def kernel(self, source: str, name: str, what: str) -> Any:
        return _Noted(self, "", source, name, what)

    def run(self, program: Program, rows: int, columns: int, inputs: Sequence[Any],
            outputs: Sequence[Any], dims: Any = None) -> Any:  # fmt: skip
        if self._muted:
            return False
        done, self.ran = super().run(program, rows, columns, inputs, outputs, dims), program
        if self.real:
            return done
        for out in outputs:
            if type(out) is Sums:  # the caller would ask for it now
                self.total(out, out.dtype)
        return False

    def columns(self, program: Program, rows: int, columns: int, array: Any,
                outputs: Sequence[Any]) -> bool:  # fmt: skip
        if self._muted:
            return False
        return super().columns(program, rows, columns, array, outputs) and self.real

    def run_table(self, program: Program, table: Any, lengths: Any) -> bool:
        super().run_table(program, table, lengths)
        if not (self.real or self.scratch):
            by_hand.update(program, table, lengths)
        return True

    def reduce_table(self, program: Program, table: Any, lengths: Any) -> Any:
        out = super().reduce_table(program, table, lengths)
        if not self.real:
            by_hand.reduce(program, table, lengths, out)
        return out

    def instead(self) -> AbstractContextManager[None]:
        return self._mute()

    @contextmanager
    def _mute(self) -> Iterator[None]:
        before, self._muted = self._muted, True
        try:
            yield
        finally:
            self._muted = before

    def note(self, noted: _Noted, grid: tuple[int, ...], block: tuple[int, ...],
             args: tuple[Any, ...], seconds: float | None) -> None:  # fmt: skip
        """Take note of a launch."""
        program, variant = noted.program, noted.variant
        count, phase = 1, self.phase
        if program is None or variant is None:  # sums over rows, of partial sums
            parts = [a for a in args if type(a) is self.array_type]
            traffic, name = of_arrays(parts, self.address), noted.what
            phase = self.steps[-1].phase if self.steps else phase
        elif program.layout.table:
            given = [a for a in args if type(a) is self.array_type]
            traffic, name = of_table(program, given), program.name
            phase = "update" if program.layout.into else phase
        else:
            arrays = _arrays(program, variant, args)
            rows = int(args[0]) if program.printed.kind == "rows" else 1
            traffic = of_kernel(program, variant, rows, arrays, self.address)
            count, name = max(passes(program, variant).values(), default=1), program.name
            self._made.update(self.address(root_of(a)) for a in arrays[len(program.layout.held) :])
        if name.endswith(" backward"):
            phase = "backward"
        self.launched = True
        self.steps.append(Kernel(
            name, phase, noted.what, grid, block, variant, count, traffic, noted.name,
            noted.source, noted.helpers, None, seconds,
        ))  # fmt: skip

    def forget(self) -> None:
        """Let go of arrays and programs: fused functions keep the targets that they met."""
        self.outside.clear()
        self._programs.clear()
        self._tables.clear()

    # ---- what has no kernel ----------------------------------------------------------------

    def begin(self) -> None:
        """An op's arrays are about to be computed (see ``modes.clock``)."""
        self.launched = False

    def record(self, op: Any, inputs: tuple[Any, ...], settings: dict[str, Any],
               outputs: tuple[Any, ...]) -> None:  # fmt: skip
        """Take note of one executed op (see ``modes.Recorder``)."""
        read, made = arrays_of(inputs, self.array_type), arrays_of(outputs, self.array_type)
        if not made:
            return
        for a in read:
            place = self.address(root_of(a))
            if place not in self._made:
                self.outside.setdefault(place, a)
        self._made.update({self.address(root_of(a)) for a in made} - self.outside.keys())
        if self._muted:
            return
        if not (self.launched or getattr(op, "view", False)) and any(a.size for a in made):
            by = runner(op.fn) if isinstance(op, Op) else "its own code"  # of a custom op
            phase = "update" if isinstance(op, Op) and op.home == "optim" else ""
            self.other(op.name, by, [*read, *made], phase)
        node = next((t._node for t in outputs if t._node is not None), None)
        if node is not None and isinstance(op, Op):
            self._watch(node)
        self.launched = False

    def other(self, name: str, by: str, arrays: Sequence[Any], phase: str = "") -> None:
        """Take note of work without a generated kernel."""
        traffic = of_arrays(arrays, self.address)
        self.steps.append(Other(name, phase or self.phase, by, traffic))

    def _watch(self, node: Any) -> None:
        """Let a node tell if its rule ran without a kernel, and what was done around it."""

        def before(g: Any) -> None:
            self.launched = False

        def after(made: Any, g: Any) -> None:
            if self not in modes.recorders:
                return
            gs, kind = arrays_of(g, self.array_type), self.array_type
            results = arrays_of(made, kind)
            old = {self.address(root_of(a)) for a in gs}
            if not self.launched and not node.op.view:
                if node.op.half == "f32":
                    for a in gs:
                        if a.dtype in HALF_NP:  # the rule gets it as float32
                            self._fitted("gradient as float32", "astype", 3 * extent(a))
                if any(self.address(root_of(a)) not in old for a in results):
                    rules = [r.fn for r in (*node.op.rules.values(), *node.op.together.values())]
                    self.other(node.name(), runner(*rules), [*gs, *results], "backward")
            summed = _summed(self.ran) if self.launched else set()
            for i, (edge, slot, t) in enumerate(zip(node.edges, node.slots or repeat(0), made)):
                if edge is None or t is None or type(t._array) is not kind or i in summed:
                    continue
                shape, dtype = (edge.shape, edge.dtype) if edge.outs is None else edge.outs[slot]
                size, wanted = t._array.nbytes, math.prod(shape) * dtype.itemsize
                if t._array.shape != shape:  # the tape adds it up, or casts it
                    self._fitted("gradient added up where broadcast", "sum", size + wanted)
                elif t._array.dtype != dtype and not self.launched:
                    self._fitted(f"gradient as {dtype.name}", "astype", size + wanted)
            self.launched = False

        node.register_prehook(before)
        node.register_hook(after)

    def _fitted(self, name: str, function: str, size: int) -> None:
        by = f"array code ({function})"
        self.steps.append(Other(name, "backward", by, Traffic(size, size)))


@dataclass(slots=True)
class _Noted:
    """A kernel with the ``launch`` of ``backends.nvidia.launch.Kernel``."""

    watch: Watch
    helpers: str
    source: str
    name: str
    what: str
    program: Program | None = None
    variant: Variant | None = None

    def launch(self, grid: tuple[int, int, int], block: tuple[int, int, int],
               args: tuple[Any, ...], shared: int = 0) -> None:  # fmt: skip
        """Note the launch; on a device, make it and time it."""
        seconds = None
        if self.watch.real:
            loaded = kernel(self.helpers + self.source, self.name, self.what)

            def once(*given: Any) -> None:
                loaded.launch(grid, block, given, shared)

            cupy = self.watch.backend.library
            if self.program is not None and self.program.layout.into and not self.watch.scratch:
                seconds = timing.median(cupy, once, args, 1)  # an update must not be repeated
            else:
                once(*args)
                seconds = timing.median(cupy, once, self._copied(args))
        self.watch.note(self, grid, block, args, seconds)

    def _copied(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments with other memory for what is written."""
        count = 1
        if self.program is not None and self.variant is not None:
            count = _outputs(self.program, self.variant)
        return (*args[: len(args) - count], *(a.copy() for a in args[len(args) - count :]))


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Let a target and its recorder see what this thread does inside a ``with`` block."""
    with ExitStack() as stack:
        stack.enter_context(_placed(watch) if watch.real else using(watch))
        stack.enter_context(recording(watch))
        stack.enter_context(_Switch(clock=watch.begin))
        yield


@contextmanager
def _placed(watch: Watch) -> Iterator[None]:
    before = TARGETS[watch.array_type]
    TARGETS[watch.array_type] = watch
    try:
        yield
    finally:
        TARGETS[watch.array_type] = before


def arrays_of(values: Sequence[Any], kind: type) -> list[Any]:
    """The arrays of the tensors among some values."""
    return [v._array for v in values if isinstance(v, Tensor) and type(v._array) is kind]


def _summed(program: Program | None) -> set[int]:
    """The operands whose gradients a kernel of a rule adds up where they were broadcast."""
    if program is None:
        return set()
    made = (i for i, where in enumerate(program.trace.where) if where == -1)
    return {i for i, s in zip(made, program.layout.summed) if s}


def _outputs(program: Program, variant: Variant) -> int:
    """How many arrays a kernel writes; none that it is told by a table."""
    if program.layout.into:
        return 0
    return len(program.printed.reductions if variant.split else program.layout.stored)


def _arrays(program: Program, variant: Variant, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arrays among a kernel's arguments: those that it reads, then those that it writes."""
    return args[len(args) - len(program.layout.held) - _outputs(program, variant) :]
