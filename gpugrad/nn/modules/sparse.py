"""Embeddings: a learned row for each number, alone or reduced in bags."""

from __future__ import annotations

from typing import Any, Self

from gpugrad.errors import SettingError, ShapeError
from gpugrad.modes import no_grad
from gpugrad.nn import functional
from gpugrad.nn.layer import parameter, shown
from gpugrad.nn.module import Module
from gpugrad.nn.parameter import Parameter


class _Table(Module):
    """A table of ``num_embeddings`` rows, normally distributed; that at ``padding_idx`` is 0."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None,
                 max_norm: float | None, norm_type: float, scale_grad_by_freq: bool, sparse: bool,
                 weight: Any, freeze: bool, device: Any, dtype: Any) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise SettingError(
                f"{name}: padding_idx must be within num_embeddings={num_embeddings}, got "
                f"{padding_idx}"
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if weight is None:
            self.weight = parameter(num_embeddings, embedding_dim, device=device, dtype=dtype)
            self.reset_parameters()
            self.weight.requires_grad_(not freeze)
        elif tuple(weight.shape) != (num_embeddings, embedding_dim):
            raise ShapeError(
                f"{name}: _weight must have shape ({num_embeddings}, {embedding_dim}), got "
                f"{tuple(weight.shape)}"
            )
        else:
            self.weight = Parameter(weight, requires_grad=not freeze)

    def reset_parameters(self) -> None:
        """Draw all rows anew."""
        with no_grad():
            self.weight.normal_()
            if self.padding_idx is not None:
                self.weight[self.padding_idx].zero_()

    @classmethod
    def _of(cls, embeddings: Any, freeze: bool, **settings: Any) -> Self:
        if embeddings.ndim != 2:
            raise ShapeError(
                f"{cls.__name__}.from_pretrained: embeddings must be 2-d, got shape "
                f"{tuple(embeddings.shape)}"
            )
        rows, columns = embeddings.shape
        settings["_weight"] = embeddings  # the name that subclasses have for it
        made = cls(rows, columns, **settings)
        made.weight.requires_grad_(not freeze)
        return made


class Embedding(_Table):
    """Rows of ``weight`` by number: ``(...)`` to ``(..., embedding_dim)``.

    Args:
        padding_idx: a row that starts as 0 and gets no gradient.
        max_norm: rows that are read and exceed it in ``norm_type`` are scaled down, in place.
        scale_grad_by_freq: divide a row's gradient by how often it was read.
        sparse: not supported.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 max_norm: float | None = None, norm_type: float = 2.0,
                 scale_grad_by_freq: bool = False, sparse: bool = False, _weight: Any = None,
                 _freeze: bool = False, device: Any = None, dtype: Any = None) -> None:  # fmt: skip
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type,
                         scale_grad_by_freq, sparse, _weight, _freeze, device, dtype)  # fmt: skip

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None,
                        max_norm: float | None = None, norm_type: float = 2.0,
                        scale_grad_by_freq: bool = False,
                        sparse: bool = False) -> Self:  # fmt: skip
        """An embedding with given rows ``(num_embeddings, embedding_dim)``, frozen by default."""
        return cls._of(embeddings, freeze, padding_idx=padding_idx, max_norm=max_norm,
                       norm_type=norm_type, scale_grad_by_freq=scale_grad_by_freq,
                       sparse=sparse)  # fmt: skip

    def forward(self, input: Any) -> Any:
        """The rows at the numbers of ``input``."""
        return functional.embedding(input, self.weight, self.padding_idx, self.max_norm,
                                    self.norm_type, self.scale_grad_by_freq,
                                    self.sparse)  # fmt: skip

    def extra_repr(self) -> str:
        """Sizes, and the settings that are not the default."""
        names = "num_embeddings embedding_dim"
        names += " padding_idx=" if self.padding_idx is not None else ""
        names += " max_norm=" if self.max_norm is not None else ""
        names += " norm_type=" if self.norm_type != 2 else ""
        return shown(self, names + " scale_grad_by_freq? sparse?")


class EmbeddingBag(_Table):
    """The sum, mean or max of rows, bag by bag: ``(bags, embedding_dim)``.

    Args:
        mode: ``sum``, ``mean`` or ``max``.
        include_last_offset: whether offsets end with the number of elements.
        padding_idx: rows with this number count as not there.
        max_norm, norm_type, scale_grad_by_freq, sparse: as for ``Embedding``.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None,
                 norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
                 sparse: bool = False, _weight: Any = None, include_last_offset: bool = False,
                 padding_idx: int | None = None, device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type,
                         scale_grad_by_freq, sparse, _weight, False, device, dtype)  # fmt: skip
        self.mode = mode
        self.include_last_offset = include_last_offset

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, max_norm: float | None = None,
                        norm_type: float = 2.0, scale_grad_by_freq: bool = False,
                        mode: str = "mean", sparse: bool = False,
                        include_last_offset: bool = False,
                        padding_idx: int | None = None) -> Self:  # fmt: skip
        """Bags of given rows ``(num_embeddings, embedding_dim)``, frozen by default."""
        return cls._of(embeddings, freeze, max_norm=max_norm, norm_type=norm_type,
                       scale_grad_by_freq=scale_grad_by_freq, mode=mode, sparse=sparse,
                       include_last_offset=include_last_offset,
                       padding_idx=padding_idx)  # fmt: skip

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        """The bags of a 2-d input are its rows; those of a 1-d input begin at ``offsets``."""
        return functional.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
            self.mode, self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Sizes, and the settings that are not the default."""
        names = "num_embeddings embedding_dim"
        names += " max_norm=" if self.max_norm is not None else ""
        names += " norm_type=" if self.norm_type != 2 else ""
        names += " scale_grad_by_freq? mode="
        return shown(self, names + (" padding_idx=" if self.padding_idx is not None else ""))
