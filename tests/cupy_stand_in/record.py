"""Writes ``api.json``: what the installed CuPy offers.  Needs CuPy, but no GPU.

    python -P tests/cupy_stand_in/record.py

``tests/unit/test_cupy_names.py`` compares the file with CuPy wherever that is installed.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("api.json")


def parameters(function: Any) -> str | None:
    """Parameters as text without annotations; None where CuPy does not tell (compiled code)."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    plain = []
    for p in found:
        default = p.default
        if default is not p.empty and not isinstance(default, int | float | str | None | tuple):
            default = None
        plain.append(p.replace(annotation=p.empty, default=default))
    return str(inspect.Signature(plain))


def offered(cupy: Any) -> dict[str, Any]:
    """Public functions with their parameters, ufuncs with their loops, names of array members."""
    found: dict[str, Any] = {"version": cupy.__version__, "functions": {}, "ufuncs": {}}
    for prefix, module in (("", cupy), ("linalg.", cupy.linalg)):
        for name in dir(module):
            value = getattr(module, name, None)
            if name.startswith("_") or isinstance(value, type) or not callable(value):
                continue
            if isinstance(value, cupy.ufunc):
                found["ufuncs"][prefix + name] = " ".join(value.types)
            else:
                found["functions"][prefix + name] = parameters(value)
    found["ufuncs"]["where"] = " ".join(cupy._sorting.search._where_ufunc.types)
    for name, kind in (("Stream", cupy.cuda.Stream), ("Event", cupy.cuda.Event),
                       ("MemoryPool", cupy.cuda.MemoryPool)):  # fmt: skip
        found[name] = " ".join(n for n in dir(kind) if not n.startswith("_"))
    for name in ("driver", "function"):
        module = getattr(cupy.cuda, name)
        found[name] = " ".join(n for n in dir(module) if not n.startswith("_"))
    found["cuda"] = " ".join(n for n in dir(cupy.cuda) if not n.startswith("_"))
    found["array"] = " ".join(n for n in dir(cupy.ndarray) if not n.startswith("_"))
    return found


if __name__ == "__main__":
    import cupy

    FILE.write_text(json.dumps(offered(cupy), indent=0, sort_keys=True) + "\n")
