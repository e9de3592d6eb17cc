"""The base class onto which the records' methods are attached.

At run time it is empty until ``gpugrad.publish`` fills it; a type checker reads the generated
``methods.pyi`` beside it (``python -m gpugrad.stubs``), where every method is spelt out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


class TensorMethods:
    """Methods and operators of Tensor that are derived from op records."""

    __slots__ = ()

    if TYPE_CHECKING:  # without the generated stub, a checker accepts any method

        def __getattr__(self, name: str) -> Any: ...
