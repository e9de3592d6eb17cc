"""Neural networks.  Functions are here; modules come with the next capability."""

from gpugrad.nn import functional as functional
