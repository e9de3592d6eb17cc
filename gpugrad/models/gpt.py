"""GPT-2, a language model that predicts the next token of a text.

Radford, Wu, Child, Luan, Amodei, Sutskever: "Language Models are Unsupervised Multitask Learners",
2019.  Modules, parameters and the layout of weights are named as in Hugging Face's transformers,
so its checkpoints load.

tokens (N, T) -> wte + wpe (N, T, C) -> n_layer blocks (N, T, C) -> ln_f -> wte^T (N, T, vocabulary)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import gpugrad
from gpugrad import Tensor, nn
from gpugrad.nn import functional as F


@dataclass(frozen=True)
class GPT2Config:
    """Sizes and settings; the defaults are those of the smallest published model.

    Attributes:
        vocab_size: number of different tokens.
        n_positions: the longest text that fits, in tokens.
        n_embd: width of the model, a multiple of ``n_head``.
        n_layer: number of blocks.
        n_head: number of attention heads.
        dropout: share dropped of embeddings, attention weights and what each layer adds.
        layer_norm_epsilon: added to variances.
        fused_attention: attend through ``scaled_dot_product_attention``, which does not keep the
            ``(N, n_head, T, T)`` weights; otherwise write them out.
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    dropout: float = 0.1
    layer_norm_epsilon: float = 1e-5
    fused_attention: bool = True


#: The published sizes, and a tiny one over bytes.
SIZES = {
    "gpt2": GPT2Config(),
    "gpt2-medium": GPT2Config(n_embd=1024, n_layer=24, n_head=16),
    "gpt2-large": GPT2Config(n_embd=1280, n_layer=36, n_head=20),
    "gpt2-xl": GPT2Config(n_embd=1600, n_layer=48, n_head=25),
    "gpt2-tiny": GPT2Config(vocab_size=256, n_positions=128, n_embd=128, n_layer=4, n_head=4),
}


class Conv1D(nn.Module):
    """A linear layer whose weight is ``(inputs, outputs)``, as GPT-2's checkpoints have it."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(gpugrad.empty(nx, nf))
        self.bias = nn.Parameter(gpugrad.zeros(nf))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """``x @ weight + bias``, over the last dimension."""
        rows = gpugrad.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return rows.reshape(*x.shape[:-1], -1)


class Attention(nn.Module):
    """Causal self-attention: a position attends to itself and to those before it."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        if config.n_embd % config.n_head:
            raise ValueError(
                f"GPT2Config: n_embd={config.n_embd} is not a multiple of n_head={config.n_head}"
            )
        self.n_head, self.dropout, self.fused = (
            config.n_head, config.dropout, config.fused_attention
        )  # fmt: skip
        self.c_attn = Conv1D(3 * config.n_embd, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, config.n_embd)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, T, C)`` to ``(N, T, C)``."""
        n, t, c = x.shape
        query, key, value = (
            part.reshape(n, t, self.n_head, -1).transpose(1, 2)
            for part in self.c_attn(x).split(c, dim=2)
        )
        share = self.dropout if self.training else 0.0
        attend = F.scaled_dot_product_attention if self.fused else attention_by_parts
        y = attend(query, key, value, dropout_p=share, is_causal=True)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).reshape(n, t, c)))


def attention_by_parts(query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0,
                       is_causal: bool = False) -> Tensor:  # fmt: skip
    """``scaled_dot_product_attention`` in elementary ops, each with a node of its own."""
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if is_causal:
        seen = gpugrad.ones(scores.shape[-2:], dtype=gpugrad.bool, device=scores.device).tril()
        scores = scores.masked_fill(~seen, -math.inf)
    return F.dropout(F.softmax(scores, dim=-1), dropout_p) @ value


class MLP(nn.Module):
    """Two layers, four times as wide between them."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.c_fc = Conv1D(4 * config.n_embd, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, 4 * config.n_embd)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, T, C)`` to ``(N, T, C)``."""
        return self.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")))


