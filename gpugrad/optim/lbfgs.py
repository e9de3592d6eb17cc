"""L-BFGS: a quasi-Newton method over all parameters as one vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad.errors import ArgumentError, SettingError
from gpugrad.functional_namespace import F
from gpugrad.inplace import check_writable, write
from gpugrad.modes import enable_grad, no_grad
from gpugrad.optim.line_search import Point, strong_wolfe
from gpugrad.optim.optimizer import Optimizer, check_range


def _dot(a: Any, b: Any) -> float:
    return float(F.sum(a * b))


def _largest(a: Any) -> float:
    return float(F.max(F.abs(a))) if a.numel() else 0.0


class LBFGS(Optimizer):
    """L-BFGS (Liu and Nocedal, 1989) with PyTorch's arguments; one group of parameters only.

    Its state lies with the first parameter.

    Args:
        params: tensors or ``(name, tensor)`` pairs.
        lr: step size; with a line search, the first one that is tried.
        max_iter: most iterations of a ``step``.
        max_eval: most calls of the closure in a ``step``; ``max_iter * 5 // 4`` if not given.
        tolerance_grad: end when no element of the gradient is larger.
        tolerance_change: end when neither the loss nor a parameter changes more.
        history_size: how many pairs of changes to keep.
        line_search_fn: ``"strong_wolfe"`` or None, for steps of a fixed size.
    """

    def __init__(
        self, params: Any, lr: Any = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:  # fmt: skip
        check_range("LBFGS", lr=lr)
        if line_search_fn not in (None, "strong_wolfe"):
            raise SettingError(
                f'LBFGS: line_search_fn must be "strong_wolfe" or None, got {line_search_fn!r}'
            )
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn,
        })  # fmt: skip

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take the one group there may be."""
        if self.param_groups:
            raise SettingError("LBFGS: takes one group of parameters; give all in one list")
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make up to ``max_iter`` iterations.

        Args:
            closure: computes the loss anew, gradients included.

        Returns:
            What the first call of the closure gave.
        """
        if closure is None:
            raise ArgumentError("LBFGS: step needs a closure that computes the loss anew")
        group = self.param_groups[0]
        state = self.state[group["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        with no_grad():
            first, here = self._evaluate(closure)
            calls = 1
            state["func_evals"] += 1
            for i in range(group["max_iter"]):
                if _largest(here.grad) <= group["tolerance_grad"]:
                    break
                last = i == group["max_iter"] - 1
                there = self._iterate(closure, here, state, group, calls, last)
                if there is None:
                    break
                before, (here, used) = here, there
                calls += used
                state["func_evals"] += used
                moved = _largest(state["d"]) * abs(state["t"])
                least = group["tolerance_change"]
                if calls >= group["max_eval"] or moved <= least:
                    break
                if abs(here.loss - before.loss) < least:
                    break
        return first

    def _iterate(
        self, closure: Callable[[], Any], here: Point, state: dict[str, Any],
        group: dict[str, Any], calls: int, last: bool,
    ) -> tuple[Point, int] | None:  # fmt: skip
        """Choose a direction and go along it: the new point, and how often the loss was asked for.

        None if the direction does not descend; without line search the last point is not evaluated.
        """
        state["n_iter"] += 1
        t = float(group["lr"])
        if state["n_iter"] == 1:
            state.update(d=F.negative(here.grad), old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            t *= min(1.0, 1.0 / float(F.sum(F.abs(here.grad))))
        else:
            self._remember(here.grad, state, group["history_size"])
            state["d"] = self._direction(here.grad, state)
        state.update(prev_flat_grad=here.grad, prev_loss=here.loss, t=t)
        d = state["d"]
        slope = _dot(here.grad, d)
        if slope > -group["tolerance_change"]:
            return None
        origin = [p.detach().clone() for p in group["params"]]
        if group["line_search_fn"] is None:
            self._place(origin, t, d)
            return (here, 0) if last else (self._evaluate(closure)[1], 1)

        def at(t: float) -> Point:
            self._place(origin, t, d)
            point = self._evaluate(closure)[1]
            return Point(t, point.loss, point.grad, _dot(point.grad, d))

        point, used = strong_wolfe(
            at, Point(0.0, here.loss, here.grad, slope), t, width=_largest(d),
            limit=group["max_eval"] - calls,
        )  # fmt: skip
        self._place(origin, point.t, d)
        state["t"] = point.t
        return point, used

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[Any, Point]:
        """The closure's loss, and the point where the parameters are."""
        with enable_grad():
            loss = closure()
        flat = [
            F.reshape(F.zeros_like(p) if p.grad is None else p.grad.detach(), (-1,))
            for p in self.param_groups[0]["params"]
        ]
        return loss, Point(0.0, float(loss), F.concat(flat), 0.0)

    def _place(self, origin: list[Any], t: float, d: Any) -> None:
        """Put the parameters at ``origin + t d``."""
        offset = 0
        for p, x in zip(self.param_groups[0]["params"], origin, strict=True):
            part = F.reshape(d[offset : offset + x.numel()], tuple(x.shape))
            offset += x.numel()
            check_writable("LBFGS", p)
            write(p, (x + t * part)._array)

    @staticmethod
    def _remember(grad: Any, state: dict[str, Any], size: int) -> None:
        """Keep the last change of place and gradient, if the loss is convex along it."""
        y, s = grad - state["prev_flat_grad"], state["d"] * float(state["t"])
        ys = _dot(y, s)
        if ys <= 1e-10:
            return
        history = (state["old_dirs"], state["old_stps"], state["ro"])
        for held, new in zip(history, (y, s, 1.0 / ys), strict=True):
            if len(held) == size:
                held.pop(0)
            held.append(new)
        state["H_diag"] = ys / _dot(y, y)

    @staticmethod
    def _direction(grad: Any, state: dict[str, Any]) -> Any:
        """The inverse Hessian, as far as it is known, times the gradient: the two loops."""
        pairs = list(zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True))
        q, weights = F.negative(grad), []
        for y, s, ro in reversed(pairs):
            weights.append(_dot(s, q) * float(ro))
            q = q - weights[-1] * y
        r = q * float(state["H_diag"])
        for (y, s, ro), weight in zip(pairs, reversed(weights), strict=True):
            r = r + (weight - _dot(y, r) * float(ro)) * s
        return r
