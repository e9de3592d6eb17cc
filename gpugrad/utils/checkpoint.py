"""Activation checkpointing: keep inputs, compute the rest again in backward.

The forward runs with saved-tensor hooks that keep only a place number per saved tensor.  The first
time backward asks for one, the function runs again (same random numbers, same modes), and its saved
tensors fill the places.  Nothing else of backward changes, so ``autograd.grad``, ``create_graph``
and nesting work.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from gpugrad.errors import ArgumentError, AutogradError, SettingError
from gpugrad.modes import casting, enable_grad, modes, recording, saved_tensors_hooks
from gpugrad.random import fork_rng, get_rng_states, set_rng_states
from gpugrad.signature import check_choice
from gpugrad.tensor import Tensor


class CheckpointError(AutogradError):
    """The second run of a checkpointed function did something else than the first."""


class _Enough(BaseException):
    """Ends a second run early; no ``except Exception`` of the function may catch it."""


def noop_context_fn() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Two contexts that do nothing: what surrounds both runs by default."""
    return nullcontext(), nullcontext()


class _Log:
    """A recorder that writes down the ops of a run, for the message when two runs differ."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def record(self, op: Any, inputs: Any, settings: Any, outputs: Any) -> None:
        shapes = (str(tuple(t.shape)) for t in inputs if isinstance(t, Tensor))
        self.lines.append(f"{op.name}({', '.join(shapes)})")


@dataclass(frozen=True, slots=True)
class _Choices:
    """How a second run goes: what surrounds it, what is compared, and when it may end."""

    around: AbstractContextManager[Any]
    compare: bool
    stop_early: bool
    log: tuple[_Log, _Log] | None

    def logged(self, run: int) -> AbstractContextManager[Any]:
        return nullcontext() if self.log is None else recording(self.log[run])


class _Replay:
    """One checkpointed call: its function and arguments, and the places of what it saved."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any, keep_rng: bool,
                 choices: _Choices) -> None:  # fmt: skip
        self._call = (function, args, kwargs)
        self._choices = choices
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
            if self._choices.stop_early and len(found) == len(self._specs):
                raise _Enough
            return tensor.detach()

        with fork_rng(enabled=self._states is not None):
            if self._states is not None:
                set_rng_states(self._states)
            with suppress(_Enough):
                self._again(pack)
        self._check(found)
        self._found = dict(enumerate(found))

    def _again(self, pack: Callable[[Tensor], Tensor]) -> None:
        function, args, kwargs = self._call
        with (
            enable_grad(),
            casting(self._autocast),
            self._choices.around,
            self._choices.logged(1),
            saved_tensors_hooks(pack, lambda t: t),
        ):
            function(*args, **kwargs)

    def _check(self, found: list[Tensor]) -> None:
        other = self._choices.compare and [(t.shape, t.dtype) for t in found] != self._specs
        if not other and len(found) == len(self._specs):
            return
        text = (
            f"checkpoint: the forward saved {len(self._specs)} tensors, its replay "
            f"{len(found)} or of other shapes; the function must do the same on each call"
        )
        if self._choices.log is not None:
            first, second = ("\n    ".join(log.lines) for log in self._choices.log)
            text += f"\n  ops of the forward:\n    {first}\n  of its replay:\n    {second}"
        raise CheckpointError(text)


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
               context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
               determinism_check: str = "default", debug: bool = False, early_stop: bool = True,
               preserve_rng_state: bool = True, **kwargs: Any) -> Any:  # fmt: skip
    """Call ``function(*args, **kwargs)`` without keeping its intermediate results.

    Backward computes them again.

    Args:
        use_reentrant: PyTorch's choice of implementation; there is one here, PyTorch's
            ``use_reentrant=False``, and ``True`` gives the same result.
        context_fn: gives two context managers: one around the call, one around its second run.
        determinism_check: ``"default"`` compares shapes and dtypes of what the two runs save;
            ``"none"`` only how many there are.
        debug: list the ops of both runs in the error when they differ.
        early_stop: end the second run as soon as everything that was saved is there again.
        preserve_rng_state: draw the same random numbers again (dropout).

    Raises:
        SettingError: for an unknown ``determinism_check``, or for ``context_fn`` or ``debug``
            beside ``use_reentrant=True``, which PyTorch refuses, too.
        CheckpointError: in backward, if the function did something else on its second run.
    """
    if not callable(function):
        raise ArgumentError(f"checkpoint: function must be callable, got {type(function).__name__}")
    check_choice("checkpoint", "determinism_check", determinism_check, ("default", "none"))
    if use_reentrant and (context_fn is not noop_context_fn or debug):
        raise SettingError(
            "checkpoint: context_fn and debug go with use_reentrant=False, got use_reentrant=True"
        )
    around, around_again = context_fn()
    log = (_Log(), _Log()) if debug else None
    choices = _Choices(around_again, determinism_check == "default", early_stop, log)
    replay = _Replay(function, args, kwargs, preserve_rng_state, choices)
    with around, choices.logged(0), saved_tensors_hooks(replay.pack, replay.unpack):
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
