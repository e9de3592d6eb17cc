"""``torch.distributed`` for programs that import it and train in one process.

There are no process groups: ``is_available()`` is False, as in a PyTorch built without them.  The
names are here because programs import them first and ask afterwards whether they shall be used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from gpugrad.errors import NotSupportedError, SettingError


def is_available() -> bool:
    """Whether training over several processes is possible: no."""
    return False


def is_initialized() -> bool:
    """Whether there is a process group: no."""
    return False


def is_nccl_available() -> bool:
    """Whether groups can talk over NCCL: no."""
    return False


def is_gloo_available() -> bool:
    """Whether groups can talk over Gloo: no."""
    return False


def is_mpi_available() -> bool:
    """Whether groups can talk over MPI: no."""
    return False


def init_process_group(*args: Any, **kwargs: Any) -> NoReturn:
    """Refused, whatever the arguments.

    Raises:
        NotSupportedError: always.
    """
    raise NotSupportedError(
        "init_process_group: gpugrad trains in one process and has no process groups; run the "
        "program without torchrun or its option for distributed training"
    )


def _needs_group(name: str) -> Callable[..., NoReturn]:
    """A function of PyTorch's that works within a process group, which is never there."""

    def refused(*args: Any, **kwargs: Any) -> NoReturn:
        raise SettingError(
            f"{name}: Default process group has not been initialized; gpugrad has none: ask "
            "is_initialized() first"
        )

    refused.__name__ = refused.__qualname__ = name
    refused.__doc__ = "Raises SettingError (a ValueError) for want of a process group."
    return refused


destroy_process_group = _needs_group("destroy_process_group")
get_rank = _needs_group("get_rank")
get_world_size = _needs_group("get_world_size")
get_backend = _needs_group("get_backend")
new_group = _needs_group("new_group")
barrier = _needs_group("barrier")
broadcast = _needs_group("broadcast")
broadcast_object_list = _needs_group("broadcast_object_list")
all_reduce = _needs_group("all_reduce")
reduce = _needs_group("reduce")
all_gather = _needs_group("all_gather")
all_gather_object = _needs_group("all_gather_object")
gather = _needs_group("gather")
scatter = _needs_group("scatter")
reduce_scatter = _needs_group("reduce_scatter")
send = _needs_group("send")
recv = _needs_group("recv")
