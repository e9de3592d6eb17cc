"""Type stubs from the records: what a type checker sees of names that are made at run time.

``write(folder)`` puts ``__init__.pyi``, ``methods.pyi`` and one file per namespace next to their
modules.  They are generated when a wheel is built and before types are checked, never committed.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from gpugrad.op import REQUIRED, Function, Op, registry
from gpugrad.publish import REFLECTED, homes
from gpugrad.signature import Parameter, parameters

_HEAD = """import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from gpugrad.devices import Device
from gpugrad.dtypes import DType
from gpugrad.random import Generator as Generator
from gpugrad.tensor import Tensor as Tensor

"""
#: What annotations of records and functions mean to a caller; anything else is shown as Any.
_TYPES = {
    "Dim": "builtins.int", "NewDim": "builtins.int",
    "Dim | None": "builtins.int | None",
    "Dims": "builtins.int | Sequence[builtins.int] | None",
    "Shape": "builtins.int | Sequence[builtins.int]",
    "Int": "builtins.int",
    "Ints": "builtins.int | Sequence[builtins.int]",
    "Ints | None": "builtins.int | Sequence[builtins.int] | None",
}  # fmt: skip
_BUILTINS = ("int", "float", "bool", "str", "tuple", "list", "dict", "slice", "type", "object")
_KNOWN = {*_BUILTINS, "None", "Any", "Tensor", "Sequence", "Callable", "Iterable", "Mapping",
          "Generator", "Device", "DType"}  # fmt: skip
_NUMBER = "Tensor | builtins.float"


def _type(annotation: Any) -> str:
    """A caller's view of an annotation."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "Any")
    if text in _TYPES:
        return _TYPES[text]
    if not set(re.findall(r"[A-Za-z_][\w.]*", text)) <= _KNOWN:
        return "Any"
    # Names of builtins are dtypes or methods in the namespaces that the stubs describe.
    return re.sub(rf"\b({'|'.join(_BUILTINS)})\b", r"builtins.\1", text)


def _op_parameter(op: Op, p: Parameter) -> str:
    if p.kind == "array":
        kind = _NUMBER if op.elementwise else "Tensor"
        if p.default is not REQUIRED:
            kind += " | None"
    elif p.kind == "arrays":
        kind = "Sequence[Tensor]"
    elif p.kind == "ints" and not p.keyword_only:
        return f"*{p.name}: {_TYPES['Shape']}"
    else:
        kind = _type(op.annotations.get(p.name, "Any"))
    return f"{p.name}: {kind}" + ("" if p.default is REQUIRED else " = ...")


def _op_signature(op: Op, method: bool) -> tuple[str, str]:
    params = parameters(op)
    parts: list[str] = []
    starred = False
    for i, p in enumerate(params):
        if method and i == 0:
            parts.append("self")
            continue
        if p.keyword_only and not starred:
            parts.append("*")
            starred = True
        text = _op_parameter(op, p)
        starred = starred or text.startswith("*")
        parts.append(text)
    parts += ([] if starred else ["*"]) + ["out: Any = ..."]
    if op.outputs:
        returns = f"_{op.name}_result"
    elif op.annotations.get("return", "").startswith("tuple"):
        returns = "builtins.tuple[Tensor, ...]"
    else:
        returns = "Tensor"
    return ", ".join(parts), returns


def _function_signature(record: Function, method: bool) -> tuple[str, str]:
    parts: list[str] = []
    starred = False
    kinds = inspect.Parameter
    for i, p in enumerate(inspect.signature(record.fn).parameters.values()):
        if method and i == 0:
            parts.append("*args: Any" if p.kind is kinds.VAR_POSITIONAL else "self")
            starred = p.kind is kinds.VAR_POSITIONAL
            continue
        if p.kind is kinds.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        star = (
            "*" if p.kind is kinds.VAR_POSITIONAL else "**" if p.kind is kinds.VAR_KEYWORD else ""
        )
        starred = starred or star == "*"
        default = "" if p.default is kinds.empty else " = ..."
        note = "Any" if p.annotation is kinds.empty else _type(p.annotation)
        parts.append(f"{star}{p.name}: {note}{default}")
    returns = _type(record.fn.__annotations__.get("return", "Any"))
    return ", ".join(parts), returns


def _signature(record: Op | Function, method: bool) -> tuple[str, str]:
    if isinstance(record, Op):
        return _op_signature(record, method)
    return _function_signature(record, method)


