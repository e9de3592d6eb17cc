"""Plans of cuDNN: built once per shape, layout and dtype, kept on disk, run on the current stream.

A plan is a graph of one operation together with the engine that cuDNN's heuristics chose for it.
Building one takes 10 ms (a convolution) to a second (attention, which is compiled), so a plan is
looked for in memory, then in a file, and built last.  A file's name is a hash of all that decides
the plan: what it is for, how it is drawn, both versions, the device.

Only engines that give the same bits every time are taken, whatever the switches say, and none that
adds up 16-bit numbers in 16 bits.

Running a plan is refused by nothing while a stream is captured; building or loading one allocates
and synchronises, so within a capture that is an error.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np

from gpugrad.backends import cudnn as switches
from gpugrad.backends.kept import Store
from gpugrad.backends.nvidia import INSTALL
from gpugrad.config import config
from gpugrad.errors import GpugradError, KernelError, OutOfMemoryError

STORE = Store("cuda/cudnn", ".plan")
#: cuDNN's name of each dtype that it computes in.
DTYPES = {"float16": "HALF", "bfloat16": "BFLOAT16", "float32": "FLOAT", "float64": "DOUBLE"}
#: How often the fastest of several plans is timed.
_REPEATS = 3
#: Bytes to which cuDNN's kernels may expect every address to be a multiple.
ALIGNMENT = 16


class Wanted(Protocol):
    """What a plan is for: hashable, and its ``repr`` names everything that decides the plan."""

    @property
    def dtype(self) -> str:
        """The operands' dtype, a key of ``DTYPES``."""

    @property
    def exact(self) -> bool:
        """Whether float32 operands may not be rounded to TF32."""

    def draw(self, cudnn: Any, graph: Any) -> None:
        """Put tensors and the operation into an empty graph."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph that can be executed, and how many bytes of scratch memory it needs."""

    graph: Any
    workspace: int
    wanted: Wanted


@cache
def installed() -> tuple[Any, str]:
    """cuDNN's frontend with cuDNN behind it, or None and the reason in a line."""
    try:
        import cudnn

        cudnn.backend_version()
    except Exception as error:  # the frontend raises RuntimeError where cuDNN itself is missing
        return None, (str(error).splitlines() or [type(error).__name__])[0]
    return cudnn, ""


@cache
def library() -> Any:
    """cuDNN's frontend; None if it or cuDNN is missing, which is said once."""
    found, why = installed()
    if found is None:
        warnings.warn(
            f"cuDNN is not usable ({why}), so convolutions and attention on CUDA take a slower "
            f"way; install it with {INSTALL}",
            RuntimeWarning,
            stacklevel=2,
        )
    return found


@cache
def plans_of(cupy: Any) -> Plans:
    """The plans of this process."""
    return Plans(cupy)


