"""Programs written for PyTorch: running them unchanged, and saying beforehand what they would miss.

``install()`` makes ``import torch`` mean gpugrad in this process; ``gpugrad run`` does it for a
script, ``gpugrad check`` reads a script without running it.
"""

from gpugrad.compat.alias import install as install
