"""Vision transformers (Dosovitskiy and others: "An Image is Worth 16x16 Words", 2020).

Parameters are named as in torchvision, so its checkpoints load.

image (N, 3, S, S) -> patches (N, (S / P)^2, C), a class token before them, plus positions
  -> num_layers blocks -> layer norm -> the class token (N, C) -> num_classes
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import gpugrad
from gpugrad import Tensor, nn


class EncoderBlock(nn.Module):
    """Attention, then two linear layers; each reads a normed copy of the stream and adds to it."""

    def __init__(self, num_heads: int, hidden_dim: int, mlp_dim: int, dropout: float,
                 attention_dropout: float) -> None:  # fmt: skip
        super().__init__()
        self.ln_1 = nn.LayerNorm(hidden_dim, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(
            hidden_dim, num_heads, dropout=attention_dropout, batch_first=True
        )
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = nn.LayerNorm(hidden_dim, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(hidden_dim, mlp_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(mlp_dim, hidden_dim),
            nn.Dropout(dropout),
        )
        self.register_load_state_dict_pre_hook(_from_older_names)
        for layer in (self.mlp[0], self.mlp[3]):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, T, C)`` to ``(N, T, C)``."""
        y = self.ln_1(x)
        x = x + self.dropout(self.self_attention(y, y, y, need_weights=False)[0])
        return x + self.mlp(self.ln_2(x))


def _from_older_names(module: Any, state: Any, prefix: str, *rest: Any) -> None:
    """Bring the names that torchvision's first checkpoints have to today's, in place."""
    for older, name in (("linear_1", "0"), ("linear_2", "3")):
        for part in ("weight", "bias"):
            if f"{prefix}mlp.{older}.{part}" in state:
                state[f"{prefix}mlp.{name}.{part}"] = state.pop(f"{prefix}mlp.{older}.{part}")


class Encoder(nn.Module):
    """Adds the positions, then runs the blocks."""

    def __init__(self, length: int, num_layers: int, num_heads: int, hidden_dim: int,
                 mlp_dim: int, dropout: float, attention_dropout: float) -> None:  # fmt: skip
        super().__init__()
        self.pos_embedding = nn.Parameter(gpugrad.empty(1, length, hidden_dim))
        nn.init.normal_(self.pos_embedding, std=0.02)
        self.dropout = nn.Dropout(dropout)
        blocks = [
            EncoderBlock(num_heads, hidden_dim, mlp_dim, dropout, attention_dropout)
            for _ in range(num_layers)
        ]
        self.layers = nn.Sequential(
            OrderedDict((f"encoder_layer_{i}", block) for i, block in enumerate(blocks))
        )
        self.ln = nn.LayerNorm(hidden_dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, T, C)`` to ``(N, T, C)``."""
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


class VisionTransformer(nn.Module):
    """A transformer over the patches of an image.

    Args:
        image_size: height and width of the images.
        patch_size: height and width of a patch; divides ``image_size``.
        num_layers: number of blocks.
        num_heads: number of attention heads; divides ``hidden_dim``.
        hidden_dim: width of the stream.
        mlp_dim: width between the two linear layers of a block.
        dropout: share dropped of what is added to the stream.
        attention_dropout: share dropped of the attention weights.
        num_classes: number of scores.
        in_channels: channels of the images.

    Raises:
        ValueError: if patches of that size do not tile the image.
    """

    def __init__(self, image_size: int, patch_size: int, num_layers: int, num_heads: int,
                 hidden_dim: int, mlp_dim: int, dropout: float = 0.0,
                 attention_dropout: float = 0.0, num_classes: int = 1000,
                 in_channels: int = 3) -> None:  # fmt: skip
        super().__init__()
        if image_size % patch_size:
            raise ValueError(
                f"VisionTransformer: image_size={image_size} is not a multiple of "
                f"patch_size={patch_size}"
            )
        self.image_size, self.patch_size = image_size, patch_size
        self.conv_proj = nn.Conv2d(in_channels, hidden_dim, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(gpugrad.zeros(1, 1, hidden_dim))
        self.encoder = Encoder((image_size // patch_size) ** 2 + 1, num_layers, num_heads,
                               hidden_dim, mlp_dim, dropout, attention_dropout)  # fmt: skip
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(hidden_dim, num_classes)))
        nn.init.trunc_normal_(
            self.conv_proj.weight, std=math.sqrt(1 / (in_channels * patch_size**2))
        )
        for zeroed in (self.conv_proj.bias, self.heads.head.weight, self.heads.head.bias):
            nn.init.zeros_(zeroed)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, in_channels, image_size, image_size)`` to scores ``(N, num_classes)``.

        Raises:
            ValueError: for images of another size.
        """
        if images.shape[2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"VisionTransformer: images are {tuple(images.shape[2:])}; the model was made for "
                f"{(self.image_size, self.image_size)}"
            )
        patches = self.conv_proj(images).flatten(2).transpose(1, 2)
        token = self.class_token.expand(patches.shape[0], -1, -1)
        return self.heads(self.encoder(gpugrad.cat([token, patches], dim=1))[:, 0])


def _vit(sizes: dict[str, int], weights: Any, **kwargs: Any) -> VisionTransformer:
    model = VisionTransformer(**{"image_size": 224, **sizes, **kwargs})
    if weights is not None:
        model.load_state_dict(gpugrad.load(weights))
    return model


_B = {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072}
_L = {"num_layers": 24, "num_heads": 16, "hidden_dim": 1024, "mlp_dim": 4096}
_H = {"num_layers": 32, "num_heads": 16, "hidden_dim": 1280, "mlp_dim": 5120}


def vit_b_16(weights: Any = None, **kwargs: Any) -> VisionTransformer:
    """ViT-B/16: 86,567,656 parameters for 1000 classes.

    Args:
        weights: a file to load; nothing is downloaded.
        kwargs: settings of ``VisionTransformer`` that shall differ.
    """
    return _vit({"patch_size": 16, **_B}, weights, **kwargs)


def vit_b_32(weights: Any = None, **kwargs: Any) -> VisionTransformer:
    """ViT-B/32: 88,224,232 parameters; arguments as for ``vit_b_16``."""
    return _vit({"patch_size": 32, **_B}, weights, **kwargs)


def vit_l_16(weights: Any = None, **kwargs: Any) -> VisionTransformer:
    """ViT-L/16: 304,326,632 parameters; arguments as for ``vit_b_16``."""
    return _vit({"patch_size": 16, **_L}, weights, **kwargs)


def vit_l_32(weights: Any = None, **kwargs: Any) -> VisionTransformer:
    """ViT-L/32: 306,535,400 parameters; arguments as for ``vit_b_16``."""
    return _vit({"patch_size": 32, **_L}, weights, **kwargs)


def vit_h_14(weights: Any = None, **kwargs: Any) -> VisionTransformer:
    """ViT-H/14: 632,045,800 parameters; arguments as for ``vit_b_16``."""
    return _vit({"patch_size": 14, **_H}, weights, **kwargs)
