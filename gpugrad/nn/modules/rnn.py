"""Recurrent layers: ``RNN``, ``GRU`` and ``LSTM``, with weights under PyTorch's names and layout.

A layer of one direction is one record of ``gpugrad.ops.recurrent`` over the rows of all steps; what
an input contributes to the gates of all steps is one product before it.
"""

from __future__ import annotations

import warnings
from typing import Any

from gpugrad.errors import ArgumentError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.nn.layer import fill_uniform, parameter
from gpugrad.nn.module import Module
from gpugrad.nn.modules.rnn_cells import GRUCell as GRUCell
from gpugrad.nn.modules.rnn_cells import LSTMCell as LSTMCell
from gpugrad.nn.modules.rnn_cells import RNNCell as RNNCell
from gpugrad.nn.modules.rnn_cells import RNNCellBase as RNNCellBase
from gpugrad.nn.recurrent import GATES, check_bools, check_positive, final_state, run


def _packed(data: Any) -> bool:
    # By its looks: the class is in nn.utils, which is imported after the layers.
    return hasattr(data, "batch_sizes")


class RNNBase(Module):
    """What ``RNN``, ``GRU`` and ``LSTM`` share; arguments are explained there.

    Raises:
        SettingError: for an impossible size or probability.
        ArgumentError: for an argument of the wrong type.
    """

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1,
        bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
        bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mode, self.input_size, self.hidden_size = mode, input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self._check(dropout)
        self.dropout = float(dropout)
        width, gates = proj_size or hidden_size, GATES[mode] * hidden_size
        for layer, direction in self._directions():
            inputs = width * (1 + bidirectional) if layer else input_size
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (gates, inputs), "weight_hh": (gates, width),
            }  # fmt: skip
            if bias:
                shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for name, shape in shapes.items():
                self.register_parameter(name + self._suffix(layer, direction),
                                        parameter(*shape, device=device, dtype=dtype))  # fmt: skip
        self.reset_parameters()

    def _check(self, dropout: Any) -> None:
        name = self._get_name()
        if self.mode not in GATES:
            accepted = ", ".join(GATES)
            raise SettingError(f"{name}: mode must be one of {accepted}, got {self.mode!r}")
        check_positive(name, input_size=self.input_size, hidden_size=self.hidden_size,
               num_layers=self.num_layers)  # fmt: skip
        check_bools(name, bias=self.bias, batch_first=self.batch_first)
        number = isinstance(dropout, int | float) and not isinstance(dropout, bool)
        if not number or not 0 <= dropout <= 1:
            raise SettingError(f"{name}: dropout must be a number in [0, 1], got {dropout!r}")
        if not 0 <= self.proj_size < self.hidden_size:
            raise SettingError(
                f"{name}: proj_size must be 0 or smaller than hidden_size {self.hidden_size}, got "
                f"{self.proj_size}"
            )
        if self.proj_size and self.mode != "LSTM":
            raise SettingError(f"{name}: proj_size is for LSTM only")
        if dropout and self.num_layers == 1:
            warnings.warn(
                f"{name}: dropout acts between layers, so {dropout} has no effect with one layer",
                stacklevel=4,
            )

    def _directions(self) -> list[tuple[int, int]]:
        return [(n, d) for n in range(self.num_layers) for d in range(1 + self.bidirectional)]

    @staticmethod
    def _suffix(layer: int, direction: int) -> str:
        return f"_l{layer}{'_reverse' if direction else ''}"

    def _weights(self, layer: int, direction: int) -> dict[str, Any]:
        kinds = ["weight_ih", "weight_hh", *["bias_ih", "bias_hh"] * self.bias]
        kinds += ["weight_hr"] * bool(self.proj_size)
        return {kind: getattr(self, kind + self._suffix(layer, direction)) for kind in kinds}

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters of each layer and direction."""
        return [list(self._weights(*place).values()) for place in self._directions()]

    def reset_parameters(self) -> None:
        """Fill everything with uniform numbers up to ``1 / sqrt(hidden_size)`` in size."""
        fill_uniform(self.hidden_size, *self.parameters())

    def flatten_parameters(self) -> None:
        """Do nothing: the parameters need not lie in one block of memory here."""

    def extra_repr(self) -> str:
        """Sizes, and the settings that are not the default."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False,
                    "dropout": 0, "bidirectional": False}  # fmt: skip
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text

    # ---- running ---------------------------------------------------------------------------------

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """All steps of all layers.

        Args:
            input: ``(L, N, input_size)``, ``(N, L, input_size)`` with ``batch_first``,
                ``(L, input_size)``, or a ``PackedSequence``.
            hx: ``(num_layers * directions, N, hidden_size)``, zeros by default; a pair of the
                hidden and the cell state for an LSTM.

        Returns:
            The last layer's states of every step, like ``input``, and the final states of every
            layer, like ``hx``.

        Raises:
            ShapeError: if ``input`` or ``hx`` has another shape.
        """
        if _packed(input):
            sizes = tuple(int(n) for n in input.batch_sizes.tolist())
            states = self._states(input.data, hx, sizes[0], True, input.sorted_indices)
            rows, final = self._layers(input.data, states, sizes)
            final = [_picked(s, input.unsorted_indices) for s in final]
            return type(input)(rows, input.batch_sizes, input.sorted_indices,
                               input.unsorted_indices), self._given_back(final)  # fmt: skip
        x, batched = self._steps_first(input)
        length, n = x.shape[:2]
        states = self._states(x, hx, n, batched, None)
        rows, final = self._layers(F.reshape(x, (length * n, x.shape[2])), states, (n,) * length)
        out = F.reshape(rows, (length, n, rows.shape[1]))
        if not batched:
            return F.squeeze(out, 1), self._given_back([F.squeeze(s, 1) for s in final])
        return F.swapaxes(out, 0, 1) if self.batch_first else out, self._given_back(final)

    def _steps_first(self, input: Any) -> tuple[Any, bool]:
        """The input as ``(L, N, features)``, and whether it had an ``N``."""
        name = self._get_name()
        wanted = f"({'N, L' if self.batch_first else 'L, N'}, {self.input_size})"
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}: input must be {wanted}, (L, {self.input_size}) or a PackedSequence, got "
                f"shape {tuple(input.shape)}"
            )
        batched = input.ndim == 3
        if not batched:
            x = F.expand_dims(input, 1)
        else:
            x = F.swapaxes(input, 0, 1) if self.batch_first else input
        if not x.shape[0]:
            raise ShapeError(f"{name}: input {tuple(input.shape)} has no steps; it needs one")
        return x, batched

    def _states(self, x: Any, hx: Any, n: int, batched: bool, order: Any) -> list[Any]:
        """The initial states, ``(num_layers * directions, N, width)`` each, in packed order."""
        widths = [self.proj_size or self.hidden_size, *[self.hidden_size] * (self.mode == "LSTM")]
        lead = len(self._directions())
        if x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{self._get_name()}: input has {x.shape[-1]} features, expected {self.input_size}"
            )
        if hx is None:
            return [F.zeros(lead, n, w, dtype=x.dtype, device=x.device) for w in widths]
        given = list(hx) if isinstance(hx, tuple | list) else [hx]
        if len(given) != len(widths) or isinstance(hx, tuple | list) != (len(widths) == 2):
            wanted = "a pair (h, c)" if len(widths) == 2 else "a Tensor"
            raise ArgumentError(
                f"{self._get_name()}: hx must be {wanted}, got {type(hx).__name__}"
                f"{f' of {len(given)}' if isinstance(hx, tuple | list) else ''}"
            )
        for state, w in zip(given, widths, strict=True):
            shape = (lead, n, w) if batched else (lead, w)
            if tuple(state.shape) != shape:
                raise ShapeError(
                    f"{self._get_name()}: expected a state of shape {shape}, got "
                    f"{tuple(state.shape)}"
                )
        return [_picked(s, order) if batched else F.expand_dims(s, 1) for s in given]

    def _layers(self, rows: Any, states: list[Any],
                sizes: tuple[int, ...]) -> tuple[Any, list[Any]]:  # fmt: skip
        """Packed rows through all layers, and the final states."""
        final: list[list[Any]] = [[] for _ in states]
        for layer in range(self.num_layers):
            if layer and self.dropout:
                rows = F.dropout(rows, self.dropout, self.training)
            outs = []
            for d in range(1 + self.bidirectional):
                first = [s[len(final[0])] for s in states]
                ran = run(self.mode, rows, first[0], first[-1], self._weights(layer, d), sizes,
                          d == 1)  # fmt: skip
                for kept, state in zip(final, ran, strict=False):
                    kept.append(final_state(state, sizes, d == 1))
                outs.append(ran[0])
            rows = outs[0] if len(outs) == 1 else F.concat(outs, 1)
        return rows, [F.stack(kept, 0) for kept in final]

    def _given_back(self, final: list[Any]) -> Any:
        return tuple(final) if self.mode == "LSTM" else final[0]


