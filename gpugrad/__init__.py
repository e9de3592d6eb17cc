"""gpugrad: a GPU-accelerated autograd engine in pure Python.

This module holds the public names and no logic.  Ops come from their records
(``gpugrad.publish``): a name that is not written here is looked up there.
"""

import sys
from importlib import import_module
from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi
from typing import TYPE_CHECKING, Any

from gpugrad import ops as ops  # first: registers and publishes every record
from gpugrad import publish as _publish

# isort: split
from gpugrad import amp as amp
from gpugrad import autograd as autograd
from gpugrad import cuda as cuda
from gpugrad import linalg as linalg
from gpugrad import random as random
from gpugrad import special as special
from gpugrad import utils as utils
from gpugrad.amp import autocast as autocast
from gpugrad.amp import cuda as _cuda_amp
from gpugrad.amp import get_autocast_dtype as get_autocast_dtype
from gpugrad.amp import is_autocast_enabled as is_autocast_enabled
from gpugrad.backends import get_float32_matmul_precision as get_float32_matmul_precision
from gpugrad.backends import set_float32_matmul_precision as set_float32_matmul_precision
from gpugrad.config import config as config
from gpugrad.config import get_default_dtype as get_default_dtype
from gpugrad.config import set_default_dtype as set_default_dtype
from gpugrad.devices import Device as device
from gpugrad.dtypes import DType as dtype
from gpugrad.dtypes import bfloat16 as bfloat16
from gpugrad.dtypes import bool_ as bool
from gpugrad.dtypes import can_cast as can_cast
from gpugrad.dtypes import finfo as finfo
from gpugrad.dtypes import float8_e4m3fn as float8_e4m3fn
from gpugrad.dtypes import float8_e5m2 as float8_e5m2
from gpugrad.dtypes import float16 as float16
from gpugrad.dtypes import float16 as half
from gpugrad.dtypes import float32 as float
from gpugrad.dtypes import float32 as float32
from gpugrad.dtypes import float64 as double
from gpugrad.dtypes import float64 as float64
from gpugrad.dtypes import iinfo as iinfo
from gpugrad.dtypes import int8 as int8
from gpugrad.dtypes import int16 as int16
from gpugrad.dtypes import int16 as short
from gpugrad.dtypes import int32 as int
from gpugrad.dtypes import int32 as int32
from gpugrad.dtypes import int64 as int64
from gpugrad.dtypes import int64 as long
from gpugrad.dtypes import promote_types as promote_types
from gpugrad.dtypes import uint8 as uint8
from gpugrad.errors import OutOfMemoryError as OutOfMemoryError
from gpugrad.factory import Layout as layout
from gpugrad.factory import MemoryFormat as memory_format
from gpugrad.factory import channels_last as channels_last
from gpugrad.factory import channels_last_3d as channels_last_3d
from gpugrad.factory import contiguous_format as contiguous_format
from gpugrad.factory import preserve_format as preserve_format
from gpugrad.factory import strided as strided
from gpugrad.modes import enable_grad as enable_grad
from gpugrad.modes import inference_mode as inference_mode
from gpugrad.modes import is_grad_enabled as is_grad_enabled
from gpugrad.modes import is_inference_mode_enabled as is_inference_mode_enabled
from gpugrad.modes import no_grad as no_grad
from gpugrad.modes import set_grad_enabled as set_grad_enabled
from gpugrad.op import elementwise as elementwise
from gpugrad.op import function as function
from gpugrad.random import Generator as Generator
from gpugrad.random import default_generator as default_generator
from gpugrad.random import get_rng_state as get_rng_state
from gpugrad.random import initial_seed as initial_seed
from gpugrad.random import manual_seed as manual_seed
from gpugrad.random import seed as seed
from gpugrad.random import set_rng_state as set_rng_state
from gpugrad.tensor import Size as Size
from gpugrad.tensor import Tensor as Tensor
from gpugrad.threads import get_num_interop_threads as get_num_interop_threads
from gpugrad.threads import get_num_threads as get_num_threads
from gpugrad.threads import set_num_interop_threads as set_num_interop_threads
from gpugrad.threads import set_num_threads as set_num_threads

__version__ = "0.1.0"


_lookup, _names = _publish.namespace("")


# The older home of mixed precision: `gpugrad.cuda` is a module, below `gpugrad.amp`.
cuda.amp = sys.modules["gpugrad.cuda.amp"] = _cuda_amp  # type: ignore[attr-defined]

# Public names win over submodules of the same name: gpugrad.tensor is the function.
globals().update(_publish.homes[""])


#: Sub-packages that are imported when first asked for, so that every program need not pay.
_ON_DEMAND = ("compiler", "datasets", "distributed", "distributions", "func", "futures",
              "library", "models", "multiprocessing", "nn", "optim", "profiler", "serialization",
              "testing", "types", "version")  # fmt: skip
if TYPE_CHECKING:
    from gpugrad import compiler as compiler
    from gpugrad import datasets as datasets
    from gpugrad import distributed as distributed
    from gpugrad import distributions as distributions
    from gpugrad import func as func
    from gpugrad import futures as futures
    from gpugrad import library as library
    from gpugrad import models as models
    from gpugrad import multiprocessing as multiprocessing
    from gpugrad import nn as nn
    from gpugrad import optim as optim
    from gpugrad import profiler as profiler
    from gpugrad import serialization as serialization
    from gpugrad import testing as testing
    from gpugrad import types as types
    from gpugrad import version as version


#: Functions of modules that are imported so, and their modules.
_FUNCTIONS_ON_DEMAND = {"compile": "compiler", "explain": "explanation", "fuse": "fusion",
                        "load": "io", "save": "io", "vmap": "func"}  # fmt: skip
if TYPE_CHECKING:
    from gpugrad.compiler import compile as compile
    from gpugrad.explanation import explain as explain
    from gpugrad.func import vmap as vmap
    from gpugrad.fusion import fuse as fuse
    from gpugrad.io import load as load
    from gpugrad.io import save as save


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return import_module(f"gpugrad.{name}")
    if name in _FUNCTIONS_ON_DEMAND:
        return getattr(import_module(f"gpugrad.{_FUNCTIONS_ON_DEMAND[name]}"), name)
    return _lookup(name)  # ops that a user registered after the import


def __dir__() -> list[str]:
    return sorted({*globals(), *_names()})
