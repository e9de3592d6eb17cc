"""How much memory a job uses."""

from __future__ import annotations

import os
import sys

import gpugrad


def memory_in_use(device: str) -> int:
    """Bytes of the device's pool on CUDA, of the whole process on the CPU; 0 if nobody says."""
    if device.startswith("cuda"):
        return gpugrad.cuda.memory_reserved(device)
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return _peak()


def _peak() -> int:
    """Where only the peak is told (macOS), that."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
