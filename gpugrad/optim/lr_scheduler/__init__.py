"""Learning rates that change while training, under PyTorch's names."""

from gpugrad.optim.lr_scheduler.base import LRScheduler as LRScheduler
from gpugrad.optim.lr_scheduler.base import _LRScheduler as _LRScheduler
from gpugrad.optim.lr_scheduler.combined import ChainedScheduler as ChainedScheduler
from gpugrad.optim.lr_scheduler.combined import SequentialLR as SequentialLR
from gpugrad.optim.lr_scheduler.cycles import (
    CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts,
)
from gpugrad.optim.lr_scheduler.cycles import CyclicLR as CyclicLR
from gpugrad.optim.lr_scheduler.cycles import OneCycleLR as OneCycleLR
from gpugrad.optim.lr_scheduler.factors import ConstantLR as ConstantLR
from gpugrad.optim.lr_scheduler.factors import CosineAnnealingLR as CosineAnnealingLR
from gpugrad.optim.lr_scheduler.factors import ExponentialLR as ExponentialLR
from gpugrad.optim.lr_scheduler.factors import LinearLR as LinearLR
from gpugrad.optim.lr_scheduler.factors import MultiStepLR as MultiStepLR
from gpugrad.optim.lr_scheduler.factors import PolynomialLR as PolynomialLR
from gpugrad.optim.lr_scheduler.factors import StepLR as StepLR
from gpugrad.optim.lr_scheduler.functions import LambdaLR as LambdaLR
from gpugrad.optim.lr_scheduler.functions import MultiplicativeLR as MultiplicativeLR
from gpugrad.optim.lr_scheduler.plateau import ReduceLROnPlateau as ReduceLROnPlateau