def _picked(states: Any, order: Any) -> Any:
    return states if order is None else F.index_select(states, 1, order)


class RNN(RNNBase):
    """Layers of ``h = tanh(W_ih x + b_ih + W_hh h + b_hh)`` (Elman, 1990).

    Args:
        input_size: features of a step.
        hidden_size: features of a state.
        num_layers: layers, each reading the states of the one below.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether the layers have ``b_ih`` and ``b_hh``.
        batch_first: whether input and output are ``(N, L, features)``.
        dropout: probability with which a state is dropped on its way to the next layer.
        bidirectional: run each layer in both directions, and join the states.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
        bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
        bidirectional: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise SettingError(f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        self.__dict__["nonlinearity"] = nonlinearity
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias,
                         batch_first, dropout, bidirectional, 0, device, dtype)  # fmt: skip


class GRU(RNNBase):
    """Layers of gated recurrent units (Cho et al., 2014); arguments as for ``RNN``.

    ``r, z = sigmoid(W x + b + U h + d)``, ``n = tanh(W_n x + b_n + r * (U_n h + d_n))`` and
    ``h = (1 - z) * n + z * h``; the weights hold r, z and n below each other.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, 0, device, dtype)  # fmt: skip


class LSTM(RNNBase):
    """Layers of long short-term memory (Hochreiter and Schmidhuber, 1997); see ``RNN``.

    ``i, f, o = sigmoid(...)``, ``g = tanh(...)``, ``c = f * c + i * g`` and ``h = o * tanh(c)``;
    the weights hold i, f, g and o below each other.

    Args:
        proj_size: if not 0, the states are ``W_hr h`` of this size (Sak et al., 2014).
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, proj_size, device, dtype)  # fmt: skip
