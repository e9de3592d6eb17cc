"""Optimisers under PyTorch's names.

An optimiser is a record of ``gpugrad.ops.update`` (the formula) and a short class (the arguments,
and what is remembered per parameter).  The records themselves are functions here, too:
``optim.adam_step(param, grad, exp_avg, exp_avg_sq, lr=...)`` returns the new arrays.
"""

from gpugrad.optim import optimizer as optimizer
from gpugrad.optim.adam import Adam as Adam
from gpugrad.optim.adam import AdamW as AdamW
from gpugrad.optim.optimizer import Optimizer as Optimizer
from gpugrad.optim.sgd import SGD as SGD
from gpugrad.publish import namespace

__getattr__, __dir__ = namespace("optim")
