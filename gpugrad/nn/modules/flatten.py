"""Layers that make one dimension of several, or several of one."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import ArgumentError
from gpugrad.nn.layer import Layer


class Flatten(Layer, shows="start_dim= end_dim="):
    """Makes one dimension of ``start_dim`` to ``end_dim``; of all but the batch by default."""

    start_dim: int = 1
    end_dim: int = -1

    def forward(self, input: Any) -> Any:
        """The flattened input."""
        return input.flatten(self.start_dim, self.end_dim)


class Unflatten(Layer, shows="dim= unflattened_size="):
    """Makes several dimensions of ``dim``; one of the sizes may be -1."""

    dim: int
    unflattened_size: Any

    def _complete(self) -> None:
        given = self.unflattened_size
        listed = isinstance(given, tuple | list)
        if not listed or not all(isinstance(s, int) for s in (self.dim, *given)):
            raise ArgumentError(
                "Unflatten: dim must be an int and unflattened_size a tuple of ints, got "
                f"{self.dim!r} and {given!r}; named dimensions are not supported"
            )

    def forward(self, input: Any) -> Any:
        """The unflattened input."""
        return input.unflatten(self.dim, self.unflattened_size)
