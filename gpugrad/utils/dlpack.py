"""DLPack under PyTorch's names: every record whose home is ``utils.dlpack``."""

from gpugrad.publish import namespace

__getattr__, __dir__ = namespace("utils.dlpack")
