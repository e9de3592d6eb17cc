"""Connectionist temporal classification (Graves et al. 2006) in log space.

Labels with blanks around and between them are a chain of ``2 S + 1`` states.  ``alpha[t, n, s]`` is
the log probability of all ways to reach state ``s`` at time ``t``, time's own output included.
Running the chain backwards from its end is the same recursion on the mirrored problem, so there is
one recursion for both.
"""

from __future__ import annotations

import math
from typing import Any

Lengths = tuple[int, ...]


def build(lib: Any) -> dict[str, Any]:
    """``ctc_nll`` and the ``ctc_shares`` of its gradient for arrays of ``lib``."""

    def log_sum(*parts: Any) -> Any:
        """``log(sum(exp(part)))`` of arrays, ``-inf`` if all are."""
        largest = parts[0]
        for p in parts[1:]:
            largest = lib.maximum(largest, p)
        largest = lib.where(largest == -math.inf, 0, largest)
        return lib.log(sum(lib.exp(p - largest) for p in parts)) + largest

    def states(targets: Any, blank: int) -> Any:
        """Labels with blanks around them: ``(N, S) -> (N, 2 S + 1)``."""
        n, s = targets.shape
        found = lib.full((n, 2 * s + 1), blank, dtype=targets.dtype)
        found[:, 1::2] = targets
        return found

    def alphas(out: Any, chain: Any, blank: int) -> Any:
        """``(T, N, L)`` from the log probabilities ``out`` of a chain's labels, ``(T, N, L)``."""
        found = lib.full(out.shape, -math.inf, dtype=out.dtype)
        if not out.shape[0]:
            return found
        found[0, :, :2] = out[0, :, :2]
        leaps = (chain[:, 2:] != blank) & (chain[:, 2:] != chain[:, :-2])
        for t in range(1, out.shape[0]):
            before = found[t - 1]
            step, leap = found[t], lib.full_like(before, -math.inf)
            step[:, 1:] = before[:, :-1]
            leap[:, 2:] = lib.where(leaps, before[:, :-2], -math.inf)
            found[t] = log_sum(before, step, leap) + out[t]
        return found

    def outputs(log_probs: Any, chain: Any) -> Any:
        """Log probabilities of the labels of a chain: ``(T, N, C), (N, L) -> (T, N, L)``."""
        rows = lib.arange(chain.shape[0])[:, None]
        return log_probs[:, rows, chain]

    def total(alpha: Any, steps: Lengths, labels: Lengths) -> Any:
        """Minus the log probability of all ways that end well, ``(N,)``."""
        n = alpha.shape[1]
        rows = lib.arange(n)
        last = lib.asarray(steps, dtype=lib.int64) - 1
        end = 2 * lib.asarray(labels, dtype=lib.int64)
        if not alpha.shape[0]:
            return lib.where(end == 0, 0.0, math.inf).astype(alpha.dtype)
        at_blank = alpha[last, rows, end]
        at_label = lib.where(end > 0, alpha[last, rows, lib.maximum(end - 1, 0)], -math.inf)
        found = -log_sum(at_blank, at_label)
        # No time at all: only the empty sequence fits.
        return lib.where(last < 0, lib.where(end == 0, 0.0, math.inf), found).astype(alpha.dtype)

    def ctc_nll(log_probs: Any, targets: Any, steps: Lengths, labels: Lengths, blank: int) -> Any:
        chain = states(targets, blank)
        return total(alphas(outputs(log_probs, chain), chain, blank), steps, labels)

    def ctc_shares(
        log_probs: Any, targets: Any, steps: Lengths, labels: Lengths, blank: int
    ) -> Any:
        chain = states(targets, blank)
        out = outputs(log_probs, chain)
        alpha = alphas(out, chain, blank)
        nll = total(alpha, steps, labels)
        n, length = chain.shape
        rows = lib.arange(n)
        times = lib.arange(out.shape[0])[:, None]
        places = lib.arange(length)
        last = lib.asarray(steps, dtype=lib.int64) - 1
        end = 2 * lib.asarray(labels, dtype=lib.int64)[:, None]
        # The mirror image of each example within its own lengths; the rest is masked below.
        when = lib.maximum(last - times, 0)
        where = lib.maximum(end - places, 0)
        at = (when[:, :, None], rows[:, None], where)
        beta = alphas(out[at], chain[rows[:, None], where], blank)[at]
        inside = (times <= last)[:, :, None] & (places <= end)
        share = lib.exp(alpha + beta - out + nll[:, None])
        share = lib.where(inside & (out > -math.inf), share, 0)
        is_class = (chain[:, :, None] == lib.arange(log_probs.shape[2])).astype(share.dtype)
        found = lib.matmul(share.swapaxes(0, 1), is_class).swapaxes(0, 1)
        found = lib.where(lib.isinf(nll)[:, None], math.nan, found)
        return lib.where((times <= last)[:, :, None], found, 0).astype(log_probs.dtype)

    return {"ctc_nll": ctc_nll, "ctc_shares": ctc_shares}
