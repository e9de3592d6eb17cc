"""What recurrent layers and cells share: checks, and one layer over the rows of all steps."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import ArgumentError, DTypeError, SettingError
from gpugrad.functional_namespace import F

#: How many gates a unit has.
GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4}


def check_positive(name: str, **numbers: Any) -> None:
    """Refuse what is not a positive int."""
    for key, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise ArgumentError(f"{name}: {key} must be an int, got {type(value).__name__}")
        if value <= 0:
            raise SettingError(f"{name}: {key} must be greater than zero, got {value}")


def check_bools(name: str, **flags: Any) -> None:
    for key, value in flags.items():
        if not isinstance(value, bool):
            raise ArgumentError(f"{name}: {key} must be a bool, got {type(value).__name__}")


def run(mode: str, rows: Any, hx: Any, cx: Any, weights: dict[str, Any], sizes: tuple[int, ...],
        reverse: bool) -> tuple[Any, Any]:  # fmt: skip
    """One layer in one direction over packed rows: every step's h, and for an LSTM its c.

    Args:
        weights: ``weight_ih``, ``weight_hh``, and where the layer has them ``bias_ih``,
            ``bias_hh`` and ``weight_hr``.
    """
    if mode == "GRU" and hx.dtype is not rows.dtype:
        raise DTypeError(
            f"GRU: input and state must be of one dtype, got {rows.dtype.name} and {hx.dtype.name}"
        )
    bias, bias_hh = weights.get("bias_ih"), weights.get("bias_hh")
    if bias is not None and mode != "GRU":
        bias = bias + bias_hh
    gates = F.linear(rows, weights["weight_ih"], bias)
    w, steps = weights["weight_hh"], {"sizes": sizes, "reverse": reverse}
    if mode == "LSTM":
        found = F.lstm_layer(gates, hx, cx, w, weights.get("weight_hr"), **steps)
        return found.out, found.cells
    if mode == "GRU":
        return F.gru_layer(gates, hx, w, bias_hh, **steps).out, None
    return F.rnn_layer(gates, hx, w, nonlinearity=mode[4:].lower(), **steps), None


def final_state(states: Any, sizes: tuple[int, ...], reverse: bool) -> Any:
    """The last state of every sequence."""
    if reverse:
        return states[: sizes[0]]
    if sizes[0] == sizes[-1]:
        return states[states.shape[0] - sizes[0] :]
    parts, end = [], states.shape[0]
    for n, after in zip(reversed(sizes), (0, *reversed(sizes)), strict=False):
        if n > after:  # the rows that this step is the last of
            parts.append(states[end - (n - after) : end])
        end -= n
    return F.concat(parts, 0)
