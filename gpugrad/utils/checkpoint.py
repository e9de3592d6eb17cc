"""Activation checkpointing: keep inputs, compute the rest again in backward.

The forward runs with saved-tensor hooks that keep only a place number per saved tensor.  The first
time backward asks for one, the function runs again (same random numbers, same modes), and its saved
tensors fill the places.  Nothing else of backward changes, so ``autograd.grad``, ``create_graph``
and nesting work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad.errors import ArgumentError, AutogradError
from gpugrad.modes import casting, enable_grad, modes, saved_tensors_hooks
from gpugrad.random import fork_rng, get_rng_states, set_rng_states
from gpugrad.tensor import Tensor


class _Replay:
    """One checkpointed call: its function and arguments, and the places of what it saved."""

    def __init__(
        self, function: Callable[..., Any], args: Any, kwargs: Any, keep_rng: bool
    ) -> None:
        self._call = (function, args, kwargs)
        self._states = get_rng_states() if keep_rng else None
        self._autocast = modes.autocast
        # A later write to an argument would change the replay unseen, so versions are compared.
        self._given = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        self._versions = [t._version for t in self._given]
        self._specs: list[Any] = []
        self._found: dict[int, Tensor] = {}

    def pack(self, tensor: Tensor) -> int:
        self._specs.append((tensor.shape, tensor.dtype))
        return len(self._specs) - 1

    def unpack(self, place: int) -> Tensor:
        if place not in self._found:
            self._run()
        # Handed out once per pass; a retained graph computes again, so memory stays low.
        return self._found.pop(place)

    def _run(self) -> None:
        for t, version in zip(self._given, self._versions, strict=True):
            if t._version != version:
                raise AutogradError(
                    f"checkpoint: an argument of shape {tuple(t.shape)} was modified by an "
                    f"in-place operation at {t.storage_state().last_write}, so the forward "
                    "cannot be replayed"
                )
        found: list[Tensor] = []

        def pack(tensor: Tensor) -> Tensor:
            found.append(tensor.detach())
            return tensor.detach()

        function, args, kwargs = self._call
        with fork_rng(enabled=self._states is not None):
            if self._states is not None:
                set_rng_states(self._states)
            with enable_grad(), casting(self._autocast), saved_tensors_hooks(pack, lambda t: t):
                function(*args, **kwargs)
        if [(t.shape, t.dtype) for t in found] != self._specs:
            raise AutogradError(
                f"checkpoint: the forward saved {len(self._specs)} tensors, its replay "
                f"{len(found)} or of other shapes; the function must do the same on each call"
            )
        self._found = dict(enumerate(found))


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
               preserve_rng_state: bool = True, **kwargs: Any) -> Any:  # fmt: skip
    """Call ``function(*args, **kwargs)`` without keeping its intermediate results.

    Backward computes them again.  ``preserve_rng_state`` replays the same random numbers (dropout).
    ``use_reentrant`` is PyTorch's choice of implementation; there is one here, PyTorch's
    ``use_reentrant=False``, and ``True`` gives the same result.

    Raises:
        AutogradError: in backward, if the function did something else on its second run.
    """
    if not callable(function):
        raise ArgumentError(f"checkpoint: function must be callable, got {type(function).__name__}")
    replay = _Replay(function, args, kwargs, preserve_rng_state)
    with saved_tensors_hooks(replay.pack, replay.unpack):
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any,
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Any:
    """Run a list of functions one after the other, checkpointed in ``segments`` pieces."""
    items = list(functions)
    if not 1 <= segments <= max(len(items), 1):
        raise ArgumentError(
            f"checkpoint_sequential: segments must be 1 to {len(items)}, got {segments}"
        )
    size = max(len(items) // segments, 1)

    def piece(start: int, end: int) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for f in items[start:end]:
                x = f(x)
            return x

        return run

    end = 0
    for start in range(0, size * (segments - 1), size):
        end = start + size
        input = checkpoint(piece(start, end), input, preserve_rng_state=preserve_rng_state)
    return piece(end, len(items))(input)  # the last piece is needed at once: nothing to save
