"""Random programs on a small pool of tensors, run on PyTorch and gpugrad side by side.

A program is plain data: steps ``(name, numbers)``.  A step's function in a table reads the numbers
as choices (which tensors of the pool, which dims, which settings) against PyTorch's pool, and gives
an action ``action(lib, pool)``, which then runs on both pools.  What it returns joins the pool.
After each step every tensor of one pool is compared with its twin.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

import gpugrad

Step = tuple[str, Sequence[int]]
Action = Callable[[Any, list[Any]], Any]
Table = dict[str, Callable[["Choices", list[Any]], Action | None]]

POOL = 9  # more tensors than this push out an older one

# What only PyTorch refuses.  Of a graph, gpugrad keeps less or keeps a copy, so a gradient that
# PyTorch cannot give any more is still right: see ``Twins._second_opinion``.  PyTorch insists on
# tensors in a few places, has no derivative of a few ops, and trips over bool in others'.
TORCH_ONLY = (
    "modified by an inplace operation", "a second time", "refer to a single memory location",
    "moved into the graph interior", "must be Tensor, not", "is not implemented",
    "Negation, the `-` operator", "Autograd not support dtype",
)  # fmt: skip
# What only gpugrad refuses: overlaps too intricate for PyTorch's check, PyTorch's copies of
# broadcast factors of a product, and arguments of checkpoint that were changed before its replay.
OURS_ONLY = ("share some but not all", "matmul needs its", "checkpoint: ")


class Choices:
    """The numbers of one step, read one after the other; 0 when they are used up."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = iter(numbers)

    def below(self, n: int) -> int:
        return next(self._numbers, 0) % n if n > 0 else 0

    def of(self, items: Any) -> Any:
        items = list(items)
        return items[self.below(len(items))]

    def yes(self) -> bool:
        return self.below(2) == 1

    def var(self, pool: list[Any], wanted: Callable[[Any], bool] = lambda t: True) -> int:
        """Place of a tensor in the pool, the newest first.

        Raises:
            Impossible: if none is wanted.
        """
        fit = [i for i, t in enumerate(pool) if wanted(t)]
        if not fit:
            raise Impossible
        return fit[-1 - self.below(len(fit))]


class Impossible(Exception):
    """The pool offers nothing for this step: it is left out."""


def programs(table: Table, longest: int = 12) -> st.SearchStrategy[list[Step]]:
    """Programs of the steps of a table."""
    numbers = st.lists(st.integers(0, 999), min_size=12, max_size=12)
    return st.lists(st.tuples(st.sampled_from(sorted(table)), numbers), min_size=2,
                    max_size=longest)  # fmt: skip


def numbers(shape: tuple[int, ...], start: int) -> np.ndarray[Any, Any]:
    """Distinct values between -1.3 and 1.3, none of them 0: no ties and no kinks."""
    n = int(np.prod(shape))
    return (np.sin(1.0 + 2.399 * (np.arange(n) + start)) * 1.3 + 0.0123).reshape(shape)


