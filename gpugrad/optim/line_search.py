"""A line search for the strong Wolfe conditions (Nocedal and Wright, 2006, section 3.5)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

#: How much of the promised decrease to ask for, and what share of the slope may remain.
_DECREASE, _CURVATURE = 1e-4, 0.9


class Point(NamedTuple):
    """What is known at ``x + t d``: the loss, its gradient, and the slope along ``d``."""

    t: float
    loss: float
    grad: Any
    slope: float


def strong_wolfe(
    evaluate: Callable[[float], Point], start: Point, t: float, *, width: float,
    tolerance: float = 1e-9, limit: int = 25,
) -> tuple[Point, int]:  # fmt: skip
    """Find a step that descends enough and is flat enough.

    Args:
        evaluate: gives the point at a step.
        start: the point at 0; its slope is negative.
        t: the first step to try.
        width: largest element of the direction; a bracket narrower than ``tolerance`` is left.
        limit: how many steps to try after the first.

    Returns:
        The best point, and how often ``evaluate`` was called.
    """
    new, previous, tries = evaluate(t), start, 0
    bracket = [start, new]
    while tries < limit:
        bracket = [previous, new]
        if _too_high(start, new) or (tries > 1 and new.loss >= previous.loss):
            break
        if abs(new.slope) <= -_CURVATURE * start.slope:
            return new, tries + 1
        if new.slope >= 0:
            break
        step = new.t - previous.t
        t = minimum(previous, new, new.t + 0.01 * step, new.t * 10)
        previous, new = new, evaluate(t)
        tries += 1
    else:
        bracket = [start, new]
    return _zoom(evaluate, start, bracket, width, tolerance, tries, limit)


def _too_high(start: Point, new: Point) -> bool:
    return new.loss > start.loss + _DECREASE * new.t * start.slope


def _zoom(
    evaluate: Callable[[float], Point], start: Point, bracket: list[Point], width: float,
    tolerance: float, tries: int, limit: int,
) -> tuple[Point, int]:  # fmt: skip
    """Narrow a bracket that holds an acceptable step."""
    low, high = sorted(bracket, key=lambda p: p.loss)
    done = stuck = False
    while not done and tries < limit and abs(high.t - low.t) * width >= tolerance:
        left, right = sorted((low.t, high.t))
        t = minimum(low, high, left, right)
        # A trial that hugs an end twice is moved a tenth of the bracket away from it.
        margin = 0.1 * (right - left)
        near = min(right - t, t - left) < margin
        if near and (stuck or t >= right or t <= left):
            t = right - margin if abs(t - right) < abs(t - left) else left + margin
            near = False
        stuck = near
        new = evaluate(t)
        tries += 1
        if _too_high(start, new) or new.loss >= low.loss:
            low, high = (low, new) if low.loss <= new.loss else (new, low)
            continue
        done = abs(new.slope) <= -_CURVATURE * start.slope
        if not done and new.slope * (high.t - low.t) >= 0:
            high = low
        low = new
    return low, tries + 1


def minimum(a: Point, b: Point, lowest: float, highest: float) -> float:
    """Where the cubic through two points with slopes is least, kept inside the bounds."""
    a, b = sorted((a, b), key=lambda p: p.t)
    middle = (lowest + highest) / 2
    if a.t == b.t:
        return middle
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:  # NaN included
        return middle
    d2 = math.sqrt(square)
    bend = b.slope - a.slope + 2 * d2
    if bend == 0:
        return middle
    return min(max(b.t - (b.t - a.t) * ((b.slope + d2 - d1) / bend), lowest), highest)