class Block(nn.Module):
    """Attention, then the MLP; each reads a normed copy of the stream and adds to it."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, T, C)`` to ``(N, T, C)``."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """The model; the scores of the next token come from the token embedding itself (tied).

    Weights are drawn with a standard deviation of 0.02, and those of the layers that write into
    the residual stream with ``0.02 / sqrt(2 n_layer)``, as there are ``2 n_layer`` of them.

    Args:
        config: the sizes.
    """

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        nn.init.normal_(self.wte.weight, std=0.02)
        nn.init.normal_(self.wpe.weight, std=0.02)
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * config.n_layer))
        self.register_load_state_dict_pre_hook(_from_hugging_face)

    def features(self, tokens: Tensor) -> Tensor:
        """What the blocks make of int64 tokens ``(N, T)``: ``(N, T, C)``.

        Raises:
            ValueError: for more than ``n_positions`` tokens.
        """
        length = tokens.shape[1]
        if length > self.config.n_positions:
            raise ValueError(
                f"GPT2: {length} tokens given; the model has {self.config.n_positions} positions"
            )
        x = self.wte(tokens) + self.wpe(gpugrad.arange(length, device=tokens.device))
        x = self.drop(x)
        for block in self.h:
            x = block(x)
        return self.ln_f(x)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of the token after each: int64 ``(N, T)`` to ``(N, T, vocab_size)``."""
        return F.linear(self.features(tokens), self.wte.weight)

    @gpugrad.no_grad()
    def generate(self, tokens: Tensor, max_new_tokens: int, temperature: float = 1.0,
                 top_k: int | None = None, generator: Any = None) -> Tensor:  # fmt: skip
        """Continue texts, token by token, in evaluation mode.

        Args:
            tokens: int64 ``(N, T)`` with at least one token; the model sees the last
                ``n_positions`` of them.
            max_new_tokens: how many to append.
            temperature: divides the scores; 0 takes the likeliest token.
            top_k: draw among the ``top_k`` likeliest tokens only.
            generator: where the draws come from.

        Returns:
            ``(N, T + max_new_tokens)``, the given tokens first.
        """
        if temperature < 0 or (top_k is not None and top_k < 1) or tokens.shape[1] < 1:
            raise ValueError(
                f"generate: temperature={temperature} must be at least 0, top_k={top_k} at least "
                f"1, and tokens {tuple(tokens.shape)} must hold some to continue"
            )
        training = self.training
        self.eval()
        try:
            for _ in range(max_new_tokens):
                last = self.features(tokens[:, -self.config.n_positions :])[:, -1]
                scores = F.linear(last, self.wte.weight)
                chosen = _draw(scores, temperature, top_k, generator)
                tokens = gpugrad.cat([tokens, chosen], dim=1)
        finally:
            self.train(training)
        return tokens


def _draw(scores: Tensor, temperature: float, top_k: int | None, generator: Any) -> Tensor:
    """A token for each row of scores ``(N, vocab_size)``: ``(N, 1)``."""
    if temperature == 0:
        return scores.argmax(dim=-1, keepdim=True)
    if top_k is not None and top_k < scores.shape[-1]:
        least = scores.topk(top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < least, -math.inf)
    probabilities = F.softmax(scores / temperature, dim=-1)
    return gpugrad.multinomial(probabilities, 1, generator=generator)


def _from_hugging_face(module: Any, state: Any, prefix: str, *rest: Any) -> None:
    """Bring the names of a checkpoint of ``GPT2LMHeadModel`` or ``GPT2Model`` to ours, in place.

    The first puts ``transformer.`` before all names and has the tied head once more; both may
    hold the causal masks of the attention layers, which are no weights.
    """
    inner = f"{prefix}transformer."
    for name in [n for n in state if n.startswith(inner)]:
        state[prefix + name[len(inner) :]] = state.pop(name)
    for name in [n for n in state if n.endswith((".attn.bias", ".attn.masked_bias"))]:
        del state[name]
    head, embedding = state.pop(f"{prefix}lm_head.weight", None), state.get(f"{prefix}wte.weight")
    if head is not None and embedding is not None and not gpugrad.equal(head, embedding):
        raise ValueError("GPT2: lm_head.weight differs from wte.weight, but here they are one")


def gpt2(name: str = "gpt2", weights: Any = None, **changes: Any) -> GPT2:
    """A GPT-2 by the name of its size, in training mode.

    Args:
        name: ``gpt2``, ``gpt2-medium``, ``gpt2-large``, ``gpt2-xl`` or ``gpt2-tiny``.
        weights: a file to load; nothing is downloaded.
        changes: fields of ``GPT2Config`` that shall differ.

    Raises:
        ValueError: for another name.
    """
    if name not in SIZES:
        raise ValueError(f"gpt2: unknown size {name!r}; accepted: {', '.join(SIZES)}")
    model = GPT2(replace(SIZES[name], **changes))
    if weights is not None:
        model.load_state_dict(gpugrad.load(weights))
    return model
