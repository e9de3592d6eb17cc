"""cuBLASLt through ``nvmath.bindings.cublasLt``: plans of products, and running them.

``D = epilogue(alpha * op(A) op(B) + beta * C)`` over stacks of column-major matrices.  A
``Problem`` is all that decides how that is computed; its ``Plan`` (descriptors and an algorithm) is
made once.

- The library's heuristics are asked when a plan is made, and never while a stream is captured: a
  problem that is met there for the first time is an error.  Running a plan is a launch, and those
  can be captured.
- With ``config.autotune`` the first eight answers are timed on the operands at hand and the fastest
  is kept, also on disk (the first alone was up to 10 % slower on an H200: 708 against 784 TFLOP/s
  for GPT-2's qkv).
- An algorithm may need a workspace: 32 MiB for each stream, so that products on two streams never
  share one, and for each private pool of a captured graph, because a graph that is replayed beside
  other work must have its own.  A stream's is never given back, as a graph that was captured
  without a private pool may hold its address; a private pool's lives as long as the pool.
- Sums are in float32 for 16-bit floats and float32, in float64 for float64, also where the library
  splits a sum, and are rounded once; float32 operands may be rounded to TF32 if
  ``config.float32_matmul_precision`` allows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad.backends.nvidia.product_plans import F64, ITEMSIZES, PLAIN, Plan, Pointers, Problem
from gpugrad.backends.nvidia.tuning import Choices, timed
from gpugrad.config import config
from gpugrad.errors import KernelError

WORKSPACE = 32 << 20
#: ``cublasLtReductionScheme_t``: how parts of a split sum may be added: any way, or as wide as
#: they are computed, not in a 16-bit result.
_ANY, _WIDE = 7, 2
#: Heuristic answers that autotuning tries.
_ANSWERS = 8
#: Plans that are kept; programs with ever new shapes drop the oldest.
PLANS = 4096


class Refused(KernelError):
    """The library has no algorithm for a problem, or did not run it."""


class FirstSeen(KernelError):
    """A problem was met for the first time while a stream is captured."""


def load() -> Any:
    """The bindings.

    Raises:
        ImportError: if nvmath-python is not installed.
    """
    from nvmath.bindings import cublasLt

    return cublasLt


class Library:
    """cuBLASLt on one device.

    Args:
        cupy: the library of arrays; every call is for its current device and stream.
        lt: the bindings.
        kept: remembers algorithms on disk.
        private: tells the private pool that this thread takes memory from now, or None.
    """

    def __init__(self, cupy: Any, lt: Any, kept: Choices, private: Callable[[], Any]) -> None:
        self._cupy, self._lt, self.kept, self._private = cupy, lt, kept, private
        self._stream = cupy.cuda.get_current_stream
        self._handle = lt.create()
        self._plans: dict[Problem, Plan] = {}
        self._workspaces: dict[int, Any] = {}
        self._of_graphs: dict[Any, dict[int, Any]] = {}
        #: alpha = 1 and beta = 0 for each width, and where they are
        self._plain = {t: np.array([1, 0], t) for t in (np.float32, np.float64)}
        self._plain_at = {t: x.ctypes.data for t, x in self._plain.items()}
        result = lt.matmul_heuristic_result_dtype
        self._result, self._place = result, result.fields["algo"][1]

    # ---- plans -----------------------------------------------------------------------------

    def plan(self, problem: Problem, pointers: Pointers) -> Plan:
        """The plan of a problem, made if there is none.

        Raises:
            FirstSeen: if there is none and the current stream is captured.
            Refused: if the library has no algorithm for it.
        """
        found = self._plans.get(problem)
        if found is None:
            if self._stream().is_capturing():
                raise FirstSeen(
                    "this product is met for the first time while a stream is captured, when "
                    "cuBLASLt must not be asked how to compute it; run the step once before "
                    "capturing it"
                )
            found = self._planned(problem, pointers)
            if len(self._plans) >= PLANS:
                self._plans.pop(next(iter(self._plans)), None)
            self._plans[problem] = found
        return found

    def _planned(self, problem: Problem, pointers: Pointers) -> Plan:
        try:
            plan = Plan(self._lt, problem)
            plan.point(pointers.bias, pointers.aux)  # an answer may depend on their alignment
            if not config.autotune:
                return self._use(plan, self._answers(plan, 1)[0])
            name = " ".join(map(repr, problem))
            if self._recall(plan, self.kept.get(name)):
                return plan
            answers = self._answers(plan, _ANSWERS)
            best = min(answers, key=lambda r: self._time(self._use(plan, r), pointers))
            self.kept.put(name, best["algo"].tobytes().hex())
            return self._use(plan, best)
        except self._lt.cuBLASLtError as error:
            raise Refused(f"cuBLASLt has no plan for it: {error}") from None

    def _use(self, plan: Plan, result: Any) -> Plan:
        plan.algorithm[0], plan.workspace = result["algo"], int(result["workspace_size"])
        return plan

    def _answers(self, plan: Plan, count: int) -> list[Any]:
        """The heuristics' answers, the most promising first."""
        lt, names = self._lt, self._lt.MatmulPreferenceAttribute
        wanted = (names.MIN_ALIGNMENT_A_BYTES, names.MIN_ALIGNMENT_B_BYTES,
                  names.MIN_ALIGNMENT_C_BYTES, names.MIN_ALIGNMENT_D_BYTES)  # fmt: skip
        narrow = ITEMSIZES[plan.problem.type] == 2
        preference = lt.matmul_preference_create()
        try:
            for name, value in ((names.MAX_WORKSPACE_BYTES, WORKSPACE),
                                (names.REDUCTION_SCHEME_MASK, _WIDE if narrow else _ANY),
                                *zip(wanted, plan.problem.alignments)):  # fmt: skip
                box = np.array(value, lt.get_matmul_preference_attribute_dtype(name))
                lt.matmul_preference_set_attribute(preference, name, box.ctypes.data, box.itemsize)
            found, number = np.zeros(count, self._result), np.zeros(1, np.int32)
            lt.matmul_algo_get_heuristic(
                self._handle, plan.desc, plan.a, plan.b, plan.c, plan.d, preference, count,
                found.ctypes.data, number.ctypes.data,
            )  # fmt: skip
        finally:
            lt.matmul_preference_destroy(preference)
        good = [r for r in found[: number[0]] if r["state"] == 0]
        if not good:
            raise Refused("cuBLASLt has no algorithm for it")
        return good

    def _recall(self, plan: Plan, text: Any) -> bool:
        """Take up an algorithm that was kept, if the library still accepts it."""
        try:
            raw = bytes.fromhex(text)
        except (TypeError, ValueError):
            return False
        if len(raw) != plan.algorithm.nbytes:
            return False
        plan.algorithm[0] = np.frombuffer(raw, plan.algorithm.dtype)[0]
        result = np.zeros(1, self._result)
        try:
            self._lt.matmul_algo_check(
                self._handle, plan.desc, plan.a, plan.b, plan.c, plan.d,
                plan.algorithm_at, result.ctypes.data,
            )  # fmt: skip
        except self._lt.cuBLASLtError:
            return False
        plan.workspace = int(result["workspace_size"][0])
        return int(result["state"][0]) == 0 and plan.workspace <= WORKSPACE

    def _time(self, plan: Plan, pointers: Pointers) -> float:
        """Milliseconds of the fastest of a few runs; writes where the product goes anyway."""
        d = plan.problem.d
        size = (d.step * (plan.problem.batch - 1) + d.ld * d.cols) * ITEMSIZES[plan.problem.type]
        spare = self._cupy.empty(size, "uint8")  # C may be D, and must be added but once
        c = spare.data.ptr if pointers.c == pointers.d else pointers.c
        pointers = pointers._replace(c=c, d=spare.data.ptr)
        return timed(self._cupy, lambda: self.run(plan, pointers, 1.0, 0.0))

    # ---- running ---------------------------------------------------------------------------

    def run(self, plan: Plan, pointers: Pointers, alpha: float, beta: float) -> None:
        """Queue a product on the current stream.

        Raises:
            Refused: if the library does.
        """
        lt, problem, stream = self._lt, plan.problem, self._stream().ptr
        kind = np.float64 if problem.type == F64 else np.float32
        scalars = None if alpha == 1 and beta == 0 else np.array([alpha, beta], kind)
        at = self._plain_at[kind] if scalars is None else scalars.ctypes.data
        workspace = self._workspace(stream) if plan.workspace else 0
        call = (
            self._handle, plan.desc, at, pointers.a, plan.a, pointers.b, plan.b,
            at + (8 if kind is np.float64 else 4), pointers.c, plan.c, pointers.d, plan.d,
            plan.algorithm_at, workspace, WORKSPACE if workspace else 0, stream,
        )  # fmt: skip
        try:
            if problem.epilogue == PLAIN:
                lt.matmul(*call)
                return
            with plan.lock:  # the descriptor is one, whoever runs it
                plan.point(pointers.bias, pointers.aux)
                lt.matmul(*call)
        except lt.cuBLASLtError as error:
            raise Refused(f"cuBLASLt did not run it: {error}") from None

    def _workspace(self, stream: int) -> int:
        """The address of the memory that algorithms may use on a stream."""
        private = self._private()
        table = self._workspaces if private is None else self._of_graphs.setdefault(private, {})
        if stream not in table:
            self.forget()
            table[stream] = self._cupy.empty(WORKSPACE, "uint8")
        return int(table[stream].data.ptr)

    def forget(self) -> None:
        """Drop the workspaces of graphs that will not be replayed any more."""
        for pool in [p for p in self._of_graphs if p.released]:
            self._of_graphs.pop(pool, None)
