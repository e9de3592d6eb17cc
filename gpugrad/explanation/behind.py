"""What computes an op on a CUDA device where no generated kernel does."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from typing import Any

from gpugrad import backends
from gpugrad.backends.nvidia.products import Products

_ADDITIONS = "gpugrad.backends.additions."
#: Libraries and hand-written kernels behind the functions of a file of ``backends/additions/``.
_BEHIND = {"attention": "cuDNN", "convolution": "cuDNN", "channels": "kernels/channels.cu",
           "indexing": "kernels/segments.cu", "pooling": "kernels/pooling.cu",
           "random": "kernels/philox.cu"}  # fmt: skip


def runner(*functions: Any) -> str:
    """What computes ops' functions or rules on a CUDA device, by what they call of ``xp``."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(n for f in functions for n in _called(f)):
        module = getattr(getattr(backends.NUMPY.xp, name, None), "__module__", None) or ""
        file = module.removeprefix(_ADDITIONS) if module.startswith(_ADDITIONS) else ""
        by = "cuBLASLt" if name in vars(Products) else _BEHIND.get(file, "array code")
        found.setdefault(by, []).append(name)
    return "; ".join(f"{by} ({', '.join(names)})" for by, names in found.items()) or "array code"


def _called(function: Any) -> Iterator[str]:
    """The attributes of ``xp`` that a function names."""
    before: Any = None
    for instruction in dis.get_instructions(function) if hasattr(function, "__code__") else ():
        loaded = before if isinstance(before, tuple) else (before,)
        if loaded[-1] == "xp" and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            yield str(instruction.argval)
        before = instruction.argval if instruction.opname.startswith("LOAD_FAST") else None
