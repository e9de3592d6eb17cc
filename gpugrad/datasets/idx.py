"""MNIST's own format: a magic number with dtype and rank, the sizes, then the bytes.

Source: the description at the end of LeCun's page on MNIST (yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from gpugrad.datasets.files import Reader, refuse

#: The only dtype that these data sets use, by its code in the magic number.
_UINT8 = 8


def read_idx(path: Path, ndim: int) -> Any:
    """An idx file of uint8 with ``ndim`` dimensions, packed with gzip or not.

    Raises:
        FileFormatError: for another magic number, and for too few or too many bytes.
        OSError: if it cannot be read.
    """
    with Reader(path) as reader:
        magic = reader.take(4, "the magic number").tolist()
        if magic != [0, 0, _UINT8, ndim]:
            refuse(
                path,
                f"an idx file of uint8 with {ndim} dimensions begins with the bytes "
                f"{[0, 0, _UINT8, ndim]}, this one with {magic}",
            )
        sizes = reader.take(4 * ndim, "the sizes").view(">u4").tolist()
        what = f"an array of shape {tuple(sizes)}"
        data = reader.take(math.prod(sizes), what)
        reader.end(what)
    return data.reshape(sizes)
