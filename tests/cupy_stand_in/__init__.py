"""A stand-in for CuPy that runs on NumPy.  It is no GPU: it shows what Python code does, not speed.

``install(devices=1)`` puts modules named ``cupy`` and ``cupyx`` into ``sys.modules``, so everything
behind ``gpugrad.backends.cupy`` runs without a device.  Use it in a process of its own.

What it emulates, after CuPy 14.2:

- ``ndarray`` is a class of its own over hidden memory.  It never turns into a NumPy array by
  itself: ``np.asarray(x)``, and a NumPy array beside it in an operator or function, raise
  TypeError.
- Every result is an array, also one without dims; there are no scalars.
- Only names that CuPy has, with CuPy's parameters and, for ufuncs, its dtypes: see ``api.json``.
  bfloat16 is taken only where CuPy has a loop for it (``where`` has none), and by copies.
- Views have the root as ``base``, what ``as_strided`` makes has none; memory comes from the
  allocator that was set, in the end from a driver that has 1 GiB and says when it is full; fresh
  memory holds rubbish, and ``plugin.py`` lets the engine's pool keep that up.
- Index arrays wrap around instead of raising; an assignment that hits one element twice with
  different values is undefined there and an error here; integers divided by zero give 0; float
  ``remainder`` and ``floor_divide`` are by ``floor(x / y)``.
- ``sort`` knows only stable; 16-bit brain floats cannot be sorted; ``lexsort`` takes a matrix.
- ``linalg`` wants equal batch dims, and says nothing of singular matrices unless
  ``cupyx.errstate(linalg="raise")`` is on.
- Several devices: arrays belong to one, and work on another than the current one raises.
- Kernels run on the host, by ``gpugrad.testing.cuda_host``: see ``kernels.py``. Their faults are
  raised by the launch.
- ``nvmath.bindings.cublasLt`` multiplies by what its descriptors say: see ``nvmath.py``; so do
  ``cudnn``'s graphs, for convolutions and attention: see ``cudnn.py``.
- Streams and events keep account of who is current and who waits for whom; they run nothing.
- Known faults: batched bfloat16 matmul raises; ``cupy.random`` is not there.

What it does not: concurrency, capture, asynchronous errors, atomics and their order,
rounding of CUDA's maths functions, conversions of NaN and of numbers out of range to integers,
cuBLAS and cuSOLVER.
"""

from __future__ import annotations

import sys

from cupy_stand_in import cudnn, functions, kernels, linalg, module, nvmath


def install(devices: int = 1) -> None:
    """Put the modules in place of CuPy for the rest of this process."""
    found = module.build(devices, functions.FUNCTIONS, linalg.FUNCTIONS)
    sys.modules.update(found)
    nvmath.install()
    cudnn.install()
    kernels.take_texts()  # imports gpugrad, so last
