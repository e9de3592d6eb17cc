"""Losses: functions of an input and a target, reduced by ``mean``, ``sum`` or ``none``.

``size_average`` and ``reduce`` are PyTorch's older spelling of ``reduction``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad.errors import SettingError
from gpugrad.nn.layer import Layer
from gpugrad.nn.modules.distance import PairwiseDistance
from gpugrad.ops.loss import reduction_of
from gpugrad.tensor import Tensor


class _Loss(Layer):
    """Base of all losses; ``size_average`` and ``reduce`` become ``reduction``."""

    def __init__(
        self, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        self.size_average, self.reduce, self.reduction = size_average, reduce, reduction
        self._complete()

    def _complete(self) -> None:
        average, reduce = (self.__dict__.pop(n, None) for n in ("size_average", "reduce"))
        if average is not None or reduce is not None:
            self.reduction = reduction_of(type(self).__name__, average, reduce, "mean")


class L1Loss(_Loss, function="l1_loss"):
    """Absolute differences."""

    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"


class MSELoss(_Loss, function="mse_loss"):
    """Squared differences."""

    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"


class SmoothL1Loss(_Loss, function="smooth_l1_loss"):
    """Absolute differences, rounded to a parabola below ``beta``."""

    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"
    beta: float = 1.0


class HuberLoss(_Loss, function="huber_loss"):
    """Half squared differences below ``delta``, from there on a line of that slope."""

    reduction: str = "mean"
    delta: float = 1.0


class CrossEntropyLoss(_Loss, function="cross_entropy"):
    """Cross entropy of the softmax of logits with class indices or probabilities."""

    weight: Tensor | None = None
    size_average: Any = None
    ignore_index: int = -100
    reduce: Any = None
    reduction: str = "mean"
    label_smoothing: float = 0.0


class NLLLoss(_Loss, function="nll_loss"):
    """Minus the log probability of the target's class."""

    weight: Tensor | None = None
    size_average: Any = None
    ignore_index: int = -100
    reduce: Any = None
    reduction: str = "mean"


class BCELoss(_Loss, function="binary_cross_entropy"):
    """Cross entropy of probabilities."""

    weight: Tensor | None = None
    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"


class BCEWithLogitsLoss(_Loss, function="binary_cross_entropy_with_logits"):
    """Cross entropy of the sigmoid of logits."""

    weight: Tensor | None = None
    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"
    pos_weight: Tensor | None = None


class KLDivLoss(_Loss, function="kl_div"):
    """Kullback-Leibler divergence of log probabilities ``input`` from ``target``."""

    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"
    log_target: bool = False


class PoissonNLLLoss(_Loss, function="poisson_nll_loss"):
    """Minus the log probability of counts under Poisson distributions."""

    log_input: bool = True
    full: bool = False
    size_average: Any = None
    eps: float = 1e-8
    reduce: Any = None
    reduction: str = "mean"


class GaussianNLLLoss(_Loss, function="gaussian_nll_loss", kw_only=True):
    """Minus the log probability under normal distributions of given mean and variance."""

    full: bool = False
    eps: float = 1e-6
    reduction: str = "mean"


class HingeEmbeddingLoss(_Loss, function="hinge_embedding_loss"):
    """``input`` where the target is 1, what it lacks to ``margin`` where it is -1."""

    margin: float = 1.0
    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"


class MarginRankingLoss(_Loss, function="margin_ranking_loss"):
    """What the first input lacks to exceed the second by ``margin``, or the reverse."""

    margin: float = 0.0
    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"


class SoftMarginLoss(_Loss, function="soft_margin_loss"):
    """``log(1 + exp(-target * input))``."""

    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"


class MultiLabelMarginLoss(_Loss, function="multilabel_margin_loss"):
    """What each label's score lacks to exceed every other class's by 1."""

    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"


class MultiLabelSoftMarginLoss(_Loss, function="multilabel_soft_margin_loss"):
    """Cross entropy of every class's sigmoid, averaged over the classes."""

    weight: Tensor | None = None
    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"


class MultiMarginLoss(_Loss, function="multi_margin_loss"):
    """What the target's score lacks to exceed every other class's by ``margin``."""

    p: int = 1
    margin: float = 1.0
    weight: Tensor | None = None
    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"

    def _complete(self) -> None:
        super()._complete()
        if self.p not in (1, 2):
            raise SettingError(f"MultiMarginLoss: p must be 1 or 2, got {self.p}")
        if self.weight is not None and self.weight.ndim != 1:
            raise SettingError(f"MultiMarginLoss: weight must be 1-d, got {self.weight.ndim}-d")


class CosineEmbeddingLoss(_Loss, function="cosine_embedding_loss"):
    """``1 - cos`` where the target is 1, ``max(0, cos - margin)`` where it is -1."""

    margin: float = 0.0
    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"


class TripletMarginLoss(_Loss, function="triplet_margin_loss"):
    """How much the anchor is not nearer to the positive than to the negative by ``margin``."""

    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-6
    swap: bool = False
    size_average: Any = None
    reduce: Any = None
    reduction: str = "mean"

    def _complete(self) -> None:
        super()._complete()
        _positive(self, self.margin)


class TripletMarginWithDistanceLoss(_Loss, function="triplet_margin_with_distance_loss",
                                    kw_only=True):  # fmt: skip
    """``TripletMarginLoss`` with any distance ``f(x, y)``, by default the Euclidean one."""

    distance_function: Callable[[Any, Any], Any] | None = None
    margin: float = 1.0
    swap: bool = False
    reduction: str = "mean"

    def _complete(self) -> None:
        _positive(self, self.margin)
        if self.distance_function is None:
            self.distance_function = PairwiseDistance()


class CTCLoss(_Loss, function="ctc_loss"):
    """Minus the log probability of target sequences over all alignments (Graves et al. 2006)."""

    blank: int = 0
    reduction: str = "mean"
    zero_infinity: bool = False


def _positive(layer: _Loss, margin: float) -> None:
    if margin <= 0:
        raise SettingError(f"{type(layer).__name__}: margin must be positive, got {margin}")
