"""Optimisers under PyTorch's names.

An optimiser is a record of ``gpugrad.ops.update`` (the formula) and a short class (the arguments,
and what is remembered per parameter).  The records themselves are functions here, too:
``optim.adam_step(param, grad, exp_avg, exp_avg_sq, lr=...)`` returns the new arrays.
"""

from gpugrad.optim import lr_scheduler as lr_scheduler
from gpugrad.optim import optimizer as optimizer
from gpugrad.optim import swa_utils as swa_utils
from gpugrad.optim.adam import Adam as Adam
from gpugrad.optim.adam import AdamW as AdamW
from gpugrad.optim.adaptive import ASGD as ASGD
from gpugrad.optim.adaptive import Adadelta as Adadelta
from gpugrad.optim.adaptive import Adagrad as Adagrad
from gpugrad.optim.adaptive import RMSprop as RMSprop
from gpugrad.optim.adaptive import Rprop as Rprop
from gpugrad.optim.lbfgs import LBFGS as LBFGS
from gpugrad.optim.matrix import Adafactor as Adafactor
from gpugrad.optim.matrix import Muon as Muon
from gpugrad.optim.matrix import SparseAdam as SparseAdam
from gpugrad.optim.moments import Adamax as Adamax
from gpugrad.optim.moments import Lion as Lion
from gpugrad.optim.moments import NAdam as NAdam
from gpugrad.optim.moments import RAdam as RAdam
from gpugrad.optim.optimizer import Optimizer as Optimizer
from gpugrad.optim.sgd import SGD as SGD
from gpugrad.publish import namespace

__getattr__, __dir__ = namespace("optim")
