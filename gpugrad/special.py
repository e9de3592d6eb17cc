"""Special functions under PyTorch's names: every record whose home is ``special``."""

from gpugrad.publish import namespace

__getattr__, __dir__ = namespace("special")
