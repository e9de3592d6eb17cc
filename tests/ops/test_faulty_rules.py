"""Finite differences are fine enough: a fault of 0.1 % is seen in every rule that there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpugrad.op import Op, Rule, registry
from gpugrad.testing import OpCheckError, check_op
from gpugrad.testing.calls import key

WITH_RULES = [key(r) for r in registry if isinstance(r, Op) and r.rules]


@pytest.mark.parametrize("name", WITH_RULES)
def test_a_thousandth_more_is_caught_in_every_rule(name: str) -> None:
    """Each rule of each real record, its gradient made 0.1 % too large."""
    record = registry[name]
    together = dict(record.together)
    try:
        for rules in (record.together, record.rules):  # the latter run where the former are not
            for target, rule in list(rules.items()):
                seen: list[float] = []
                record.plans.clear()
                rules[target] = Rule(_larger(rule.fn, seen), rule.reads, rule.settings)
                try:
                    if not _fails(record):
                        unseen = f"the rule for {target} was 0.1 % off, unseen"
                        assert max(seen, default=0.0) < 1e-3, unseen
                finally:
                    rules[target] = rule
            record.together.clear()
    finally:
        record.together.update(together)
        record.plans.clear()


def _fails(record: Op) -> bool:
    try:
        check_op(record, only=["gradient"])
    except OpCheckError:
        return True
    return False


def _larger(rule: Callable[..., Any], seen: list[float]) -> Callable[..., Any]:
    """The rule with its gradients 0.1 % larger; it notes how large they were."""

    def scale(g: Any) -> Any:
        if type(g) in (tuple, list):
            return type(g)(scale(x) for x in g)
        if g is None:
            return None
        array = np.abs(np.asarray(g.numpy(force=True) if hasattr(g, "numpy") else g))
        seen.append(float(np.max(array, initial=0.0, where=np.isfinite(array))))
        return g * 1.001

    return lambda xp, g, **reads: scale(rule(xp, g, **reads))
