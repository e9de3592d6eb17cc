"""Linear algebra under PyTorch's names: every record whose home is ``linalg``."""

from typing import Any

from gpugrad.errors import NotSupportedError
from gpugrad.publish import namespace

__getattr__, __dir__ = namespace("linalg")


def eig(A: Any) -> Any:
    """Refused: eigenvalues of a general matrix are complex.  See ``eigh``."""
    raise NotSupportedError(
        "linalg.eig: its results are complex, and complex dtypes are not supported yet; "
        "for symmetric matrices use linalg.eigh"
    )


def eigvals(A: Any) -> Any:
    """Refused: eigenvalues of a general matrix are complex.  See ``eigvalsh``."""
    raise NotSupportedError(
        "linalg.eigvals: its results are complex, and complex dtypes are not supported yet; "
        "for symmetric matrices use linalg.eigvalsh"
    )
