"""``repr`` of tensors, as PyTorch writes it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpugrad import backends, dtypes
from gpugrad.config import PrintOptions, config
from gpugrad.devices import CPU
from gpugrad.errors import SettingError
from gpugrad.spec import Spec


def set_printoptions(precision: int | None = None, threshold: int | None = None,
                     edgeitems: int | None = None, linewidth: int | None = None,
                     profile: str | None = None, sci_mode: bool | None = None) -> None:  # fmt: skip
    """Set how tensors are printed.

    Args:
        precision: digits behind the point (4).
        threshold: number of elements from which a tensor is summarised (1000).
        edgeitems: elements shown at each end of a summarised dimension (3).
        linewidth: characters per line (80).
        profile: ``default``, ``short`` or ``full``; the other arguments override it.
        sci_mode: scientific notation: True, False, or None to let the values decide.
    """
    options = config.printing
    if profile is not None:
        presets = {
            "default": PrintOptions(),
            "short": PrintOptions(precision=2, edgeitems=2),
            "full": PrintOptions(threshold=math.inf),  # type: ignore[arg-type]
        }
        if profile not in presets:
            raise SettingError(
                f"set_printoptions: profile must be one of {', '.join(presets)}; got {profile!r}"
            )
        for name in ("precision", "threshold", "edgeitems", "linewidth"):
            setattr(options, name, getattr(presets[profile], name))
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems,
             "linewidth": linewidth}  # fmt: skip
    for name, value in given.items():
        if value is not None:
            setattr(options, name, value)
    options.sci_mode = sci_mode


class _Formatter:
    """The common width and notation of all numbers that are shown."""

    def __init__(self, values: Any, options: PrintOptions) -> None:
        self._floating = values.dtype.kind == "f"
        self._whole = True
        self._scientific = False
        self._precision = options.precision
        self.width = 1
        flat = values.reshape(-1)
        if not self._floating:
            self.width = max((len(str(v)) for v in flat.tolist()), default=1)
            return
        # Zeros, NaN and infinities take the form that the other numbers need.
        finite = flat[np.isfinite(flat) & (flat != 0)]
        if finite.size:
            self._choose(np.abs(finite.astype(np.float64)), options)
            self.width = max(len(self.plain(v)) for v in finite.tolist())

    def _choose(self, finite: Any, options: PrintOptions) -> None:
        low, high = float(finite.min()), float(finite.max())
        self._whole = bool((finite == np.ceil(finite)).all())
        self._scientific = high / low > 1000.0 or high > 1.0e8
        if not self._whole:
            self._scientific = self._scientific or low < 1.0e-4
        if options.sci_mode is not None:
            self._scientific = options.sci_mode

    def plain(self, value: Any) -> str:
        """One number without padding."""
        if not self._floating:
            return str(value)
        if self._scientific:
            return f"{value:.{self._precision}e}"
        if self._whole:
            text = f"{value:.0f}"
            return text if math.isnan(value) or math.isinf(value) else text + "."
        return f"{value:.{self._precision}f}"

    def padded(self, value: Any) -> str:
        """One number, right-aligned in the common width."""
        return self.plain(value).rjust(self.width)


def _summary(array: Any, edge: int) -> Any:
    """The corners of an array: only the elements that a summarised print shows."""
    if not edge:
        return array.reshape(-1)[:0]
    for dim, size in enumerate(array.shape):
        if size > 2 * edge:
            places = np.r_[0:edge, size - edge : size]
            array = array.take(places, dim)
    return array


def _row(array: Any, indent: int, summarise: bool, form: _Formatter, options: PrintOptions) -> str:
    per_line = max(1, math.floor((options.linewidth - indent) / (form.width + 2)))
    edge, size = options.edgeitems, array.shape[0]
    if summarise and not edge:
        items = ["..."]
    elif summarise and size > 2 * edge:
        head, tail = array[:edge].tolist(), array[size - edge :].tolist()
        items = [*map(form.padded, head), " ...", *map(form.padded, tail)]
    else:
        items = [form.padded(v) for v in array.tolist()]
    lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _block(array: Any, indent: int, summarise: bool, form: _Formatter,
           options: PrintOptions) -> str:  # fmt: skip
    """The nested brackets of an array, later lines indented to where the first one starts."""
    if array.ndim == 0:
        return form.padded(array.item())
    if array.ndim == 1:
        return _row(array, indent, summarise, form, options)
    edge, size = options.edgeitems, array.shape[0]

    def part(i: int) -> str:
        return _block(array[i], indent + 1, summarise, form, options)

    if summarise and size > 2 * edge:
        rows = [*map(part, range(edge)), "...", *map(part, range(size - edge, size))]
    else:
        rows = [part(i) for i in range(size)]
    between = "," + "\n" * (array.ndim - 1) + " " * (indent + 1)
    return f"[{between.join(rows)}]"


def _values(array: Any, indent: int, options: PrintOptions) -> str:
    host = backends.for_array(array).to_numpy(array)
    if dtypes.from_numpy(host.dtype).foreign:
        host = host.astype(np.float32)
    summarise = host.size > options.threshold
    form = _Formatter(_summary(host, options.edgeitems) if summarise else host, options)
    return _block(host, indent, summarise, form, options)


def _suffixes(tensor: Any) -> list[str]:
    """What follows the values: device, size, dtype, history."""
    found: list[str] = []
    implied = tensor.dtype is config.default_dtype
    if tensor.device is not CPU:
        found.append(f"device='{tensor.device}'")
    bare = tensor.is_meta or not config.printing.edgeitems
    if bare if tensor.numel() else tensor.is_meta or tensor.ndim != 1:
        found.append(f"size={tuple(tensor.shape)}")
    if tensor.numel() and not tensor.is_meta:
        implied = implied or tensor.dtype in (dtypes.int64, dtypes.bool_)
    if not implied:
        found.append(f"dtype={tensor.dtype}")
    node = tensor.grad_fn
    if node is not None:
        found.append(f"grad_fn=<{node.name()}>")
    elif tensor.requires_grad:
        found.append("requires_grad=True")
    return found


def render(tensor: Any) -> str:
    """The text that ``repr`` gives."""
    options = config.printing
    name = type(tensor).__name__
    head = "tensor(" if name in ("Tensor", "Parameter") else f"{name}("
    suffixes = _suffixes(tensor)
    if type(tensor._array) is Spec:
        body = "..."
    elif tensor.numel() == 0:
        body = "[]"
    else:
        body = _values(tensor._array, len(head), options)
    text = head + body
    width = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if width + len(suffix) + 2 > options.linewidth:
            text += ",\n" + " " * len(head) + suffix
            width = len(head) + len(suffix)
        else:
            text += ", " + suffix
            width += len(suffix) + 2
    return text + ")"
