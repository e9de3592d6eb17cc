"""Multi-head attention as a layer."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import SettingError
from gpugrad.nn import init
from gpugrad.nn.layer import parameter
from gpugrad.nn.module import Module
from gpugrad.nn.modules.linear import Linear
from gpugrad.ops.multihead import multihead


class NonDynamicallyQuantizableLinear(Linear):
    """``Linear`` under the name that PyTorch shows for the output projection of attention."""


class MultiheadAttention(Module):
    """Multi-head attention (Vaswani et al., 2017).

    Args:
        embed_dim: features of query and output; ``num_heads`` must divide it.
        num_heads: heads, of ``embed_dim / num_heads`` features each.
        dropout: probability with which an attention weight is dropped in training.
        bias: whether the projections have biases.
        add_bias_kv: whether a learnt position follows keys and values.
        add_zero_attn: whether a position of zeros follows keys and values.
        kdim, vdim: features of key and value, ``embed_dim`` by default.
        batch_first: whether input and output are ``(N, L, E)`` instead of ``(L, N, E)``.

    Raises:
        SettingError: for sizes that do not fit.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
        vdim: int | None = None, batch_first: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise SettingError(
                "MultiheadAttention: embed_dim and num_heads must be positive, and embed_dim "
                f"divisible by num_heads; got {embed_dim} and {num_heads}"
            )
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        same = self._qkv_same_embed_dim = self.kdim == self.vdim == embed_dim
        widths = {"q": embed_dim, "k": self.kdim, "v": self.vdim}
        shapes: dict[str, tuple[int, ...] | None] = {
            f"{k}_proj_weight": None if same else (embed_dim, w) for k, w in widths.items()
        }
        shapes["in_proj_weight"] = (3 * embed_dim, embed_dim) if same else None
        shapes["in_proj_bias"] = (3 * embed_dim,) if bias else None
        shapes |= dict.fromkeys(("bias_k", "bias_v"), (1, 1, embed_dim) if add_bias_kv else None)
        factory = {"device": device, "dtype": dtype}
        for name, shape in shapes.items():
            made = None if shape is None else parameter(*shape, **factory)
            self.register_parameter(name, made)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, **factory)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for name, p in self._parameters.items():
            if p is not None and name != "in_proj_bias":
                (init.xavier_uniform_ if name.endswith("weight") else init.xavier_normal_)(p)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Any, key: Any, value: Any, key_padding_mask: Any = None,
        need_weights: bool = True, attn_mask: Any = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:  # fmt: skip
        """Let every position of ``query`` look at those of ``key``.

        Args:
            query: ``(L, N, E)``, ``(N, L, E)`` with ``batch_first``, or ``(L, E)``.
            key, value: the same with their own length S and widths.
            key_padding_mask: ``(N, S)``: True where a key is not to be seen; or numbers that are
                added to the scores.
            need_weights: whether to return the attention weights; without is faster.
            attn_mask: the same as ``(L, S)`` or ``(N * num_heads, L, S)``.
            average_attn_weights: mean of the weights over heads: ``(N, L, S)``; else
                ``(N, num_heads, L, S)``.
            is_causal: a promise that ``attn_mask`` is the causal mask.

        Returns:
            The output, like ``query``, and the weights or None.
        """
        separate = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        return multihead(
            query, key, value, self.num_heads,
            self.in_proj_weight if self._qkv_same_embed_dim else separate, self.in_proj_bias,
            self.out_proj.weight, self.out_proj.bias, embed_dim=self.embed_dim,
            bias_k=self.bias_k, bias_v=self.bias_v, add_zero_attn=self.add_zero_attn,
            dropout_p=self.dropout if self.training else 0.0, key_padding_mask=key_padding_mask,
            need_weights=need_weights, attn_mask=attn_mask, average=average_attn_weights,
            is_causal=is_causal, batch_first=self.batch_first,
        )  # fmt: skip
