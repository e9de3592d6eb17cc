"""Expressions as CUDA C++: a kernel for each shape of work, in variants for sizes and alignment.

- ``flat``: elementwise.  A thread takes ``width`` neighbouring elements by 16-byte accesses.
- ``rows``: reductions along rows, sums over rows, or both.  ``threads`` threads share a row, which
  stays in their registers, ``packs`` accesses each; a row too long for that is read again from
  memory (mostly from the L2 cache) by each level's loop (``packs`` 0).  Short rows share a block.
- ``table``: elementwise over many arrays by a table of pointers: an optimiser's step.  A reduction
  of each is a ``rows`` kernel with such a table.

The text includes no header and needs ``kernels/elementwise.cuh`` and ``kernels/memory.cuh`` before
it (``PRELUDE``).  16-bit floats are computed in float32; no result depends on the order in which
threads run.
"""

from gpugrad.codegen.cuda.spelling import BLOCK as BLOCK
from gpugrad.codegen.cuda.spelling import PRELUDE as PRELUDE
from gpugrad.codegen.cuda.spelling import Variant as Variant
from gpugrad.codegen.cuda.spelling import computed as computed
from gpugrad.codegen.cuda.spelling import memory_type as memory_type
from gpugrad.codegen.cuda.writer import CudaWriter as CudaWriter
