"""``torch.backends.mps``: Apple's GPUs, which gpugrad does not use; programs ask before they do."""


def is_available() -> bool:
    """Always False."""
    return False


def is_built() -> bool:
    """Always False."""
    return False
