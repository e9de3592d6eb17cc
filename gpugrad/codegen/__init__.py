"""From expressions to kernel source: one printer per target over the same ``Expr``."""

from __future__ import annotations

from gpugrad.codegen.c import body, helpers, source
from gpugrad.codegen.trace import Trace, trace_forward, trace_gradient

__all__ = ["Trace", "body", "helpers", "source", "trace_forward", "trace_gradient"]
