"""Linear algebra under PyTorch's names: every record whose home is ``linalg``."""

from gpugrad.publish import namespace

__getattr__, __dir__ = namespace("linalg")
