"""Neural networks: modules, functions of layers, initial values, helpers."""

from typing import Any

from gpugrad.nn import attention as attention
from gpugrad.nn import functional as functional
from gpugrad.nn import init as init
from gpugrad.nn import modules as modules
from gpugrad.nn import parallel as parallel
from gpugrad.nn import utils as utils
from gpugrad.nn.lazy import LAZY as _LAZY
from gpugrad.nn.module import Module as Module
from gpugrad.nn.parallel import DataParallel as DataParallel
from gpugrad.nn.parameter import Buffer as Buffer
from gpugrad.nn.parameter import Parameter as Parameter

globals().update(modules.LAYERS | _LAZY)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'gpugrad.nn' has no attribute '{name}'")
