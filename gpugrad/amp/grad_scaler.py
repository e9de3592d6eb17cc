"""``GradScaler``: keeps float16 gradients from vanishing by scaling the loss."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from gpugrad import cuda, dtypes
from gpugrad.errors import ArgumentError, AutogradError, DTypeError, SettingError
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.tensor import Tensor

if TYPE_CHECKING:
    from gpugrad.optim import Optimizer

_READY, _UNSCALED, _STEPPED = "ready", "unscaled", "stepped"


class GradScaler:
    """Scale a loss, take the scale out of the gradients, skip steps whose gradients overflowed.

    Args:
        device: ``"cuda"`` or ``"cpu"``; where there is no CUDA device, one for ``"cuda"`` is off.
        init_scale: the first scale.
        growth_factor: what the scale is multiplied by after ``growth_interval`` good steps.
        backoff_factor: what it is multiplied by after a bad one.
        growth_interval: see ``growth_factor``.
        enabled: False makes every method pass through.
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        if device not in ("cpu", "cuda"):
            raise SettingError(f'GradScaler: device must be "cpu" or "cuda", got {device!r}')
        if enabled and device == "cuda" and not cuda.is_available():
            warnings.warn(
                "GradScaler: there is no CUDA device, so it stays off.", UserWarning, stacklevel=2
            )
            enabled = False
        if not growth_factor > 1 or not 0 < backoff_factor < 1:
            raise SettingError(
                "GradScaler: needs growth_factor > 1 and backoff_factor in (0, 1), got "
                f"{growth_factor} and {backoff_factor}"
            )
        self._device = device
        self._enabled = enabled
        self._scale = float(init_scale)
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._growth_tracker = 0
        # What happened to each optimiser since the last update, and whether it overflowed.
        self._stages: dict[int, str] = {}
        self._overflowed: dict[int, bool] = {}

    def scale(self, outputs: Any) -> Any:
        """A tensor, or every one in a sequence, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            # A float32 factor: the scale itself need not fit into float16.
            factor = F.full((), self._scale, dtype=dtypes.float32, device=outputs.device)
            return outputs * factor
        if not hasattr(outputs, "__iter__"):
            raise ArgumentError(
                f"GradScaler: scale takes a Tensor or several, got {type(outputs).__name__}"
            )
        scaled = map(self.scale, outputs)
        return type(outputs)(scaled) if isinstance(outputs, list | tuple) else scaled

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of an optimiser's parameters by the scale, to clip them, say.

        Raises:
            AutogradError: a second time, or after ``step``, without ``update`` between.
            DTypeError: for float16 gradients, of float16 parameters.
        """
        if not self._enabled:
            return
        stage = self._stages.get(id(optimizer), _READY)
        if stage != _READY:
            raise AutogradError(
                f"GradScaler: unscale_ was called on an optimiser that is {stage} already; call "
                "update() after its step"
            )
        grads = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        if any(g.dtype is dtypes.float16 for g in grads):
            raise DTypeError(
                "GradScaler: cannot unscale float16 gradients; keep the parameters in float32"
            )
        with no_grad():
            finite = [F.all(F.isfinite(g)) for g in grads]
            for g in grads:
                g.mul_(1.0 / self._scale)
            if finite:  # one look from the host for all of them
                flags = [f.to(finite[0].device) for f in finite]
                self._overflowed[id(optimizer)] = not bool(F.all(F.stack(flags)))
        self._stages[id(optimizer)] = _UNSCALED

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """Unscale if that was not done, then step unless a gradient is infinite or NaN.

        Returns:
            What ``optimizer.step(*args, **kwargs)`` gave, or None where it was left out.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or any(callable(a) for a in args):
            raise ArgumentError("GradScaler: step takes no closure while scaling")
        stage = self._stages.get(id(optimizer), _READY)
        if stage == _STEPPED:
            raise AutogradError("GradScaler: step was called already since the last update()")
        if stage == _READY:
            self.unscale_(optimizer)
        if id(optimizer) not in self._overflowed:
            raise AutogradError("GradScaler: no parameter of the optimiser has a gradient")
        self._stages[id(optimizer)] = _STEPPED
        if self._overflowed[id(optimizer)]:
            return None
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adjust the scale by what was seen since the last time, or set it."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._overflowed:
            raise AutogradError("GradScaler: update needs a step() or unscale_() before it")
        elif any(self._overflowed.values()):
            self._scale *= self._backoff_factor
            self._growth_tracker = 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                grown = self._scale * self._growth_factor
                self._scale = grown if math.isfinite(grown) else self._scale
                self._growth_tracker = 0
        self._stages.clear()
        self._overflowed.clear()

    def is_enabled(self) -> bool:
        """Whether it scales at all."""
        return self._enabled

    def get_scale(self) -> float:
        """The scale; 1 if it is off."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by when it grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by when it grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after an overflow."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by after an overflow."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """How many good steps make the scale grow."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set how many good steps make the scale grow."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """The scale and its settings; empty if it is off."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale, "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor, "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` gave."""
        if not self._enabled:
            return
        if not state_dict:
            raise SettingError(
                "GradScaler: the state is empty, perhaps of a scaler that was off; this one is on"
            )
        self._scale = float(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._growth_tracker = state_dict["_growth_tracker"]
