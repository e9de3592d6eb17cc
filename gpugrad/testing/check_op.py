"""``check_op``: everything a record promises, checked from its samples."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from gpugrad import dtypes
from gpugrad.devices import Device
from gpugrad.dtypes import DType
from gpugrad.errors import DTypeError, NotSupportedError
from gpugrad.op import Function, Op, registry
from gpugrad.samples import Sample
from gpugrad.testing import checks, derivatives
from gpugrad.testing.calls import Call, claimed_dtypes, key, samples_of

Check = Callable[[Call, Device], None]
_NARROW = (dtypes.float32, dtypes.float16, dtypes.bfloat16)
#: Every check with the dtypes it is run for.
CHECKS: dict[str, tuple[Check, tuple[DType, ...]]] = {
    "result rule": (checks.result_rule, dtypes.ALL),
    "inputs untouched": (checks.inputs_untouched, dtypes.ALL),
    "own memory": (checks.own_memory, dtypes.ALL),
    "in place": (checks.in_place, dtypes.ALL),
    "printed C": (checks.prints_as_c, dtypes.ALL),
    "layouts": (checks.layouts, (dtypes.float64, dtypes.int64, dtypes.bool_)),
    "low precision": (derivatives.low_precision, _NARROW),
    "gradient": (derivatives.gradients, (dtypes.float64,)),
    "kept": (derivatives.keeps_what_is_read, (dtypes.float64,)),
}
_SHOWN = 12


class OpCheckError(AssertionError):
    """A record breaks a promise; the message lists each with its sample and dtype."""


def check_op(record: Op | Function | str, *, device: Any = "cpu",
             dtypes: Iterable[DType] | None = None, samples: Iterable[Sample] | None = None,
             only: Iterable[str] | None = None) -> None:  # fmt: skip
    """Check an op or a plain function of the registry against everything its record promises.

    Result rule, untouched inputs, memory layouts, in-place form, expression, narrow floats, first
    and second derivatives, and what the tape keeps: see ``CHECKS``.

    Args:
        record: the record, or its name.
        device: where to run.
        dtypes: only these of the claimed ones.
        samples: calls to make instead of the record's own.
        only: names of checks to run.

    Raises:
        OpCheckError: listing every broken promise with its sample and dtype.
        KeyError: if no record has that name.
    """
    found = registry.find(record) if isinstance(record, str) else record
    failures = check_form(found)
    chosen = list(samples_of(found) if samples is None else samples)
    if not chosen and found.samples != ():  # an explicit () says: tested by hand
        failures.append("it has no samples: give samples=[Sample(...)]")
    names = list(CHECKS) if only is None else list(only)
    works = False
    for sample in chosen:
        broken: dict[str, list[str]] = {}  # what went wrong, with the dtypes for which it did
        for dtype in _dtypes_of(found, sample, dtypes):
            call = Call(found, sample, dtype)
            refusal = _refusal(call, Device(device))
            works = works or refusal is None
            if refusal is None and found.differentiable:
                call.constant = derivatives.without_gradient(call, Device(device))
            messages = [refusal] if refusal else []
            if refusal is None:
                messages = _run(call, Device(device), names, is_fixed(sample))
            for m in messages:
                broken.setdefault(m, []).append(dtype.name)
        failures += [f"{call!r} {' '.join(d)}: {m}" for m, d in broken.items()]
    if chosen and not works and not failures:
        failures.append("it refuses every dtype of every sample")
    if failures:
        more = f"\n  ... and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
        listed = "".join(f"\n  - {f}" for f in failures[:_SHOWN])
        raise OpCheckError(f"{key(found)} ({found.module}): {len(failures)} failures{listed}{more}")


def is_fixed(sample: Sample) -> bool:
    """Whether the dtypes of a sample's arrays are all named, so that ``dtype`` changes nothing."""
    return all(a.kind != "float" for a in sample.arrays())


def _dtypes_of(record: Op | Function, sample: Sample,
               wanted: Iterable[DType] | None) -> list[DType]:  # fmt: skip
    chosen = claimed_dtypes(record)
    if wanted is not None:
        chosen = [d for d in chosen if d in set(wanted)]
    return chosen[:1] if is_fixed(sample) else chosen


def _refusal(call: Call, device: Device) -> str | None:
    """None if the call works, "" if it refuses the dtype, else what went wrong."""
    try:
        call(call.tensors(device))
    except (DTypeError, NotSupportedError) as error:
        if call.dtype in (dtypes.float64, dtypes.float32) and isinstance(call.record, Op):
            return f"call: {type(error).__name__}: {error}"
        return ""
    except Exception as error:
        return f"call: {type(error).__name__}: {error}"
    return None


def _run(call: Call, device: Device, names: list[str], fixed: bool) -> list[str]:
    failures = []
    for name in names:
        check, wanted = CHECKS[name]
        narrow = check is derivatives.low_precision
        if call.dtype not in wanted and (narrow or not fixed):
            continue
        try:
            check(call, device)
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            failures.append(f"{name}: {kind}{error}")
    return failures


def check_form(record: Op | Function) -> list[str]:
    """What is wrong with a record's texts and public face."""
    wrong = []
    if not record.doc or not record.doc.strip():
        wrong.append("it has no docstring")
    public = record.public
    if not callable(public) or not public.__doc__:
        return [*wrong, "its public function is missing or undocumented"]
    try:
        inspect.signature(public)
    except ValueError:
        wrong.append("its public function has no signature")
    return wrong