class Plans:
    """All plans of a process, by device and by what they are for.

    Args:
        cupy: the module ``cupy``.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._found: dict[tuple[int, Wanted, bool], Plan | None] = {}
        self._lock = threading.Lock()
        self._own = threading.local()

    def find(self, wanted: Wanted, pack: Mapping[int, int] | None = None) -> Plan | None:
        """The plan for something, on the current device; None if cuDNN offers none, or is off.

        Args:
            wanted: what it is for.
            pack: addresses to time plans with, by uid, for ``backends.cudnn.benchmark``.

        Raises:
            KernelError: if it would have to be built while the current stream is captured.
        """
        if not switches.enabled:
            return None
        # Two runs that time may choose differently, so demanded determinism excludes it.
        timed = pack is not None and switches.benchmark and not (
            switches.deterministic or config.deterministic
        )  # fmt: skip
        key = (self._cupy.cuda.Device().id, wanted, timed)
        try:
            return self._found[key]
        except KeyError:
            pass
        cudnn = library()
        if cudnn is None:
            return None
        if self._cupy.cuda.get_current_stream().is_capturing():
            raise KernelError(
                f"{wanted}: no cuDNN plan is there yet, and none can be made while a stream is "
                "captured; run the step once with these shapes before capturing it"
            )
        with self._lock:  # a second thread finds what the first has built
            if key not in self._found:
                self._found[key] = self._made(cudnn, wanted, pack if timed else None)
            return self._found[key]

    def run(self, plan: Plan, pack: Mapping[int, int]) -> None:
        """Execute a plan on the current stream.

        Args:
            plan: from ``find``, for the current device.
            pack: the address of every tensor in device memory, by uid.

        Raises:
            KernelError: if cuDNN refuses; it says what was to be run.
        """
        # Dropped when this returns: the pool lets the same stream alone have it next.
        scratch = self._cupy.empty(plan.workspace, np.uint8) if plan.workspace else None
        address = 0 if scratch is None else scratch.data.ptr
        try:
            plan.graph.execute(dict(pack), address, handle=self._handle(library()))
        except RuntimeError as error:
            raise KernelError(f"{plan.wanted}: cuDNN did not run it: {error}") from error

    def _handle(self, cudnn: Any) -> int:
        """This thread's handle for the current device, set to the current stream."""
        if not hasattr(self._own, "handles"):
            self._own.handles = {}
        handles: dict[int, list[int]] = self._own.handles
        device, stream = self._cupy.cuda.Device().id, self._cupy.cuda.get_current_stream().ptr
        held = handles.get(device)
        if held is None:
            held = handles[device] = [cudnn.create_handle(), -1]
        if held[1] != stream:
            cudnn.set_stream(handle=held[0], stream=stream)
            held[1] = stream
        return held[0]

    def _made(self, cudnn: Any, wanted: Wanted, pack: Mapping[int, int] | None) -> Plan | None:
        name = self._name(cudnn, wanted, pack is not None)
        kept = STORE.read(name)
        graph = loaded(cudnn, kept, self._handle(cudnn))
        if graph is None:
            if kept is not None:  # reading sets the handle's stream for the time, and broke off
                self._own.handles.clear()
            try:
                graph = planned(cudnn, wanted, handle=self._handle(cudnn))
                self._build(cudnn, graph, wanted, pack)
            except cudnn.cudnnGraphNotSupportedError:
                return None
            except GpugradError:
                raise
            except RuntimeError as error:
                raise KernelError(
                    f"{wanted}: cuDNN failed to plan it: {error}; to do without: "
                    "backends.cudnn.enabled = False"
                ) from error
            STORE.write(name, bytes(graph.serialize()))
        return Plan(graph, graph.get_workspace_size(), wanted)

    def _name(self, cudnn: Any, wanted: Wanted, timed: bool) -> str:
        device = self._cupy.cuda.runtime.getDeviceProperties(self._cupy.cuda.Device().id)
        decisive = (cudnn.__version__, cudnn.backend_version(), device["name"], device["major"],
                    device["minor"], device["multiProcessorCount"], wanted, timed,
                    _drawing(type(wanted)))  # fmt: skip
        return hashlib.sha256(repr(decisive).encode()).hexdigest()[:40]

    def _build(self, cudnn: Any, graph: Any, wanted: Wanted,
               pack: Mapping[int, int] | None) -> None:  # fmt: skip
        """Build the first of a graph's plans that can be built, or the fastest of several."""
        if pack is None:
            graph.build_plans()
            return
        declined = cudnn.cudnnGraphNotSupportedError
        times: list[tuple[float, int]] = []
        for index in range(graph.get_execution_plan_count()):
            try:
                graph.build_plan_at_index(index)
                times.append((self._timed(graph, wanted, pack), index))
            except (declined, OutOfMemoryError):
                continue
            if len(times) == switches.benchmark_limit:
                break
        if not times:
            raise declined("none of the plans could be built")
        graph.build_plan_at_index(min(times)[1])  # what was built last is what is executed

    def _timed(self, graph: Any, wanted: Wanted, pack: Mapping[int, int]) -> float:
        """Milliseconds that a graph's plan takes at best, after a run to warm up."""
        plan, events = Plan(graph, graph.get_workspace_size(), wanted), self._cupy.cuda
        times = []
        for _ in range(1 + _REPEATS):
            start, end = events.Event(), events.Event()
            start.record()
            self.run(plan, pack)
            end.record()
            end.synchronize()
            times.append(float(events.get_elapsed_time(start, end)))
        return min(times[1:])


@cache
def _drawing(kind: type) -> str:
    """The text that draws graphs: a plan that was drawn by another one is another plan."""
    return "".join(inspect.getsource(sys.modules[name]) for name in (__name__, kind.__module__))


def planned(cudnn: Any, wanted: Wanted, **target: Any) -> Any:
    """A graph with its possible plans listed, best first, none built.

    Args:
        cudnn: the frontend.
        wanted: what the graph is of.
        target: ``handle=``; or ``device_property=``, to plan for a device that is not there.

    Raises:
        cudnnGraphNotSupportedError: cuDNN's, if there are none.
    """
    dtypes = cudnn.data_type
    held = getattr(dtypes, DTYPES[wanted.dtype])
    wide = dtypes.DOUBLE if held == dtypes.DOUBLE else dtypes.FLOAT
    graph = cudnn.pygraph(name="", io_data_type=held, intermediate_data_type=wide,
                          compute_data_type=wide, **target)  # fmt: skip
    notes = cudnn.numerical_note
    refused = [notes.NONDETERMINISTIC, notes.REDUCED_PRECISION_REDUCTION]
    if wanted.exact and held == dtypes.FLOAT:
        refused += [notes.TENSOR_CORE, notes.DOWN_CONVERT_INPUTS]
    wanted.draw(cudnn, graph)
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    graph.deselect_numeric_notes(refused)
    graph.check_support()
    return graph


def loaded(cudnn: Any, kept: bytes | None, handle: int) -> Any:
    """The graph with its plan that a file held; None if there is none, or cuDNN cannot read it."""
    if kept is None:
        return None
    graph = cudnn.pygraph()
    try:
        graph.deserialize(handle, list(kept))
    except RuntimeError:
        return None  # building it anew mends what could not be read
    return graph
