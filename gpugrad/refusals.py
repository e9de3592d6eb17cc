"""The last word of a call that failed: one exception of ours that begins with the op's name.

Ops and functions check what they can say best themselves.  Whatever else goes wrong inside them (an
exception of an array library, an error of an op that they are made of) passes through here on its
way out; nothing here runs in a call that succeeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from gpugrad.errors import (
    ArgumentError,
    GpugradError,
    IndexingError,
    LinAlgError,
    OutOfMemoryError,
    SettingError,
    ShapeError,
)
from gpugrad.op import Function, Op, registry
from gpugrad.samples import A
from gpugrad.signature import NUMBERS, function_text
from gpugrad.spec import Spec, result_of
from gpugrad.tensor import Tensor

#: What a library raises for bad input, and our class for it; anything else is a fault of the code.
_CLASSES: tuple[tuple[type[Exception], type[GpugradError]], ...] = (
    (np.linalg.LinAlgError, LinAlgError),
    (MemoryError, OutOfMemoryError),
    (TypeError, ArgumentError),
    (AttributeError, ArgumentError),
    (IndexError, IndexingError),
    (KeyError, SettingError),
    (OverflowError, SettingError),
    (ZeroDivisionError, SettingError),
    (RecursionError, SettingError),
    (ValueError, ShapeError),
    (AssertionError, ShapeError),
)
_LIBRARIES = {"gpugrad", "numpy", "cupy", "ml_dtypes", "numba", "contextlib", "functools"}


def refuse_op(op: Op, args: tuple[Any, ...], settings: dict[str, Any],
              error: Exception) -> NoReturn:  # fmt: skip
    """Raise what a failed op has to say: the words of its shape check, or the library's."""
    try:
        if isinstance(error, GpugradError):
            raise named(op.name, error)
        kind = _kind(error, op.module)
        if kind is None:
            raise error
        specs = tuple(
            Spec(tuple(a.shape), a.dtype) if isinstance(a, Tensor)
            else a.item() if isinstance(a, np.generic) else a
            for a in args
        )  # fmt: skip
        try:
            result_of(op, specs, settings)
        except GpugradError as known:
            raise named(op.name, known) from None
        except Exception:  # the rule fails as the op did
            pass
        shown = [brief(a) for a in args] + [f"{k}={v!r}" for k, v in settings.items()]
        raise kind(f"{op.name}: {_words(error)} (given {', '.join(shown)})") from error
    finally:
        del error  # its traceback names this frame: a cycle that would keep the tensors alive


def refuse_function(record: Function, args: tuple[Any, ...], kwargs: dict[str, Any],
                    error: Exception) -> NoReturn:  # fmt: skip
    """Raise what a failed plain function has to say."""
    try:
        trace = error.__traceback__
        if type(error) is TypeError and trace is not None and trace.tb_next is None:
            # Python could not make the call.
            text = re.sub(r"^[\w.<>]*\(\) ", "", str(error))
            raise ArgumentError(f"{record.name}: {text}; it is {function_text(record)}") from None
        kind = type(error) if isinstance(error, GpugradError) else _kind(error, record.module)
        if kind is None:
            raise error
        if isinstance(error, GpugradError) and _names(record.name, str(error)):
            raise error
        foreign = not isinstance(error, GpugradError)
        if kind is ArgumentError or (foreign and any(isinstance(a, np.ndarray) for a in args)):
            for name, value in _not_tensors(record, args, kwargs, error):
                raise ArgumentError(f"{record.name}: {name} must be {_wanted(value)}") from error
        if isinstance(error, GpugradError):
            raise named(record.name, error)
        if many := re.search(r"'(\w+)' object is not (?:iterable|subscriptable)", str(error)):
            for name, value in _by_name(record, args, kwargs):
                if type(value).__name__ == many[1]:
                    text = f"{record.name}: {name} must be a sequence, got {brief(value)}"
                    raise ArgumentError(text) from error
        shown = [brief(a) for a in args] + [f"{k}={brief(v)}" for k, v in kwargs.items()]
        raise kind(f"{record.name}: {_words(error)} (given {', '.join(shown)})") from error
    finally:
        del error  # its traceback names this frame: a cycle that would keep the tensors alive


