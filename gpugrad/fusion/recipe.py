"""What a fused function does, recorded once: its ops, and the same as expressions with gradients.

The function runs on ``meta`` tensors under a recorder.  The list of ops is then run on ``Expr``
instead, forward by the ops' functions and backward by their gradient rules.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.codegen.shapes import elementwise_frame
from gpugrad.dtypes import DType
from gpugrad.errors import DeviceError, GpugradError, NotSupportedError
from gpugrad.expr import EXPR, Expr, apply, cast, constant, varies
from gpugrad.modes import casting, enable_grad, recording
from gpugrad.op import Op
from gpugrad.spec import Spec
from gpugrad.storage import caller_site
from gpugrad.tensor import Tensor, wrap

#: Ops that only put dimensions of size 1 in or out.
_SAME = ("expand_dims", "squeeze", "reshape", "view", "unsqueeze")


def computed(dtype: DType) -> DType:
    """The dtype that a kernel computes in."""
    return dtypes.float32 if dtype in dtypes.HALVES else dtype


def _line(error: BaseException) -> str:
    """The innermost line of the user's in an error's traceback."""
    package = str(Path(__file__).parents[1])
    frames = [f for f, _ in traceback.walk_tb(error.__traceback__)]
    own = [f for f in frames if not f.f_code.co_filename.startswith((package, "<gpugrad"))]
    return f"{own[-1].f_code.co_filename}:{own[-1].f_lineno}" if own else "an unknown line"


class Step:
    """One recorded op."""

    __slots__ = ("inputs", "op", "outputs", "settings", "site")

    def __init__(self, op: Any, inputs: tuple[Any, ...], settings: dict[str, Any],
                 outputs: tuple[Any, ...]) -> None:  # fmt: skip
        self.op, self.settings, self.outputs = op, dict(settings), outputs
        self.inputs = tuple([a.item() if isinstance(a, np.generic) else a for a in inputs])
        self.site = caller_site()

    def refuse(self, why: str) -> NotSupportedError:
        """The error for an op that cannot be fused."""
        return NotSupportedError(f"fuse: {self.op.name} at {self.site} cannot be fused: {why}")


class _Steps:
    """A recorder that keeps everything."""

    def __init__(self) -> None:
        self.list: list[Step] = []

    def record(self, op: Any, inputs: tuple[Any, ...], settings: dict[str, Any],
               outputs: tuple[Any, ...]) -> None:  # fmt: skip
        self.list.append(Step(op, inputs, settings, outputs))


class Recipe:
    """A fused function for inputs of given shapes and dtypes.

    Attributes:
        shape: of the whole: what inputs broadcast to.
        rows, columns: the same as a frame of a kernel.
        reads: per input how it lies in the frame.
        outputs: shape and dtype per result.
        many: whether the function returns a tuple.

    Raises:
        NotSupportedError: for what cannot be fused, with the line of it.
    """

    def __init__(self, fn: Callable[..., Any], specs: Sequence[Spec]) -> None:
        self.specs = list(specs)
        self._metas = [wrap(s) for s in specs]
        for t in self._metas:
            if t.dtype.is_floating_point:
                t.requires_grad_()
        steps = _Steps()
        try:
            with enable_grad(), casting(), recording(steps):
                result = fn(*self._metas)
        except DeviceError as error:
            raise NotSupportedError(
                f"fuse: at {_line(error)}, the function looks at values or uses a tensor that is "
                f"no argument of it ({error})"
            ) from None
        self.steps = steps.list
        self.many = isinstance(result, tuple | list)
        results: Any = result if self.many else (result,)
        for r in results:
            if not isinstance(r, Tensor):
                raise NotSupportedError(f"fuse: the function returned {type(r).__name__}, not a "
                                        "Tensor or a tuple of Tensors")  # fmt: skip
        self._results = tuple(results)
        self.outputs = [Spec(tuple(r.shape), r.dtype) for r in results]
        self._find_frame(specs)
        for step in self.steps:
            self._check(step)

    def _find_frame(self, specs: Sequence[Spec]) -> None:
        shapes = [s.shape for s in specs]
        everything = shapes + [tuple(t.shape) for s in self.steps for t in s.outputs]
        self.shape = max(everything, key=lambda s: (math.prod(s), len(s)))
        size = math.prod(self.shape)
        width = self.shape[-1] if self.shape else 1
        frame = elementwise_frame(self.shape, shapes)
        flat = frame is not None and all(s.op.elementwise for s in self.steps)
        if flat and frame is not None and frame[0] == 1:
            self.rows, self.columns, self.reads = frame
            return
        self.rows, self.columns = size // max(width, 1), width
        self.reads = tuple([self._read(s) for s in shapes])

    def _read(self, shape: tuple[int, ...]) -> str:
        """How an array of this shape lies in rows along the last dimension."""
        full = self.shape
        if shape == full:
            return "full"
        if math.prod(shape) == 1:
            return "one"
        if shape == (*full[:-1], 1):
            return "row"
        if shape[-1] == full[-1] and all(n == 1 for n in shape[:-1]):
            return "column"
        raise NotSupportedError(
            f"fuse: an input of shape {shape} beside {full} cannot be fused; accepted: the whole "
            f"shape, {(*full[:-1], 1)}, {full[-1:]}, or one value"
        )

    def _check(self, step: Step) -> None:
        """Refuse what is neither elementwise nor along the last dimension."""
        op, rows = step.op, self.shape[:-1]
        shapes = [tuple(t.shape) for t in step.inputs if isinstance(t, Tensor)]
        known = {id(t) for t in self._metas} | {id(t) for s in self.steps for t in s.outputs}
        if any(isinstance(t, Tensor) and id(t) not in known for t in step.inputs):
            raise step.refuse("it uses a tensor that is no argument of the function; pass it")
        if not isinstance(op, Op) or op.variadic:
            raise step.refuse("it is not elementwise, nor a reduction over the last dimension")
        short = [
            s for s in (*shapes, *(tuple(t.shape) for t in step.outputs)) if s == rows and rows
        ]
        if op.name in _SAME:
            if any(math.prod(s) == math.prod(self.shape) for s in shapes) and self.columns > 1:
                raise step.refuse("it moves whole rows")
        elif op.elementwise:
            if short and any(s not in (rows, ()) for s in shapes):
                raise step.refuse("it mixes rows with values per row; reduce with keepdim=True")
        elif "dim" in op.settings:
            dim, ndim = step.settings["dim"], len(self.shape)
            whole = [s for s in shapes if s == self.shape]
            if not whole or dim not in (ndim - 1, (ndim - 1,)):
                raise step.refuse(f"it reduces over dim {dim} of {shapes[0]}; only the last can be")
        else:
            raise step.refuse("it is not elementwise, nor a reduction over the last dimension")

    # ---- as expressions ------------------------------------------------------------------------

    def inputs(self) -> list[Expr]:
        """Fresh inputs of a kernel, one per argument."""
        return [Expr(None, (), computed(t.dtype), i, {"read": r})
                for i, (t, r) in enumerate(zip(self._metas, self.reads))]  # fmt: skip

    def forward(self, inputs: Sequence[Expr]) -> tuple[list[Expr], dict[int, Any]]:
        """The results as expressions, and every value by its tensor."""
        values: dict[int, Any] = {id(t): x for t, x in zip(self._metas, inputs)}
        for step in self.steps:
            args = tuple([values[id(a)] if isinstance(a, Tensor) else a for a in step.inputs])
            try:
                out = self._run(step, args)
            except GpugradError as error:
                raise step.refuse(str(error)) from None
            except Exception as error:
                raise step.refuse(f"its function needs arrays ({error})") from None
            outs = out if isinstance(out, tuple | list) else (out,)
            values.update((id(t), x) for t, x in zip(step.outputs, outs, strict=True))
        return [values[id(r)] for r in self._results], values

    def _run(self, step: Step, args: tuple[Any, ...]) -> Any:
        op, settings = step.op, self._settings(step)
        if op.name in _SAME:
            return args[0]
        if op.name == "to" and not op.home:
            return cast(args[0], computed(settings["dtype"]))
        if op.elementwise:
            return apply(op, args, settings)
        return op.fn(EXPR, *args, **settings)

    def _settings(self, step: Step) -> dict[str, Any]:
        settings = step.settings
        if step.op.elementwise or "dim" not in settings or step.op.name in _SAME:
            return settings
        return settings | {"dim": 1 if isinstance(settings["dim"], int) else (1,)}

    def backward(self, inputs: Sequence[Expr], gs: Sequence[Expr],
                 wanted: Sequence[bool]) -> list[Any]:  # fmt: skip
        """The gradients of the wanted inputs as expressions; None where nothing flows."""
        _, values = self.forward(inputs)
        grads: dict[int, Any] = {}
        for r, g in zip(self._results, gs):
            if r.dtype.is_floating_point:
                _accumulate(grads, r, g)
        for step in reversed(self.steps):
            if any(id(t) in grads for t in step.outputs) and step.op.differentiable:
                try:
                    found = self._rules(step, values, grads)
                except GpugradError as error:
                    raise step.refuse(f"in its gradient, {error}") from None
                for a, g in zip(step.inputs, found, strict=True):
                    if g is not None and isinstance(a, Tensor) and a.dtype.is_floating_point:
                        _accumulate(grads, a, self._fit(a, g, values[id(a)]))
        return [grads.get(id(t)) if w else None for t, w in zip(self._metas, wanted)]

    def _rules(self, step: Step, values: dict[int, Any], grads: dict[int, Any]) -> Sequence[Any]:
        op, settings = step.op, self._settings(step)
        if op.name in _SAME or op.name == "to":
            return [grads[id(step.outputs[0])], *(None for _ in step.inputs[1:])]
        outs = [values[id(t)] for t in step.outputs]
        reads: dict[str, Any] = dict(zip(op.outputs or ("out",), outs))
        for name, a in zip(op.arrays, step.inputs):
            reads[name] = values[id(a)] if isinstance(a, Tensor) else a
            reads[f"{name}_shape"] = reads[name].shape if isinstance(reads[name], Expr) else ()
        gs = [grads.get(id(t), constant(0, x.dtype)) for t, x in zip(step.outputs, outs)
              if t.dtype.is_floating_point]  # fmt: skip
        g: Any = gs[0] if len(gs) == 1 else tuple(gs)

        def run(target: str | None) -> Any:
            rule = op.rules[target]
            return rule.fn(EXPR, g, **{n: reads[n] for n in rule.reads},
                           **{s: settings[s] for s in rule.settings})  # fmt: skip

        if None in op.rules:
            found = run(None)
            return found if isinstance(found, tuple | list) else (found,)
        return [run(n) if n in op.rules and isinstance(a, Tensor) and a.requires_grad else None
                for n, a in zip(op.arrays, step.inputs)]  # fmt: skip

    def _fit(self, a: Tensor, g: Any, value: Expr) -> Expr:
        """A gradient for one value per row: summed along the row, in its dtype."""
        g = g if isinstance(g, Expr) else constant(g, value.dtype)
        if not varies(value) and varies(g) and tuple(a.shape) in (
            self.shape[:-1], (*self.shape[:-1], 1)
        ):  # fmt: skip
            g = EXPR.sum(g, 1)
        return cast(g, value.dtype)  # type: ignore[no-any-return]


def _accumulate(grads: dict[int, Any], t: Tensor, g: Expr) -> None:
    held = grads.get(id(t))
    grads[id(t)] = g if held is None else EXPR.add(held, g)
