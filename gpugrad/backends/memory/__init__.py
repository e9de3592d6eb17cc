"""The memory pool: one class for CUDA devices, page-locked memory and big NumPy arrays."""

from gpugrad.backends.memory.host import Arrays as Arrays
from gpugrad.backends.memory.host import Lease as Lease
from gpugrad.backends.memory.pool import Pool as Pool
from gpugrad.backends.memory.private import PrivatePool as PrivatePool
from gpugrad.backends.memory.waiting import Events as Events
