"""Training: the jobs of ``gpugrad train``, and their loop for jobs of one's own.

The names are loaded when they are asked for, as the command line reads only the settings.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpugrad.train.callbacks import Callback as Callback
    from gpugrad.train.callbacks import FailOnNan as FailOnNan
    from gpugrad.train.checkpoints import Checkpoints as Checkpoints
    from gpugrad.train.trainer import Trainer as Trainer

_HOMES = {
    "Callback": "callbacks", "Checkpoints": "checkpoints", "FailOnNan": "callbacks",
    "Trainer": "trainer",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"gpugrad.train.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gpugrad.train' has no attribute {name!r}")
