"""The decorator ``fuse``: when a fused function is called, and its gradient."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from gpugrad import backends, dtypes
from gpugrad.autograd import grad
from gpugrad.autograd.function import Function
from gpugrad.codegen.levels import Layout
from gpugrad.codegen.target import TARGETS, Program, Target
from gpugrad.codegen.trace import only_used
from gpugrad.errors import ArgumentError, NotSupportedError
from gpugrad.expr import Expr
from gpugrad.functional_namespace import F
from gpugrad.fusion.recipe import Recipe, computed
from gpugrad.modes import casting, enable_grad, modes, no_grad
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, wrap


def fuse(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Make one kernel of a function of tensors, and one of its gradient (a decorator).

    The function may do elementwise maths, broadcasting of one value, of one per row or per
    column, and reductions over the last dimension (with ``keepdim=True`` where the result meets
    whole rows again: softmax, norms).  It is run once for each new combination of shapes, dtypes
    and non-tensor arguments, on tensors without data, so it must not look at values.

    Its gradient is derived; a gradient of the gradient is recorded op by op.  Results are those of
    the unfused function within rounding.

    Raises:
        NotSupportedError: when called, for an op that cannot be fused (with its line and the
            reason), or tensors of several devices.
    """
    signature = inspect.signature(fn)
    kernels: dict[Any, Fused] = {}

    @functools.wraps(fn)
    def fused(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = list(bound.args)
        if bound.kwargs:
            raise ArgumentError("fuse: keyword-only arguments are not supported")
        places = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
        tensors = [values[i] for i in places]
        if not tensors:
            raise ArgumentError("fuse: at least one argument must be a Tensor")
        devices = dict.fromkeys(t.device for t in tensors)
        target = TARGETS[type(tensors[0]._array)]
        if len(devices) > 1 or target is None:
            raise NotSupportedError(
                f"fuse: tensors are on {', '.join(map(str, devices))}; accepted: all on the CPU, "
                "or all on one CUDA device"
            )
        others = [v for i, v in enumerate(values) if i not in places]
        lies = [(t._array.shape, t._array.dtype) for t in tensors]
        key = (target, tuple(lies), *map(_plain, others))
        kernel = kernels.get(key)
        if kernel is None:

            def call(*inner: Tensor) -> Any:
                given = list(values)
                for i, t in zip(places, inner, strict=True):
                    given[i] = t
                return fn(*given)

            specs = [Spec(t._array.shape, t.dtype) for t in tensors]
            kernel = kernels[key] = Fused(fn.__name__, call, Recipe(call, specs), target)
        out = _Apply.apply(kernel, *tensors)
        return out if kernel.recipe.many else out[0]

    return fused


def _plain(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        raise ArgumentError(
            f"fuse: arguments must be tensors or constants, got {type(value).__name__}"
        ) from None
    return (type(value), value)


class Fused:
    """The kernels of a function for one combination of shapes and dtypes."""

    def __init__(self, name: str, call: Callable[..., Any], recipe: Recipe,
                 target: Target) -> None:  # fmt: skip
        self.name, self.call, self.recipe, self.target = name, call, recipe, target
        self._gradients: dict[tuple[bool, ...], Any] = {}
        outs, _ = recipe.forward(recipe.inputs())
        try:
            self._forward = self._program("forward", outs, [o.dtype for o in recipe.outputs], ())
        except NotSupportedError as error:
            raise self._blamed(error) from None

    def _blamed(self, error: NotSupportedError) -> NotSupportedError:
        """The error with the step that a kernel cannot have: the first that fails alone."""
        for step in self.recipe.steps:
            _, values = self.recipe.forward(self.recipe.inputs())
            outs = [values[id(t)] for t in step.outputs]
            try:
                self._program("alone", outs, [t.dtype for t in outs], ())
            except NotSupportedError:
                return step.refuse(str(error))
        return NotSupportedError(f"fuse: {error}")

    def _program(self, name: str, outs: list[Expr], stored: Sequence[Any], more: Sequence[Any],
                 summed: tuple[bool, ...] = ()) -> Program:  # fmt: skip
        recipe = self.recipe
        metas = [(t.dtype, r) for t, r in zip(recipe.specs, recipe.reads)] + list(more)
        trace = only_used([(str(i), computed(d), r) for i, (d, r) in enumerate(metas)], outs)
        layout = Layout(trace.reads, tuple([metas[i][0] for i in trace.used]), tuple(stored), (),
                        summed)  # fmt: skip
        program = self.target.build(trace, layout)
        program.name = f"{self.name} {name}"
        if not self.target.ready(program, patience=1):
            raise NotSupportedError("there is no compiler")
        return program

    def forward(self, arrays: Sequence[Any]) -> list[Any]:
        """The results for contiguous arrays."""
        outs = [self.target.empty(s.shape, s.dtype.np) for s in self.recipe.outputs]
        if self._run(self._forward, arrays, outs):
            return outs
        with no_grad(), self.target.instead():
            found = self.call(*map(wrap, arrays))
        return [t._array for t in (found if self.recipe.many else (found,))]

    def _run(self, program: Program, arrays: Sequence[Any], outs: Sequence[Any]) -> bool:
        rows, columns = self.recipe.rows, self.recipe.columns
        used = [arrays[i] for i in program.trace.used]
        return not rows * columns or self.target.run(program, rows, columns, used, outs)

    def backward(self, arrays: Sequence[Any], gs: Sequence[Any],
                 wanted: tuple[bool, ...]) -> list[Any] | None:  # fmt: skip
        """The gradients of the wanted inputs, None for others and where nothing flows.

        None altogether if the target leaves the work to array code.
        """
        if wanted not in self._gradients:
            self._gradients[wanted] = self._derive(wanted)
        program, flows, summed = self._gradients[wanted]
        recipe, target = self.recipe, self.target
        if program is None:
            return [None] * len(arrays)
        shapes = [a.shape for a, f in zip(arrays, flows) if f]
        outs = [target.sums(program, recipe.rows, recipe.columns, computed(d).np) if s
                else target.empty(shape, d.np)
                for s, d, shape in zip(summed, program.layout.stored, shapes)]  # fmt: skip
        if not self._run(program, [*arrays, *gs], outs):
            return None
        made = iter(zip(outs, summed, strict=True))
        return [self._gathered(a, *next(made)) if f else None for a, f in zip(arrays, flows)]

    def _gathered(self, array: Any, out: Any, summed: bool) -> Any:
        if summed:
            out = self.target.total(out, dtypes.float64.np)
            out = (out.sum() if array.size == 1 else out).reshape(array.shape)
        return out if out.dtype == array.dtype else out.astype(array.dtype)

    def _derive(self, wanted: tuple[bool, ...]) -> Any:
        """The gradient's kernel, which inputs have one, and which are added up over rows."""
        recipe = self.recipe
        inputs = recipe.inputs()
        more = [(computed(s.dtype), _lies(recipe, s)) for s in recipe.outputs]
        gs = [Expr(None, (), d, len(inputs) + i, {"read": r}) for i, (d, r) in enumerate(more)]
        found = recipe.backward(inputs, gs, wanted)
        outs = [g for g in found if g is not None]
        flows = [g is not None for g in found]
        if not outs:
            return None, flows, ()
        summed = tuple([r in ("column", "one") for r, f in zip(recipe.reads, flows) if f])
        stored = [computed(s.dtype) for s, f in zip(recipe.specs, flows) if f]
        return self._program("backward", outs, stored, more, summed), flows, summed


def _lies(recipe: Recipe, spec: Spec) -> str:
    """How a gradient of a result lies in the kernel's frame."""
    if spec.shape == recipe.shape:
        return "full"
    return "row" if len(spec.shape) and spec.shape[0] == recipe.shape[0] else "one"


class _Apply(Function):
    """A fused function on the tape."""

    @staticmethod
    def forward(ctx: Any, kernel: Fused, *tensors: Tensor) -> Any:
        ctx.kernel = kernel
        ctx.save_for_backward(*tensors)
        arrays = _contiguous([t._array for t in tensors])
        with backends.for_array(arrays[0]).on(tensors[0].device):
            return tuple([wrap(a) for a in kernel.forward(arrays)])

    @staticmethod
    def backward(ctx: Any, *gs: Any) -> Any:
        tensors, kernel = ctx.saved_tensors, ctx.kernel
        wanted = ctx.needs_input_grad[1:]
        if modes.grad:
            return (None, *_again(kernel, tensors, gs, wanted))
        device = tensors[0].device
        arrays = _contiguous([t._array for t in tensors])
        given = _contiguous([
            (F.zeros(s.shape, dtype=s.dtype, device=device) if g is None else g)._array
            .astype(computed(s.dtype).np, copy=False)
            for g, s in zip(gs, _floating(kernel.recipe.outputs), strict=True)
        ])  # fmt: skip
        with backends.for_array(arrays[0]).on(device):
            found = kernel.backward(arrays, given, wanted)
        if found is None:
            with kernel.target.instead():
                return (None, *_again(kernel, tensors, gs, wanted))
        return (None, *(None if x is None else wrap(x) for x in found))


def _contiguous(arrays: Sequence[Any]) -> list[Any]:
    return [a if a.flags.c_contiguous else a.copy(order="C") for a in arrays]


def _floating(specs: Sequence[Spec]) -> list[Spec]:
    bad = [s for s in specs if not s.dtype.is_floating_point]
    if bad:
        raise NotSupportedError("fuse: a function with integer results has no gradient here")
    return list(specs)


def _again(kernel: Fused, tensors: Sequence[Tensor], gs: Sequence[Any],
           wanted: Sequence[bool]) -> list[Any]:  # fmt: skip
    """Gradients by recorded ops, so that they can be differentiated."""
    with enable_grad(), casting():
        out = kernel.call(*tensors)
        outs = out if kernel.recipe.many else (out,)
        chosen = [t for t, w in zip(tensors, wanted) if w]
        found = iter(grad(outs, chosen, gs, create_graph=True, allow_unused=True))
    return [next(found) if w else None for w in wanted]
