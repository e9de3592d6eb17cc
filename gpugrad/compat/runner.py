"""Running a program as Python runs it, with ``torch`` meaning gpugrad."""

from __future__ import annotations

import builtins
import importlib.util
import io
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

from gpugrad.compat import report
from gpugrad.compat.alias import install
from gpugrad.errors import SettingError

INTERRUPTED = 130


def run_file(path: str, args: Sequence[str], whole_trace: bool = False) -> int:
    """Run a script, or a folder or zip file with a ``__main__.py``; returns the exit status.

    As under ``python PATH ARGS``: ``sys.argv``, ``sys.path[0]``, ``__name__``, ``__file__``, and
    ``__main__`` in ``sys.modules``, where it stays for threads and exit handlers.

    Args:
        path: the script.
        args: what follows it.
        whole_trace: show gpugrad's own frames in the traceback of every error.

    Raises:
        OSError: the script is not there or cannot be read.
        SettingError: the folder has no ``__main__.py``.
    """
    sys.argv[:] = [path, *args]
    if os.path.isdir(path) and not os.path.exists(os.path.join(path, "__main__.py")):
        raise SettingError(f"run: {path} is a folder without a __main__.py")
    if os.path.isdir(path) or _is_zip(path):  # also what says that it cannot be read
        return _guarded(lambda: runpy.run_path(path, run_name="__main__"), whole_trace)
    _start_path_with(os.path.dirname(os.path.realpath(path)))
    return _guarded(lambda: _execute(os.path.abspath(path)), whole_trace)


def run_module(name: str, args: Sequence[str], whole_trace: bool = False) -> int:
    """Run a module by its dotted name, as under ``python -m NAME ARGS``.

    Raises:
        SettingError: there is no such module.
    """
    sys.argv[:] = [name, *args]
    _start_path_with(os.getcwd())
    install()  # first: looking for a.b.c imports a and a.b
    if not _exists(name):
        raise SettingError(f"run: no module named {name!r}")
    return _guarded(
        lambda: runpy.run_module(name, run_name="__main__", alter_sys=True), whole_trace
    )


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except Exception as error:  # of a package on the way: it comes again, and is shown, in the run
        own = isinstance(error, ModuleNotFoundError) and name.startswith(error.name or ".")
        return not own


def _start_path_with(folder: str) -> None:
    if not sys.flags.safe_path:  # under -P there is no such entry to replace
        sys.path[0] = folder


def _is_zip(path: str) -> bool:
    with io.open_code(path) as file:
        return file.read(4) == b"PK\3\4"


def _execute(path: str) -> None:
    main = ModuleType("__main__")
    main.__file__ = path
    main.__loader__ = SourceFileLoader("__main__", path)
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    exec(code, main.__dict__)


def _guarded(program: Any, whole_trace: bool) -> int:
    """Run it; the status that Python would end with.  ``SystemExit`` passes through."""
    install()
    if not whole_trace:
        sys.excepthook = report.show
    try:
        program()
    except SystemExit:
        raise
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)  # the script may have put its own
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    return 0
