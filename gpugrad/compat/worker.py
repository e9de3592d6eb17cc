"""Run by path in a worker process, before the script is imported there: ``torch`` is gpugrad."""

import sys
from pathlib import Path

if __name__ != "gpugrad.compat.worker":  # imported by name, it does nothing
    _root = str(Path(__file__).parents[2])
    sys.path.append(_root)  # the program's own path arrives later
    from gpugrad.compat import install

    sys.path.pop()
    install()
