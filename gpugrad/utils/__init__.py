"""Utilities under PyTorch's names."""

from gpugrad.utils import checkpoint as checkpoint
from gpugrad.utils import dlpack as dlpack
