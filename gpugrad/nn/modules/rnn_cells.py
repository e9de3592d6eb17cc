"""Cells: one step of a recurrent layer."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import ArgumentError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.nn.layer import fill_uniform, parameter
from gpugrad.nn.module import Module
from gpugrad.nn.recurrent import check_bools, check_positive, run


class RNNCellBase(Module):
    """What the cells share: the weights ``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh``.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        bias: whether there are biases.
        num_chunks: gates per unit.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int,
                 device: Any = None, dtype: Any = None) -> None:  # fmt: skip
        super().__init__()
        check_positive(self._get_name(), input_size=input_size, hidden_size=hidden_size)
        check_bools(self._get_name(), bias=bias)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        gates = num_chunks * hidden_size
        for name, shape in {"weight_ih": (gates, input_size), "weight_hh": (gates, hidden_size),
                            "bias_ih": (gates,), "bias_hh": (gates,)}.items():  # fmt: skip
            made = bias or name.startswith("weight")
            self.register_parameter(
                name, parameter(*shape, device=device, dtype=dtype) if made else None
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fill everything with uniform numbers up to ``1 / sqrt(hidden_size)`` in size."""
        fill_uniform(self.hidden_size, *self.parameters())

    def extra_repr(self) -> str:
        """Sizes, and the settings that are not the default."""
        text = f"{self.input_size}, {self.hidden_size}"
        text += "" if self.bias else ", bias=False"
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        return text if nonlinearity == "tanh" else f"{text}, nonlinearity={nonlinearity}"

    def _step(self, mode: str, input: Any, *states: Any) -> tuple[Any, ...]:
        """One step of ``(N, input_size)`` or ``(input_size,)``."""
        name, batched = self._get_name(), input.ndim == 2
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}: input must be (N, {self.input_size}) or ({self.input_size},), got shape "
                f"{tuple(input.shape)}"
            )
        wanted = (*input.shape[:-1], self.hidden_size)
        for state in states:
            if state is not None and tuple(state.shape) != wanted:
                raise ShapeError(
                    f"{name}: the state for an input of shape {tuple(input.shape)} must have shape "
                    f"{wanted}, got {tuple(state.shape)}"
                )
        x = input if batched else F.expand_dims(input, 0)
        n = x.shape[0]
        h, c = (
            F.zeros(n, self.hidden_size, dtype=x.dtype, device=x.device) if s is None
            else s if batched else F.expand_dims(s, 0)
            for s in (states[0], states[-1])
        )  # fmt: skip
        weights = {k: getattr(self, k) for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        found = run(mode, x, h, c, weights, (n,), False)
        return found if batched else tuple(s if s is None else F.squeeze(s, 0) for s in found)


class RNNCell(RNNCellBase):
    """``h = tanh(W_ih x + b_ih + W_hh h + b_hh)``, or with relu; arguments as for ``RNN``."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True,
                 nonlinearity: str = "tanh", device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The next state ``(N, hidden_size)``; ``hx`` is zeros by default."""
        if self.nonlinearity not in ("tanh", "relu"):
            raise SettingError(
                f"RNNCell: nonlinearity must be 'tanh' or 'relu', got {self.nonlinearity!r}"
            )
        return self._step(f"RNN_{self.nonlinearity.upper()}", input, hx)[0]


class GRUCell(RNNCellBase):
    """A gated recurrent unit; the formula is that of ``GRU``."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The next state ``(N, hidden_size)``; ``hx`` is zeros by default."""
        return self._step("GRU", input, hx)[0]


class LSTMCell(RNNCellBase):
    """Long short-term memory; the formula is that of ``LSTM``."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """The next ``(h, c)``, ``(N, hidden_size)`` each; ``hx`` is zeros by default."""
        if hx is not None and (not isinstance(hx, tuple | list) or len(hx) != 2):
            raise ArgumentError(f"LSTMCell: hx must be a pair (h, c), got {type(hx).__name__}")
        h, c = self._step("LSTM", input, *((None, None) if hx is None else hx))
        return h, c