def named(name: str, error: GpugradError) -> GpugradError:
    """The same error, with the name of the op that was called in front if it is not there yet."""
    text = str(error)
    if _names(name, text):
        return error
    head, _, rest = text.partition(": ")
    part = registry.ops.get(f"_ops.{head}") or registry.ops.get(head)
    private = part is not None and part.torch in ("", name) and head not in registry.functions
    text = rest if private else text
    error.args = (text if _names(name, text) else f"{name}: {text}",)
    return error


def _names(name: str, text: str) -> bool:
    """Whether a message begins with an op's name (``x[...]`` is that of indexing)."""
    head = text.partition(":")[0]
    word = rf"(?<![A-Za-z0-9]){re.escape(name)}_?(?![A-Za-z0-9])"
    return head.startswith("x[") or re.search(word, head) is not None


def brief(value: Any) -> str:
    """An argument in few words: a tensor's shape and dtype, anything else as Python shows it."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {value.dtype.name}"
    if isinstance(value, np.ndarray):
        return f"ndarray {value.shape} {value.dtype}"
    if type(value) in (list, tuple):
        inside = ", ".join(map(brief, value[:4])) + (", ..." if len(value) > 4 else "")
        return f"[{inside}]" if type(value) is list else f"({inside})"
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(error: Exception, module: str) -> type[GpugradError] | None:
    """Our class for a library's exception; None if it is not for us to translate.

    What comes out of the user's own code (a hook, a function given to ``map_``) is the user's.
    """
    if isinstance(error, AttributeError) and (
        isinstance(error.obj, Tensor) or type(error.obj).__name__.endswith("Namespace")
    ):
        return None  # an op that asks for a part that is not there is a fault of the op
    kind = next((ours for theirs, ours in _CLASSES if isinstance(error, theirs)), None)
    trace = error.__traceback__
    trace = None if trace is None else trace.tb_next  # the first frame is the one that caught it
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__") or "gpugrad"
        if name != module and name.partition(".")[0] not in _LIBRARIES:
            return None
        trace = trace.tb_next
    return kind


def _words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no such choice: {error}"
    return str(error) or type(error).__name__


def _wanted(value: Any) -> str:
    many = type(value) in (list, tuple) and any(isinstance(v, Tensor) for v in value)
    hint = "; use gpugrad.from_numpy" if isinstance(value, np.ndarray) else ""
    return f"tensors, got {brief(value)}" if many else f"a Tensor, got {brief(value)}{hint}"


def _not_tensors(record: Function, args: tuple[Any, ...], kwargs: dict[str, Any],
                 error: Exception) -> Iterator[tuple[str, Any]]:  # fmt: skip
    """Arguments that are no tensors where the record's samples have some."""
    tensors = _tensor_parameters(record)
    for name, value in _by_name(record, args, kwargs):
        if name not in tensors or isinstance(value, Tensor):
            continue
        if type(value) in (list, tuple) and all(isinstance(v, Tensor) for v in value):
            continue
        if isinstance(value, NUMBERS) or value is None:
            blamed = f"'{type(value).__name__}'" in str(error) or "must be a Tensor" in str(error)
            if not blamed:
                continue
        yield name, value


def _by_name(record: Function, args: Any, kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    code = record.fn.__code__
    names = code.co_varnames[: code.co_argcount]
    return [*zip(names, args, strict=False), *kwargs.items()]


def _tensor_parameters(record: Function) -> set[str]:
    samples = record.samples() if callable(record.samples) else record.samples
    found = {n for n, a in record.fn.__annotations__.items() if str(a).startswith("Tensor")}
    for sample in samples or ():
        given = _by_name(record, sample.args, sample.kwargs)
        found |= {n for n, v in given if _holds_array(v)}
    return found


def _holds_array(value: Any) -> bool:
    many = isinstance(value, list | tuple)
    return any(map(_holds_array, value)) if many else isinstance(value, A)
