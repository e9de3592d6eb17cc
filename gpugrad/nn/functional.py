"""Functions of layers under PyTorch's names: every record whose home is ``nn.functional``."""

from gpugrad.publish import namespace

__getattr__, __dir__ = namespace("nn.functional")
