"""One kernel for a CUDA device, in any of its variants."""

from __future__ import annotations

from collections.abc import Sequence

from gpugrad import dtypes
from gpugrad.codegen.cuda.elements import Elements
from gpugrad.codegen.cuda.rows import Rows
from gpugrad.codegen.cuda.spelling import Variant
from gpugrad.codegen.levels import Layout
from gpugrad.errors import NotSupportedError
from gpugrad.expr import Expr


class CudaWriter(Elements, Rows):
    """Prints one kernel.

    Attributes:
        kind: ``"flat"``, ``"rows"`` or ``"table"``.
        heavy: whether an element takes much code and many registers: float64, powers.
        widest: elements per access where all addresses allow; set by who chooses variants.

    Raises:
        NotSupportedError: for what has no spelling in C++, or rows that are read by strides.
    """

    def __init__(self, outputs: Sequence[Expr], layout: Layout) -> None:
        super().__init__(outputs, layout)
        self.widest = 1
        doubles = any(n.dtype is dtypes.float64 for n in (*self.order, *self.outputs))
        self.heavy = doubles or not self.called.isdisjoint({"pow", "powf"})
        rows = self.reductions or any(layout.summed) or any(self.row_outputs)
        self.kind = "rows" if rows else "table" if layout.table else "flat"
        if rows and "strided" in layout.reads:
            raise NotSupportedError("rows are read as they lie")

    def print(self, name: str, variant: Variant) -> str:
        """The text of a kernel, without the prelude."""
        text: str = getattr(self, self.kind)(name, variant)
        return text
