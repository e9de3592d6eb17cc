"""``fused_op``: a custom op of an expression, with one kernel forward and one backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad.dtypes import float32, float64
from gpugrad.errors import NotSupportedError, RegistrationError
from gpugrad.fusion import fuse
from gpugrad.library import names
from gpugrad.library.custom_op import CustomOpDef
from gpugrad.library.schema import schema_of
from gpugrad.library.values import Call, filled, tensors_in
from gpugrad.modes import _Switch


def fused_op(name: str, fn: Callable[..., Any] | None = None, /, *, check: Any = None) -> Any:
    """Make an op of a function that ``gpugrad.fuse`` can fuse (a decorator).

    The function is written with ops of gpugrad, elementwise or along the last dimension, and has
    type hints.  Its kernels and its gradient are derived, as are shapes on ``meta``; a gradient
    given by ``register_autograd``, or a kernel by ``register_kernel``, goes before.  In float64,
    for which the CPU has no kernels of exp and its like, it runs op by op where it must.

    Args:
        name: ``"library::op"``, as for ``custom_op``.
        fn: the function.
        check: sample arguments to compare the gradient with finite differences, as for
            ``CustomOpDef.register_autograd``.

    Raises:
        RegistrationError: as ``custom_op``; for keyword-only arguments; or if the check fails.
        NotSupportedError: when called (or checked), for what cannot be fused, with its line.
    """

    def make(fn: Callable[..., Any]) -> FusedOpDef:
        names.check_free(name)
        op = FusedOpDef(name, fn)
        op.check_gradient(check)
        names.add(op)
        return op

    return make if fn is None else make(fn)


class FusedOpDef(CustomOpDef):
    """A custom op of an expression.  Made by ``fused_op``."""

    def __init__(self, name: str, fn: Callable[..., Any]) -> None:
        schema = schema_of(name, fn, ())
        if any(p.keyword_only for p in schema.parameters):
            raise RegistrationError(f"{name}: a fused op takes no keyword-only arguments: {schema}")
        super().__init__(name, fn, schema)
        self._fn, self._fused = fn, fuse(fn)
        self._by_ops: set[tuple[Any, ...]] = set()
        self.register_kernel(None, self._run)
        self.register_fake(fn)

    def _call(self, call: Call) -> Any:
        if call.device == "meta" and self._fake is self._fn and self._backward is None:
            # Op by op and seen so by recorders: `fuse` can have it in a larger function.
            return self._fn(*call.values)
        return super()._call(call)

    def _apply(self, call: Call) -> None:
        own = self._backward is not None or self._for(call.device) != self._run
        if own or not call.recorded:
            super()._apply(call)
            return
        # Recording stays on: what goes on the tape is fuse's node, whose gradient is derived.
        with _Switch(recorders=(), clock=None):
            call.result = self._run(*call.values)

    def _run(self, *values: Any) -> Any:
        """One kernel; op by op in float64 where its functions have no kernel."""
        found = tuple((t.dtype, t.device.type) for t in tensors_in(values))
        if found not in self._by_ops:
            try:
                return self._fused(*values)
            except NotSupportedError:
                narrow = (t.detach().to(float32) if t.dtype is float64 else t.detach()
                          for t in tensors_in(values))  # fmt: skip
                self._fused(*filled(values, narrow))  # raises for what has no kernel at all
                self._by_ops.add(found)
        return self._fn(*values)
