"""``autocast``: matrix products in 16 bits, what needs it in 32, chosen op by op.

While it is on, ``modes.autocast`` is a ``Caster``, which every call asks for its operands.  Casts
are recorded as any op, so gradients arrive in the dtype of the leaf.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, Self

from gpugrad import dtypes
from gpugrad.amp.policy import policy
from gpugrad.dtypes import DType
from gpugrad.errors import SettingError
from gpugrad.functional_namespace import F
from gpugrad.modes import modes
from gpugrad.op import Function, Op
from gpugrad.tensor import Tensor

_DEFAULT = {"cpu": dtypes.bfloat16, "cuda": dtypes.float16}


class Caster:
    """Casts the operands of a call.  It is told which dtype each kind of device is to use."""

    def __init__(self, lower: dict[str, DType], cached: bool) -> None:
        self.lower = lower
        self.cached = cached
        self._policies: dict[tuple[Any, str], str] = {}
        #: Casts of parameters: a parameter that is used often is cast once.
        self._casts: dict[tuple[int, DType, bool], tuple[Tensor, int, Tensor]] = {}

    def __call__(
        self, record: Op | Function, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any] | None:
        """The operands cast, or None where autocast has nothing to say about the record."""
        device = next((d for v in (*args, *kwargs.values()) if (d := _device(v))), "")
        if device not in self.lower:
            return None
        key = (record, device)
        kind = self._policies.get(key)
        if kind is None:
            kind = self._policies[key] = policy(record, device)
        if not kind:
            return None
        if kind == "plain":
            return args, kwargs
        dtype = self.lower[device] if kind == "low" else dtypes.float32
        return (
            tuple([self._cast(v, dtype, device) for v in args]),
            {k: self._cast(v, dtype, device) for k, v in kwargs.items()},
        )

    def _cast(self, value: Any, dtype: DType, device: str) -> Any:
        if type(value) in (list, tuple):
            return type(value)([self._cast(v, dtype, device) for v in value])
        if not isinstance(value, Tensor) or value.dtype is dtype or value.device.type != device:
            return value
        if not value.is_floating_point() or value.dtype is dtypes.float64:
            return value
        if not (self.cached and value.requires_grad and value.is_leaf and dtype.itemsize == 2):
            return F.astype(value, dtype)
        key = (id(value), dtype, modes.grad)
        held = self._casts.get(key)
        if held is None or held[1] != value._version:
            held = self._casts[key] = (value, value._version, F.astype(value, dtype))
        return held[2]


def _device(value: Any) -> str:
    """The kind of device of a floating tensor, or of the first one in a sequence."""
    if isinstance(value, Tensor):
        return value.device.type if value.is_floating_point() else ""
    if type(value) in (list, tuple):
        return next((d for v in value if (d := _device(v))), "")
    return ""


class autocast:
    """Choose the precision of ops: ``with autocast("cuda"):`` or ``@autocast("cpu")``.

    Args:
        device_type: ``"cpu"`` or ``"cuda"``: which tensors are meant.
        dtype: float16 or bfloat16; if not given bfloat16 on the CPU and float16 on a GPU.  Another
            one switches autocast off, with a warning.
        enabled: False switches it off within another.
        cache_enabled: cast each parameter once, not at every use.
    """

    def __init__(
        self, device_type: str, dtype: DType | None = None, enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:  # fmt: skip
        if device_type not in _DEFAULT:
            raise SettingError(
                f'autocast: device_type must be "cpu" or "cuda", got {device_type!r}'
            )
        self.device = device_type
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        if enabled and self.fast_dtype not in dtypes.HALVES:
            warnings.warn(
                f"autocast: runs in float16 or bfloat16, not {self.fast_dtype}; it stays off.",
                UserWarning, stacklevel=2,
            )  # fmt: skip
            enabled = False
        self._enabled = bool(enabled)
        self._cache_enabled = True if cache_enabled is None else bool(cache_enabled)
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        outer = modes.autocast
        self._before.append(outer)
        lower = dict(outer.lower) if isinstance(outer, Caster) else {}
        if self._enabled:
            lower[self.device] = self.fast_dtype
        else:
            lower.pop(self.device, None)
        modes.autocast = Caster(lower, self._cache_enabled) if lower else None
        modes.settle()
        return self

    def __exit__(self, *exc: object) -> None:
        modes.autocast = self._before.pop()
        modes.settle()

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return fn(*args, **kwargs)

        return inside


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for a kind of device on this thread."""
    return isinstance(modes.autocast, Caster) and device_type in modes.autocast.lower


def get_autocast_dtype(device_type: str) -> DType:
    """The lower precision that autocast uses, or would use, on a kind of device."""
    on = modes.autocast.lower if isinstance(modes.autocast, Caster) else {}
    if device_type not in _DEFAULT:
        raise SettingError(
            f'get_autocast_dtype: device_type must be "cpu" or "cuda", got {device_type!r}'
        )
    return on.get(device_type, _DEFAULT[device_type])


def is_autocast_available(device_type: str) -> bool:
    """Whether there is autocast for a kind of device."""
    return device_type in _DEFAULT


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str,
    cast_inputs: DType | None = None,
) -> Any:  # fmt: skip
    """Decorate the ``forward`` of a ``Function`` that is used under autocast.

    Args:
        fwd: ``forward(ctx, *args)``.
        device_type: which autocast is meant.
        cast_inputs: what floating inputs of that device are cast to while autocast is on, which is
            off inside then.  If not given, ``forward`` runs under autocast as it is.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        on = is_autocast_enabled(device_type)
        ctx._dtype = get_autocast_dtype(device_type)
        ctx._fwd_used_autocast = on and cast_inputs is None
        if cast_inputs is None or not on:
            return fwd(ctx, *args, **kwargs)
        cast = Caster({}, cached=False)._cast
        args = tuple(cast(a, cast_inputs, device_type) for a in args)
        kwargs = {k: cast(v, cast_inputs, device_type) for k, v in kwargs.items()}
        with autocast(device_type, enabled=False):
            return fwd(ctx, *args, **kwargs)

    return forward


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Any:
    """Decorate the ``backward`` that belongs to ``custom_fwd``: it runs as the forward did."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, ctx._dtype, ctx._fwd_used_autocast):
            return bwd(ctx, *args, **kwargs)

    return backward
