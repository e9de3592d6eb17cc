"""The parameters of a ``__global__`` function, read off CUDA C++ text.

This is no C++ parser: it knows the declarations that kernels have, and simple ``typedef``,
``using`` and ``#define`` of types.  A type that it does not know can be pointed to, unchecked, and
cannot be passed by value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.errors import KernelError

#: C's names of a type, in one spelling each (see ``_canonical``): the NumPy scalar of that width,
#: and the dtypes of tensors that hold it.  There are no unsigned dtypes above 8 bits, so unsigned
#: integers are read from the signed ones' bits; 16-bit floats may be taken as their bits.
_TYPES: dict[str, tuple[Any, tuple[DType, ...]]] = {
    "bool": (np.bool_, (dtypes.bool_,)),
    "char": (np.int8, (dtypes.int8,)),
    "signed char": (np.int8, (dtypes.int8,)),
    "unsigned char": (np.uint8, (dtypes.uint8, dtypes.bool_, *dtypes.EIGHTS)),
    "short": (np.int16, (dtypes.int16,)),
    "unsigned short": (np.uint16, (*dtypes.HALVES, dtypes.int16)),
    "int": (np.int32, (dtypes.int32,)),
    "unsigned int": (np.uint32, (dtypes.int32,)),
    "long long": (np.int64, (dtypes.int64,)),
    "unsigned long long": (np.uint64, (dtypes.int64,)),
    "float": (np.float32, (dtypes.float32,)),
    "double": (np.float64, (dtypes.float64,)),
    "__half": (None, (dtypes.float16,)),
    "__nv_bfloat16": (None, (dtypes.bfloat16,)),
}
#: ``long`` has 64 bits where CUDA's host is Linux.
_ALIASES = {
    "long": "long long", "unsigned long": "unsigned long long", "unsigned": "unsigned int",
    "size_t": "unsigned long long", "ptrdiff_t": "long long", "half": "__half",
    "int8_t": "signed char", "uint8_t": "unsigned char", "int16_t": "short", "int32_t": "int",
    "uint16_t": "unsigned short", "uint32_t": "unsigned int", "int64_t": "long long",
    "uint64_t": "unsigned long long",
}  # fmt: skip
_WORDS = {"signed", "unsigned", "char", "short", "int", "long", "float", "double", "bool"}
_QUALIFIERS = {"const", "volatile", "restrict", "__restrict__", "__restrict", "struct", "register",
               "__grid_constant__"}  # fmt: skip
_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


@dataclass(frozen=True, slots=True)
class CParameter:
    """One parameter of a kernel.

    Attributes:
        text: its declaration.
        pointer: whether it takes a tensor.
        written: whether the kernel may write through the pointer: it is not to ``const``.
        accepted: dtypes of tensors it takes; None if any.
        scalar: the NumPy type that a number is passed as; None for a pointer.
    """

    text: str
    pointer: bool
    written: bool
    accepted: tuple[DType, ...] | None
    scalar: Any

    def __str__(self) -> str:
        return self.text


def parameters(source: str, name: str | None) -> tuple[str, tuple[CParameter, ...]]:
    """A kernel's name and parameters.

    Args:
        source: CUDA C++ text.
        name: the kernel's; None if there is only one.

    Raises:
        KernelError: if there is no such kernel, it is not ``extern "C"``, or has a parameter by
            value of a type that is not known.
    """
    text = _COMMENT.sub(lambda m: m[0] if m[0][0] == '"' else " ", source)
    found = _kernels(text)
    if not found:
        raise KernelError('cuda_kernel: the source has no extern "C" __global__ function')
    if name is None and len(found) > 1:
        raise KernelError(f"cuda_kernel: the source has the kernels {sorted(found)}; name one")
    name = next(iter(found)) if name is None else name
    if name not in found:
        raise KernelError(f"cuda_kernel: no kernel {name!r} in the source; it has {sorted(found)}")
    plain, listed = found[name]
    if not plain:
        raise KernelError(
            f'cuda_kernel: kernel {name} must be declared extern "C" __global__, or the compiler '
            "gives it another name"
        )
    aliases = _named_types(text)
    return name, tuple(_parameter(name, p, aliases) for p in listed)


def _kernels(text: str) -> dict[str, tuple[bool, list[str]]]:
    """By name, whether it is ``extern "C"``, and its parameters' declarations."""
    text = re.sub(r"__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)", " ", text)
    blocks = [(m.end(), _closing(text, m.end() - 1, "{}"))
              for m in re.finditer(r'extern\s*"C"\s*\{', text)]  # fmt: skip
    found: dict[str, tuple[bool, list[str]]] = {}
    pattern = r'(extern\s*"C"\s*)?((?:(?:static|inline|void)\s+)*__global__[\s\w]*?)\b(\w+)\s*\('
    for m in re.finditer(pattern, text):
        end = _closing(text, m.end() - 1, "()")
        plain = bool(m[1]) or any(a <= m.start() < b for a, b in blocks)
        inside = text[m.end() : end].strip()
        listed = [] if inside in ("", "void") else [p.strip() for p in _split(inside)]
        before = found.get(m[3], (False, []))[0]  # a declaration may have said it
        found[m[3]] = (plain or before, listed)
    return found


