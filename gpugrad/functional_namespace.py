"""``F``: the namespace that answers "and record it": array-API names over tensors.

Gradient rules run on it when the gradient itself is to be differentiated; composites without a rule
run on it so that their parts are recorded.
"""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.op import registry


class _TensorNamespace:
    """Looks names up among the records by their xp name, and remembers them."""

    def __getattr__(self, name: str) -> Any:
        record = registry.by_xp.get(name)
        if record is None or record.public is None:
            raise AttributeError(f"no op is known as xp.{name}")
        setattr(self, name, record.public)
        return record.public

    @staticmethod
    def astype(input: Any, dtype: Any) -> Any:
        """A cast; the tensor itself where it has that dtype, as ``xp.astype`` of arrays gives it.

        Nobody may be handed the result as fresh memory.
        """
        wanted = dtypes.as_dtype(dtype)
        return input if input.dtype is wanted else registry["to"].public(input, wanted)


F: Any = _TensorNamespace()
