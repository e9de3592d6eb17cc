"""The CUDA C++ files of ``kernels/`` as text."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

_CHECKOUT = Path(__file__).parents[3] / "kernels"
#: How a ``.cu`` file's first line begins that names the files to compile before it.
_NEEDS = "// needs: "


@cache
def text(name: str) -> str:
    """The text of a kernel file, from the installed package or from the checkout.

    A ``.cu`` file comes after the files that its first line names (``// needs: a.cuh b.cuh``), so
    that it compiles as it is.

    Args:
        name: the file, for example ``"elementwise.cuh"``.  Join several by adding their texts.

    Raises:
        FileNotFoundError: if there is none of that name; it lists those that there are.
    """
    own = _read(name)
    if not name.endswith(".cu") or not own.startswith(_NEEDS):
        return own
    needed = own.partition("\n")[0].removeprefix(_NEEDS).split()
    return "".join(map(_read, [*needed, name]))


def names() -> list[str]:
    """The kernel files that there are, sorted."""
    if find_spec("gpugrad.kernels") is not None:
        from gpugrad import kernels

        return list(kernels.names())
    return sorted(p.name for p in _CHECKOUT.glob("*") if p.suffix in (".cu", ".cuh"))


def _read(name: str) -> str:
    """The text of one file."""
    if find_spec("gpugrad.kernels") is not None:
        from gpugrad.kernels import source

        return str(source(name))
    known = names()
    if name not in known:
        raise FileNotFoundError(f"no kernel file {name!r}; there is {', '.join(known) or 'none'}")
    return (_CHECKOUT / name).read_text(encoding="utf-8")
