"""Lazy layers are refused when made: what to say instead is in the error."""

from __future__ import annotations

import inspect
from typing import Any

from gpugrad.errors import NotSupportedError
from gpugrad.nn.module import Module
from gpugrad.nn.modules import LAYERS

#: The argument that the first input would tell, by the plain layer.
_LATE = {"Linear": "in_features"} | dict.fromkeys(
    [f"{kind}{n}d" for kind in ("Conv", "ConvTranspose") for n in (1, 2, 3)], "in_channels"
) | dict.fromkeys(
    [f"{kind}{n}d" for kind in ("BatchNorm", "InstanceNorm") for n in (1, 2, 3)], "num_features"
)  # fmt: skip


def _lazy(plain: str, late: str) -> type[Module]:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        raise NotSupportedError(
            f"Lazy{plain}: parameters of a shape that is not known yet are not supported; use "
            f"nn.{plain} with its {late}"
        )

    own = inspect.signature(LAYERS[plain].__init__)
    # PyTorch's lazy instance norms have other defaults than its plain ones.
    other = {"affine", "track_running_stats"} if plain.startswith("InstanceNorm") else set()
    kept = [p.replace(default=True) if name in other else p
            for name, p in own.parameters.items() if name != late]  # fmt: skip
    __init__.__signature__ = own.replace(parameters=kept)  # type: ignore[attr-defined]
    doc = f"Refused when made: ``{plain}`` whose ``{late}`` the first input would tell."
    return type(f"Lazy{plain}", (LAYERS[plain],), {"__init__": __init__, "__doc__": doc})


#: By public name.
LAZY = {f"Lazy{plain}": _lazy(plain, late) for plain, late in _LATE.items()}
