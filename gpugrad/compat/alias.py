"""``import torch`` means gpugrad: the same module objects under PyTorch's names.

A finder that stands first on ``sys.meta_path`` answers for ``torch`` and everything below it, so
an installed PyTorch is never looked at.  Nothing else of Python is touched, but for the worker
processes that ``multiprocessing`` starts anew: they import the script before any code of ours runs,
so what they are sent carries the order to do the same there (``_in_workers``).
"""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from multiprocessing import spawn
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import gpugrad
from gpugrad.compat.names import THEIRS, Missing, is_theirs, resolve
from gpugrad.errors import NotSupportedError

#: The PyTorch release whose interface gpugrad follows and is compared with.
INTERFACE = "2.13.0"
_BOOTSTRAP = Path(__file__).with_name("worker.py")


def install() -> None:
    """Make ``torch`` and every submodule mean gpugrad for the rest of this process.

    ``torch.__version__`` says which PyTorch's interface this is, e.g. ``2.13.0+gpugrad.0.1.0``.
    Worker processes of ``multiprocessing`` do the same.  Calling it again changes nothing.

    Raises:
        NotSupportedError: PyTorch itself is imported already; what holds it would not change.
    """
    if sys.modules.get(THEIRS) is gpugrad:
        return
    if THEIRS in sys.modules:
        raise NotSupportedError(
            "install: PyTorch is imported already, and two meanings of `torch` in one process "
            "would mix; call it before anything imports torch"
        )
    sys.meta_path.insert(0, _Finder())
    gpugrad.__version__ = Version(f"{INTERFACE}+gpugrad.{gpugrad.__version__}")
    sys.modules[THEIRS] = gpugrad
    _in_workers()


class Version(str):
    """Compares by its numbers, with text or a tuple of numbers: "2.13.0" is later than "2.9"."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str | tuple) and _release(self) == _release(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: str | tuple[int, ...]) -> bool:
        return _release(self) < _release(other)

    def __le__(self, other: str | tuple[int, ...]) -> bool:
        return _release(self) <= _release(other)

    def __gt__(self, other: str | tuple[int, ...]) -> bool:
        return _release(self) > _release(other)

    def __ge__(self, other: str | tuple[int, ...]) -> bool:
        return _release(self) >= _release(other)


def _release(version: object) -> tuple[int, ...]:
    """Its leading numbers without trailing zeros: (2, 13) for "2.13.0+cpu"."""
    if not isinstance(version, tuple):
        found = re.match(r"v?(\d+(?:\.\d+)*)", str(version))
        version = tuple(map(int, found[1].split("."))) if found else ()
    while version and version[-1] == 0:
        version = version[:-1]
    return version


class _Finder(MetaPathFinder):
    """Finds ``torch.x.y`` where gpugrad has a module ``x.y``."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not is_theirs(name):
            return None
        try:
            module = resolve(name)
            reason = f"{name}: in gpugrad this is no module, but {module!r}"
        except Missing as missing:
            module, reason = None, str(missing)
        if isinstance(module, ModuleType):
            return ModuleSpec(name, _Loader(module), is_package=hasattr(module, "__path__"))
        _refuse(reason, name)
        return None


def _refuse(reason: str, name: str) -> None:
    """Raise, rather than let a finder that looks into gpugrad's folder load the file again."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and "importlib" in frame.f_globals.get("__name__", ""):
        if frame.f_globals["__name__"] == "importlib.util":
            return  # `importlib.util.find_spec` asks whether there is one
        frame = frame.f_back
    raise ModuleNotFoundError(reason, name=name)


class _Loader(Loader):
    """Hands out a module that is loaded already, unchanged."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has just put the alias's there


class _Order:
    """Something that runs worker.py where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return runpy.run_path, (str(_BOOTSTRAP),)


def _in_workers() -> None:
    """Send the order along with what a spawned process (or a fork server's) reads first."""
    prepare = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {"gpugrad": _Order(), **prepare(name)}

    spawn.get_preparation_data = get_preparation_data
