"""How a script's error is shown: the script's own lines, and which name it wanted of PyTorch's."""

from __future__ import annotations

import os
import re
import runpy
import sys
import traceback
from importlib import metadata
from types import ModuleType, TracebackType

import gpugrad
from gpugrad.compat.names import is_ours, is_theirs, lack, public_name, resolve, theirs
from gpugrad.errors import GpugradError

_PACKAGE = os.path.dirname(os.path.abspath(gpugrad.__file__)) + os.sep
_STARTING = (os.path.join(_PACKAGE, "compat"), os.path.join(_PACKAGE, "cli"))
#: Frames that say nothing: importing, running a module by name, the generated functions of ops.
_MACHINERY = ("<frozen ", "<gpugrad op ", runpy.__file__)


def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that nothing caught (a ``sys.excepthook``).

    Frames that started the script are left out; so are gpugrad's own where the error is the
    script's, that is, one which gpugrad raised on purpose or a name that gpugrad lacks.
    """
    wanted = explain(error)
    whole = traceback.TracebackException(kind, error, trace)
    _prune(whole, script_only=bool(wanted) or isinstance(error, GpugradError))
    print("".join(whole.format()), end="", file=sys.stderr)
    if wanted:
        print(f"\ngpugrad: {wanted}", file=sys.stderr)


def _prune(part: traceback.TracebackException | None, script_only: bool) -> None:
    while part is not None:
        hidden = (_PACKAGE,) if script_only else _STARTING
        frames = [f for f in part.stack if not f.filename.startswith((*hidden, *_MACHINERY))]
        part.stack = traceback.StackSummary.from_list(frames)
        for inner in part.exceptions or ():
            _prune(inner, script_only)
        _prune(part.__context__, script_only)
        part = part.__cause__


def explain(error: BaseException) -> str:
    """``train.py:17: torch.fft: gpugrad has no 'fft'`` for a name that gpugrad lacks, else ""."""
    path, line = _place(error)
    words = _lacking(error) if line else ""
    if not words:
        return ""
    package = _made_for_torch(path)
    note = f" ({package} is built on PyTorch itself, and needs more of it)" if package else ""
    return f"{os.path.relpath(path)}:{line}: {words}{note}"


def _lacking(error: BaseException) -> str:
    match error:
        case ModuleNotFoundError(name=str(name)) if is_theirs(name) or is_ours(name):
            return _of_module(*theirs(name).rpartition(".")[::2])
        case ImportError(name=str(name)) if is_theirs(name) or is_ours(name):
            wanted = re.match(r"cannot import name '(\w+)'", str(error))
            return _of_module(theirs(name), wanted[1]) if wanted else ""
        case AttributeError(name=str(name), obj=ModuleType() as module):
            return _of_module(theirs(module.__name__), name) if is_ours(module.__name__) else ""
        case AttributeError(name=str(name), obj=owner) if owner is not None:
            kind = owner if isinstance(owner, type) else type(owner)
            if is_ours(kind.__module__):
                return lack(owner, name, f"{public_name(kind)}.{name}")
    return ""


def _of_module(module: str, name: str) -> str:
    try:
        return lack(resolve(module), name, f"{module}.{name}")
    except LookupError as missing:  # the module itself is what is missing
        return str(missing)


def _place(error: BaseException) -> tuple[str, int]:
    """File and line that asked for the name; ("", 0) if that was gpugrad itself."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        path = frame.f_code.co_filename
        if not path.startswith((_PACKAGE, *_MACHINERY)):
            return path, line
        asking = path.startswith(_PACKAGE) and not path.startswith(_STARTING)
        if asking and frame.f_code.co_name.strip("_") != "getattr":
            break
    return "", 0


def _made_for_torch(path: str) -> str:
    """The installed package whose file this is, if it says that it requires PyTorch; else ""."""
    for folder in map(os.path.abspath, sys.path):
        inside = os.path.relpath(path, folder)
        if os.path.basename(folder) == "site-packages" and not inside.startswith(os.pardir):
            top = inside.split(os.sep)[0].removesuffix(".py")
            for name in metadata.packages_distributions().get(top, ()):
                needs = metadata.requires(name) or ()
                if any(re.match(r"torch\b(?![-.])", n) and "extra ==" not in n for n in needs):
                    return top
    return ""