def _results(records: list[Op | Function]) -> list[str]:
    """Named tuples of ops with several outputs."""
    lines: list[str] = []
    for op in dict.fromkeys(r for r in records if isinstance(r, Op) and r.outputs):
        fields = "".join(f"    {o}: Tensor\n" for o in op.outputs)
        lines.append(f"class _{op.name}_result(NamedTuple):\n{fields}")
    return lines


_SPECIAL = {"__getitem__": "key: Any", "__setitem__": "key: Any, value: Any"}


def _names(record: Op | Function) -> list[tuple[str, str]]:
    """(home, name) of everything a record is called."""
    pairs = []
    for alias in (record.name, *record.aliases):
        home, _, name = alias.rpartition(".")
        pairs.append((home or record.home, name))
    return pairs


def functions(home: str, spelt: str = "") -> str:
    """The stub text of one namespace's functions, without names that ``spelt`` exports."""
    taken = set(re.findall(r"(?: as |^)(\w+)(?:$| = )", spelt, re.MULTILINE))
    named = [(r, h, n) for r in registry for h, n in dict.fromkeys(_names(r))]
    chosen = [(r, n) for r, h, n in named if h == home and n not in taken]
    lines = _results([r for r, _ in chosen])
    for record, name in chosen:
        arguments, returns = _signature(record, False)
        lines.append(f"def {name}({arguments}) -> {returns}: ...")
    for name in sorted(homes[home].keys() - {n for _, n in chosen} - taken):
        # In-place functions, and classes such as LongTensor.
        call = "def {}(input: Tensor, *args: Any, **kwargs: Any) -> Tensor: ..."
        lines.append(call.format(name) if name.endswith("_") else f"{name}: Any")
    return "\n".join(lines) + "\n"


def methods() -> str:
    """The stub text of ``TensorMethods``."""
    chosen = [(r, n) for r in registry for h, n in _names(r) if r.method and h == r.home]
    lines = [*_results([r for r, _ in chosen]), "class TensorMethods:"]
    for record, name in chosen:
        arguments, returns = _signature(record, True)
        lines.append(f"    def {name}({arguments}) -> {returns}: ...")
        if record.inplace:
            lines.append(f"    def {name}_({arguments}) -> Tensor: ...")
    for record in registry:
        if record.operator:
            lines += _operators(record)
    return "\n".join(lines) + "\n"


def _operators(record: Op | Function) -> list[str]:
    name = record.operator
    if name in _SPECIAL:
        returns = "Tensor" if "get" in name else "None"
        return [f"    def {name}(self, {_SPECIAL[name]}) -> {returns}: ..."]
    one = isinstance(record, Op) and len(record.arrays) == 1
    ignore = "  # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
    if one or name in ("__neg__", "__abs__", "__invert__", "__pos__"):
        return [f"    def {name}(self) -> Tensor: ..."]
    lines = [f"    def {name}(self, other: {_NUMBER}) -> Tensor: ...{ignore}"]
    if name in REFLECTED:
        bare = name.strip("_")
        lines += [f"    def __{k}{bare}__(self, other: {_NUMBER}) -> Tensor: ..." for k in "ri"]
    return lines


def _exports(package: Path) -> str:
    """The re-exports that ``gpugrad/__init__.py`` spells out.

    To a checker a stub hands on what it imports under its own name, and nothing else it imports
    (PEP 484); a name that is another's here, as ``device`` is ``Device``, is assigned.
    """
    lines: list[str] = []
    for node in ast.walk(ast.parse((package / "__init__.py").read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            name = alias.asname or "_"
            if not name.startswith("_"):
                inner = name if name == alias.name else f"_{name}"
                lines.append(f"from {node.module} import {alias.name} as {inner}")
                lines += [f"{name} = {inner}"] * (inner != name)
    return "\n".join([*lines, "__version__: str", ""])


def write(folder: Path) -> list[Path]:
    """Write all stubs below ``folder`` (a copy of the package); return their paths."""
    written: list[Path] = []

    def put(path: Path, text: str) -> None:
        path.write_text("# Generated by gpugrad.stubs from the op records; do not edit.\n" + text)
        written.append(path)

    exports = _exports(Path(__file__).parent)
    put(folder / "__init__.pyi", _HEAD + exports + functions("", exports))
    put(folder / "methods.pyi", _HEAD + methods())
    for home in homes:
        module = folder / (home.replace(".", "/") + ".py")
        # A module with code of its own is its own stub.
        if home and module.exists() and "= namespace(" in module.read_text():
            put(module.with_suffix(".pyi"), _HEAD + functions(home))
    return written


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for path in write(target):
        print(path)
