"""Expressions as C++: statements that a host compiler and NVRTC read alike.

``body`` prints the arithmetic of one element, ``source`` puts it into a loop over arrays.  A frame
for a GPU wraps the same body; the helper functions that spellings call are CUDA C++ of
``kernels/elementwise.cuh``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.backends.nvidia.text import text as file_text
from gpugrad.dtypes import DType
from gpugrad.errors import NotSupportedError
from gpugrad.expr import Expr, schedule

#: C++ types that have the same width on every target (``long`` has not).
TYPES = {
    dtypes.float64: "double", dtypes.float32: "float", dtypes.int64: "long long",
    dtypes.int32: "int", dtypes.int16: "short", dtypes.int8: "signed char",
    dtypes.uint8: "unsigned char", dtypes.bool_: "bool",
}  # fmt: skip
_KINDS = {dtypes.BOOL: "b", dtypes.INTEGER: "i", dtypes.FLOAT: "f"}
#: Makes the helpers plain C++ for a compiler of the host.
HOST_PRELUDE = """\
#include <cmath>
#define __device__
#define __forceinline__ inline
#define __noinline__
using namespace std;
"""


def helpers() -> str:
    """The text of ``kernels/elementwise.cuh``."""
    return file_text("elementwise.cuh")


def type_name(dtype: DType) -> str:
    """The C++ type of a dtype.

    Raises:
        NotSupportedError: for 16-bit floats, which kernels load as float32.
    """
    if dtype not in TYPES:
        raise NotSupportedError(
            f"{dtype.name} has no C++ type here: kernels compute it in float32 and cast at the ends"
        )
    return TYPES[dtype]


def literal(value: Any, dtype: DType) -> str:
    """A constant of a dtype, exactly; integers wrap as they do in a cast."""
    if dtype is dtypes.bool_:
        return "true" if value else "false"
    if dtype.is_floating_point:
        suffix = "f" if dtype is dtypes.float32 else ""
        with np.errstate(all="ignore"):
            number = dtype.np.type(value)
        if not math.isfinite(number):
            name = "GG_NAN" if math.isnan(number) else "GG_INF" if number > 0 else "(-GG_INF)"
            return f"({TYPES[dtype]}){name}"
        text = str(number) + suffix  # NumPy prints the shortest text that reads back as the same
        return f"({text})" if text.startswith("-") else text
    bits = 8 * dtype.itemsize
    number = int(value) & (1 << bits) - 1
    if dtype.is_signed and number >> bits - 1:
        number -= 1 << bits
    if dtype is dtypes.int64 or number == -(1 << 31):  # the least one is no literal by itself
        return f"({number + 1}LL - 1)" if number < 0 else f"{number}LL"
    return str(number) if dtype is dtypes.int32 and number >= 0 else f"({TYPES[dtype]})({number})"


def body(outputs: Sequence[Expr], indent: str = "    ") -> tuple[str, list[str]]:
    """Single assignments over inputs ``a0``, ``a1``, ..., and the names of the results."""
    order, results = schedule(outputs)
    names: dict[int, str] = {}
    lines = []
    for node in order:
        names[id(node)] = f"v{len(names)}"
        text = spell(node, lambda x: names.get(id(x)) or f"a{x.index}")
        lines.append(f"{indent}const {type_name(node.dtype)} {names[id(node)]} = {text};\n")
    return "".join(lines), [names.get(id(x)) or f"a{x.index}" for x in results]


def spell(node: Expr, name: Callable[[Expr], str],
          literal: Callable[[Any, DType], str] = literal) -> str:  # fmt: skip
    """One node as a C++ expression, by the spelling that its record gives.

    Args:
        node: the node.
        name: what a value is called.
        literal: how a constant of a dtype is written.
    """
    op = node.op
    assert op is not None
    dtype = computed_in(node)
    kind = _KINDS[dtype.category]
    c = op.c(node.args, kind) if callable(op.c) else op.c
    if isinstance(c, dict):
        c = c[kind]
    texts = [
        name(a) if isinstance(a, Expr)
        else literal(a, dtypes.bool_ if op.arrays[i] in op.indices else dtype)
        for i, a in enumerate(node.args)
    ]  # fmt: skip
    suffix = "f" if dtype is dtypes.float32 else ""
    settings = {k: v if isinstance(v, DType) else literal(v, dtype)
                for k, v in node.settings.items() if f"{{{k}}}" in c}  # fmt: skip
    return str(c).format(*texts, f=suffix, T=type_name(node.dtype), **settings)


def computed_in(node: Expr) -> DType:
    """The dtype of the operands, which decides between spellings (that of the result need not)."""
    op = node.op
    assert op is not None
    for i, a in enumerate(node.args):
        if isinstance(a, Expr) and op.arrays[i] not in op.indices:
            return a.dtype
    return node.dtype


def source(name: str, inputs: Sequence[DType], outputs: Sequence[Expr]) -> str:
    """A function ``void name(long long n, const T0* x0, ..., U0* y0, ...)`` over ``n`` elements.

    Compile it after ``HOST_PRELUDE`` and ``helpers()``, with signed overflow wrapping
    (``-fwrapv``) and without contraction, so that it rounds as the array code does.
    """
    pointers = [f"const {type_name(t)}* x{i}" for i, t in enumerate(inputs)]
    pointers += [f"{type_name(o.dtype)}* y{i}" for i, o in enumerate(outputs)]
    loads = "".join(f"        const {type_name(t)} a{i} = x{i}[i];\n" for i, t in enumerate(inputs))
    statements, results = body(outputs, " " * 8)
    stores = "".join(f"        y{i}[i] = {r};\n" for i, r in enumerate(results))
    return (
        f'extern "C" void {name}(long long n, {", ".join(pointers)}) {{\n'
        f"    for (long long i = 0; i < n; ++i) {{\n{loads}{statements}{stores}    }}\n}}\n"
    )
