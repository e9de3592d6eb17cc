"""What the array libraries lack, written once over either of them: a file per family.

Each module's ``build(lib)`` returns functions under the names that op records call as
``xp.<name>``, for arrays of ``lib`` (``numpy`` or ``cupy``).  Their positional order is that of the
public op of the same xp name, so a gradient rule's call means the same on arrays and on tensors.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def additions(lib: Any) -> dict[str, Any]:
    """Build all additions for one array library."""
    found: dict[str, Any] = {}
    for name in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        built = importlib.import_module(f"{__name__}.{name}").build(lib)
        twice = found.keys() & built.keys()
        assert not twice, f"additions defined twice: {twice}"
        found.update(built)
    return found
