"""The share of a dataset that one of several training processes reads."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

from gpugrad.errors import NotSupportedError, SettingError
from gpugrad.ops.random import randperm
from gpugrad.random import Generator
from gpugrad.utils.data.sampler import Sampler

__all__ = ["DistributedSampler"]


class DistributedSampler(Sampler[int]):
    """Every ``num_replicas``-th index from ``rank`` on, in an order that all ranks agree on.

    Call ``set_epoch`` before each epoch, or every epoch has the same order.

    Args:
        dataset: what is sampled, for its length.
        num_replicas: number of processes.
        rank: which of them this is.
        shuffle: draw a fresh order from ``seed + epoch``.
        seed: the same on all ranks.
        drop_last: leave out what does not divide evenly, rather than repeat samples to fill up.

    Raises:
        NotSupportedError: if ``num_replicas`` or ``rank`` is left to a process group.
        SettingError: if ``rank`` is not one of ``num_replicas``.
    """

    def __init__(self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None,
                 shuffle: bool = True, seed: int = 0, drop_last: bool = False) -> None:  # fmt: skip
        if num_replicas is None or rank is None:
            raise NotSupportedError(
                "DistributedSampler: there is no process group to ask; give num_replicas and rank"
            )
        if not 0 <= rank < num_replicas:
            raise SettingError(
                f"DistributedSampler: Invalid rank {rank}, rank should be in the interval "
                f"[0, {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        self.shuffle = shuffle
        self.seed = seed
        n = len(dataset)
        self.num_samples = n // num_replicas if drop_last else -(-n // num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        order = list(range(n))
        if self.shuffle:
            generator = Generator().manual_seed(self.seed + self.epoch)
            order = randperm(n, generator=generator).tolist()
        if n:  # repeat from the start until every rank has as many
            order = (order * -(-self.total_size // n))[: self.total_size]
        return iter(order[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the epoch that starts next."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """The epoch, which with the seed decides the order."""
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue in the epoch that ``state_dict`` told."""
        self.epoch = int(state["epoch"])