def attempt(action: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """What an action gives, or the class and text of its error (not the error: it holds frames)."""
    try:
        return action(*args), None
    except Exception as error:
        return None, (type(error), str(error))


def flat(result: Any) -> list[Any]:
    return [t for t in (result if isinstance(result, list | tuple) else [result]) if t is not None]


class Twins:
    """Two pools, and what running a program on both may show."""

    def __init__(
        self, table: Table, start: Callable[[Any], list[Any]], digits: float = 1e-8,
        copies: bool = False,
    ) -> None:  # fmt: skip
        import torch

        self.digits = digits
        self.table, self.start = table, start
        self.copies = copies  # whether gpugrad's tape keeps copies, which no write reaches
        self.libs = (torch, gpugrad)
        self.pools = [start(lib) for lib in self.libs]
        self.leaves = [[t for t in pool if t.requires_grad] for pool in self.pools]
        self.stale = False  # PyTorch alone kept something that was then written
        self.unseen = False  # PyTorch missed a write, so its gradients may be wrong
        self.over = False

    def run(self, program: list[Step]) -> None:
        """Run all steps, and the sum of everything backward at the end."""
        for name, choices in program:
            self.step(name, choices)
            if self.over:
                return
        self._both("the end", total)
        if not self.over:
            self.compare_gradients("the end")
        elif self.stale and not self.unseen:
            self._second_opinion(program)

    def _second_opinion(self, program: list[Step]) -> None:
        """Compare the last gradients with those of a tape that keeps copies."""
        again = Twins(self.table, self.start, self.digits, copies=True)
        again.run(program)
        for x, y in zip(self.leaves[1], again.leaves[1], strict=True):
            assert (x.grad is None) == (y.grad is None)
            if x.grad is not None:
                self._close(y.grad, x.grad, "the end, from copies: grad")

    def step(self, name: str, choices: Sequence[int]) -> None:
        try:
            action = self.table[name](Choices(choices), self.pools[0])
        except Impossible:
            return
        if action is None:
            return
        old = [list(pool) for pool in self.pools]
        versions = [[t._version for t in pool] for pool in old]
        results = self._both(name, action)
        if self.over:
            return
        for pool, result in zip(self.pools, results, strict=True):
            for t in flat(result):
                if not any(t is x for x in pool):
                    pool.append(t)
        self.unseen = self.unseen or name == "write_data"
        if results != [None, None] or not self.failed:
            self._compare_versions(name, old, versions)
        self.compare(name)
        for pool in self.pools:
            del pool[3 : 3 + max(0, len(pool) - POOL)]

    def _both(self, name: str, action: Action) -> list[Any]:
        mine, error = attempt(action, self.libs[0], self.pools[0])
        hooks = gpugrad.autograd.graph.saved_tensors_hooks(
            lambda t: t.detach().clone(), lambda t: t
        )
        with hooks if self.copies else contextlib.nullcontext():
            ours, our_error = attempt(action, self.libs[1], self.pools[1])
        self.failed = error is not None
        if error is None and our_error is not None:
            excused = OURS_ONLY + (("was modified by an in-place",) if self.unseen else ())
            assert any(words in our_error[1] for words in excused), (
                f"{name}: gpugrad alone raises {our_error}"
            )
            self.over = True
        elif error is not None and our_error is None:
            assert any(words in error[1] for words in TORCH_ONLY), (
                f"{name}: PyTorch alone raises {error}"
            )
            self.over, self.stale = True, TORCH_ONLY[0] in error[1] and not self.copies
        elif error is not None:
            builtin = next(c for c in error[0].__mro__ if c.__module__ == "builtins")
            if builtin is NotImplementedError:  # what PyTorch says of dtypes it has no kernel for
                builtin = RuntimeError
            assert issubclass(our_error[0], builtin), f"{name}: {error} but {our_error}"
            # A gradient that stopped half-way has reached some leaves, in an order of its own.
            self.over = name in ("backward", "grad", "the end")
        return [mine, ours]

    def _compare_versions(self, name: str, old: Any, versions: Any) -> None:
        if name == "write_data":
            return
        for i, (t, x) in enumerate(zip(*old, strict=True)):
            changed = t._version != versions[0][i], x._version != versions[1][i]
            assert changed[0] == changed[1], f"{name}: tensor {i} written: {changed}"

    def compare(self, name: str) -> None:
        """Every tensor with its twin; the program is over where numbers or layouts drift apart."""
        pool, ours = self.pools
        if any(attempt(lambda t=t: t.is_leaf)[1] for t in pool):
            self.over = True  # a view made under no_grad that PyTorch will not speak of any more
            return
        assert len(pool) == len(ours), f"{name}: {len(pool)} and {len(ours)} tensors"
        for i, (t, x) in enumerate(zip(pool, ours, strict=True)):
            what = f"{name}: tensor {i}"
            assert tuple(t.shape) == tuple(x.shape), what
            assert str(t.dtype)[len("torch.") :] == x.dtype.name, f"{what}: {t.dtype}, {x.dtype}"
            assert (t.requires_grad, t.is_leaf) == (x.requires_grad, x.is_leaf), what
            # A result may be a view of memory that nobody else sees, and so may one that `became`.
            seen = t._is_view() or any(x._base is y for y in ours)
            assert t._is_view() == (x._base is not None) or not seen or hasattr(x, "became"), what
            self._close(t, x, what)
            if t.is_contiguous() != x.is_contiguous() or not _tame(t) or not _tame(t.grad):
                self.over = True
        self.compare_gradients(name)

    def compare_gradients(self, name: str) -> None:
        if self.unseen:
            return
        kept = [[t for t in pool if t.is_leaf or t.retains_grad] for pool in self.pools]
        for t, x in zip(self.leaves[0] + kept[0], self.leaves[1] + kept[1], strict=True):
            assert (t.grad is None) == (x.grad is None), f"{name}: grad {t.grad}, {x.grad}"
            if t.grad is not None:
                self._close(t.grad, x.grad, f"{name}: grad")

    def _close(self, t: Any, x: Any, what: str) -> None:
        a, b = t.detach().numpy(), x.detach().numpy()
        assert a.shape == b.shape, what
        digits = self.digits if a.dtype.kind == "f" else 0
        np.testing.assert_allclose(b, a, rtol=digits, atol=digits, err_msg=what)


def total(lib: Any, pool: list[Any]) -> None:
    """Backward through everything that is left."""
    terms = [(t * (i + 0.5)).sum() for i, t in enumerate(pool) if t.requires_grad]
    for t in pool:
        if t.is_leaf:
            t.grad = None
    if terms:
        sum(terms).backward()


def _tame(t: Any) -> bool:
    """Whether numbers are small enough for rounding not to grow."""
    if t is None or not t.numel() or not t.dtype.is_floating_point:
        return True
    top = float(t.detach().abs().max())
    return top < 1e3  # False for NaN