def _closing(text: str, start: int, pair: str) -> int:
    """Where the bracket that opens at ``start`` closes."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == pair[0]) - (text[i] == pair[1])
        if not depth:
            return i
    return len(text)


def _split(text: str) -> list[str]:
    """At commas outside brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "(<[{") - (char in ")>]}")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _named_types(text: str) -> dict[str, str]:
    """Types that the text gives a name of its own."""
    found = {m[2]: m[1] for m in re.finditer(r"\btypedef\s+([\w\s]+?)\s+(\w+)\s*;", text)}
    found |= {m[1]: m[2] for m in re.finditer(r"\busing\s+(\w+)\s*=\s*([\w\s]+?)\s*;", text)}
    found |= {m[1]: m[2].strip()
              for m in re.finditer(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+([\w \t]+?)[ \t]*$",
                                   text, re.MULTILINE)}  # fmt: skip
    return found


def _canonical(words: list[str], aliases: dict[str, str]) -> str:
    """A type in the spelling of ``_TYPES``; unchanged if it is not known."""
    for _ in range(8):  # names of names
        words = " ".join(aliases.get(w, w) for w in words).split()
    rest = [w for w in words if w not in _QUALIFIERS]
    if len(rest) > 1 and set(rest) <= _WORDS:
        unsigned = "unsigned " if "unsigned" in rest else ""
        kind = ("char" if "char" in rest else "short" if "short" in rest
                else "long long" if "long" in rest else "int")  # fmt: skip
        signed = "signed " if kind == "char" and "signed" in rest else ""
        return f"{unsigned or signed}{kind}"
    text = " ".join(rest)
    text = "int" if text == "signed" else text
    return _ALIASES.get(text, text)


def _parameter(kernel: str, text: str, aliases: dict[str, str]) -> CParameter:
    text = " ".join(text.split())
    declared = text.partition("=")[0].strip()
    pointed, star, rest = declared.partition("*")
    if not star and declared.endswith("]"):
        pointed, star, rest = declared.partition("[")[0], "*", ""
        pointed = " ".join(pointed.split()[:-1])
    words = pointed.split()
    if star:
        element = "pointer" if "*" in rest else _canonical(words, aliases)
        accepted = (dtypes.int64,) if element == "pointer" else _dtypes(element)
        return CParameter(text, True, "const" not in words, accepted, None)
    bare = [w for w in words if w not in _QUALIFIERS]
    if len(bare) > 1:
        bare = bare[:-1] if bare[-1] not in _WORDS else bare
    scalar = _TYPES.get(_canonical(bare, aliases), (None, ()))[0]
    if scalar is None:
        by_value = ", ".join(k for k, v in _TYPES.items() if v[0] is not None)
        raise KernelError(
            f"cuda_kernel: kernel {kernel} has the parameter {text!r}; by value it can have "
            f"{by_value}, and names for them; all else behind a pointer"
        )
    return CParameter(text, False, False, None, scalar)


def _dtypes(element: str) -> tuple[DType, ...] | None:
    """The dtypes of tensors that a pointer to a type takes; those of vectors are their items'."""
    vector = re.fullmatch(r"(u?)(char|short|int|long|longlong|float|double)[1-4]", element)
    if vector:
        kind = {"long": "long long", "longlong": "long long"}.get(vector[2], vector[2])
        element = f"unsigned {kind}" if vector[1] else kind
    return _TYPES[element][1] if element in _TYPES else None
