"""Adaptive softmax (Grave et al. 2017): frequent classes in a head, rare ones in small clusters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from gpugrad.errors import IndexingError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.nn import functional
from gpugrad.nn.containers import ModuleList, Sequential
from gpugrad.nn.module import Module
from gpugrad.nn.modules.linear import Linear
from gpugrad.tensor import Tensor


class AdaptiveOutput(NamedTuple):
    """Log probabilities of the targets ``(N,)`` and minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log probabilities of many classes, of which the first are the most frequent.

    Args:
        cutoffs: where clusters begin, rising; the classes before the first are the head's.
        div_value: cluster ``i`` works with ``in_features / div_value ** (i + 1)`` features.
        head_bias: whether the head has a bias.
    """

    def __init__(self, in_features: int, n_classes: int, cutoffs: Sequence[int],
                 div_value: float = 4.0, head_bias: bool = False, device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__()
        ends = [*cutoffs, n_classes]
        whole = all(int(c) == c for c in ends)
        if len(ends) < 2 or ends[0] <= 0 or not whole or any(a >= b for a, b in pairwise(ends)):
            raise SettingError(
                "AdaptiveLogSoftmaxWithLoss: cutoffs must be ints that rise from at least 1 to at "
                f"most {n_classes - 1}, got {list(cutoffs)}"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = ends
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = ends[0]
        self.n_clusters = len(ends) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        factory = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **factory)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(pairwise(ends)):
            features = int(in_features // div_value ** (i + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, features, bias=False, **factory),
                    Linear(features, high - low, bias=False, **factory),
                )
            )

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.modules():
            if isinstance(module, Linear):
                module.reset_parameters()

    def forward(self, input_: Any, target_: Any) -> AdaptiveOutput:
        """Log probabilities of the targets, and the loss; a cluster sees its own rows only.

        Args:
            input_: ``(N, in_features)`` or ``(in_features,)``.
            target_: class indices ``(N,)`` or 0-d.

        Raises:
            IndexingError: if a target is no class.
        """
        if target_.ndim > 1 or input_.ndim != target_.ndim + 1 or (
            target_.ndim and input_.shape[0] != target_.shape[0]
        ):  # fmt: skip
            raise ShapeError(
                "AdaptiveLogSoftmaxWithLoss: input (N, in_features) needs a target (N,), input "
                f"(in_features,) a 0-d one; got {tuple(input_.shape)} and {tuple(target_.shape)}"
            )
        x, y = F.reshape(input_, (-1, input_.shape[-1])), F.reshape(target_, (-1,))
        wrong = y[(y < 0) | (y >= self.n_classes)].tolist()
        if wrong:
            raise IndexingError(
                f"AdaptiveLogSoftmaxWithLoss: target values must be in [0, {self.n_classes - 1}], "
                f"got {wrong[0]}"
            )
        place = y
        within = F.zeros(y.shape, dtype=x.dtype, device=x.device)
        for i, (low, high) in enumerate(pairwise(self.cutoffs)):
            rows = ((y >= low) & (y < high)).nonzero().squeeze(1)
            if rows.numel() == 0:
                continue
            place = place.index_fill(0, rows, self.shortlist_size + i)
            logs = functional.log_softmax(self.tail[i](x.index_select(0, rows)), dim=1)
            found = logs.gather(1, (y.index_select(0, rows) - low).unsqueeze(1)).squeeze(1)
            within = within.index_copy(0, rows, found)
        head = functional.log_softmax(self.head(x), dim=1)
        output = within + head.gather(1, place.unsqueeze(1)).squeeze(1)
        loss = -output.mean()
        return AdaptiveOutput(output if target_.ndim else output.squeeze(0), loss)

    def log_prob(self, input: Any) -> Any:
        """Log probabilities of all classes: ``(N, in_features)`` to ``(N, n_classes)``."""
        head = functional.log_softmax(self.head(input), dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            logs = functional.log_softmax(cluster(input), dim=1)
            place = self.shortlist_size + i
            parts.append(logs + head[:, place : place + 1])
        return F.concat(parts, 1)

    def predict(self, input: Any) -> Any:
        """The most probable class of each row ``(N,)``."""
        return self.log_prob(input).argmax(1)
