"""``gpugrad explain``: the CUDA kernels of an op, an optimiser or a function of one's own."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

import gpugrad
from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.errors import DTypeError
from gpugrad.op import Function, Op, registry
from gpugrad.samples import A, Sample
from gpugrad.testing.calls import Call, fill, key, samples_of

_SHAPE = (4096, 4096)
#: Parameters that an optimiser is shown with.
_PARAMETERS = 3
if TYPE_CHECKING:
    from gpugrad.explanation import Explanation

    _Sizes = click.ParamType[tuple[int, ...]]
else:
    _Sizes = click.ParamType


class _Shape(_Sizes):
    """``4096x4096``: sizes with ``x`` between."""

    name = "sizes"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            shape = tuple(map(int, value.split("x")))
        except ValueError:
            shape = ()
        if not shape or min(shape) < 1:
            self.fail(f"{value!r} is no shape; accepted: positive sizes such as 64x128", param, ctx)
        return shape


def _dtype(ctx: Any, param: Any, value: str) -> DType:
    try:
        return dtypes.as_dtype(value)
    except DTypeError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.command(short_help="Show the CUDA kernels of an op, an optimiser or a function.")
@click.argument("fn", metavar="FN")
@click.option("--shape", type=_Shape(), help="Sizes of the arguments.  [default: 4096x4096]")
@click.option("--dtype", default="float32", callback=_dtype, show_default=True,
              help="Of floating arguments.")  # fmt: skip
@click.option("--arch", help="What to compile for.  [default: the GPU's own, or sm_90]")
@click.option("--backward/--no-backward", default=None,
              help="With gradients.  [default: where there are any]")  # fmt: skip
@click.option("--source", is_flag=True, help="Print the kernels' text, too.")
def explain(fn: str, shape: tuple[int, ...] | None, dtype: DType, arch: str | None,
            backward: bool | None, source: bool) -> None:  # fmt: skip
    """Show each CUDA kernel that FN and its gradients run: what it computes, its grid, registers,
    and the bytes that it moves against the least that would do.

    FN is an op (softmax, layer_norm), an optimiser (adamw), or a function of your own as
    file.py:function or package.module:function, which is called with a tensor for each argument
    that has no default.  No GPU is needed; with one, the kernels run and are timed.
    """
    found = _explained(fn, shape, dtype, arch, backward)
    click.echo(str(found))
    if source:
        click.echo(f"\n{found.source()}")


def _explained(fn: str, shape: tuple[int, ...] | None, dtype: DType, arch: str | None,
               backward: bool | None) -> Explanation:  # fmt: skip
    from gpugrad.explanation import explain as explained

    optimizers = _optimizers()
    device = "cuda" if gpugrad.cuda.is_available() else "cpu"
    grads = backward is not False and dtype.is_floating_point
    options: dict[str, Any] = {"backward": backward, "arch": arch}
    if ":" in fn:
        function = _own(fn)
        args = [gpugrad.randn(shape or _SHAPE, dtype=dtype, device=device, requires_grad=grads)
                for _ in _required(function)]  # fmt: skip
        return explained(function, *args, **options)
    if fn in optimizers:
        params = [gpugrad.zeros(shape or _SHAPE, dtype=dtype, device=device)
                  for _ in range(_PARAMETERS)]  # fmt: skip
        return explained(optimizers[fn]([p.requires_grad_() for p in params]), **options)
    record = _record(fn)
    call = Call(record, _sample(record, shape), dtype)
    tensors = call.tensors(gpugrad.device(device), grads and record.differentiable)
    args = [fill(a, tensors) for a in call.args]
    kwargs = {k: fill(v, tensors) for k, v in call.kwargs.items()}
    return explained(record.public, *args, **kwargs, **options)


# ---- what FN means -----------------------------------------------------------------------------


def _optimizers() -> dict[str, Any]:
    """The optimisers by their names in small letters."""
    from gpugrad import optim

    kinds = {n.lower(): c for n, c in vars(optim).items() if isinstance(c, type)}
    return {n: c for n, c in kinds.items()
            if issubclass(c, optim.Optimizer) and c is not optim.Optimizer}  # fmt: skip


def _record(name: str) -> Op | Function:
    """The op or function of a public name."""
    named: dict[str, Op | Function] = {}
    for record in registry:
        if not record.home.startswith("_"):
            for n in (key(record), record.name, *record.aliases):
                named.setdefault(n, record)
    if name in named:
        return named[name]
    close = difflib.get_close_matches(name, [*named, *_optimizers()])
    hint = f"closest: {', '.join(close)}" if close else "gpugrad ops lists them"
    raise click.ClickException(
        f"no op, function or optimiser is named {name!r}; {hint}; a function of your own is "
        "file.py:function or package.module:function"
    )


def _own(spec: str) -> Callable[..., Any]:
    """The function of a file or module."""
    place, _, name = spec.rpartition(":")
    if place.endswith(".py"):
        if not os.path.isfile(place):
            raise click.ClickException(f"there is no file {place}")
        found = importlib.util.spec_from_file_location("explained", place)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        sys.path.insert(0, os.path.dirname(os.path.abspath(place)))
        found.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise click.ClickException(f"there is no module {place!r}: {error}") from None
    function = getattr(module, name, None)
    if not callable(function):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        close = difflib.get_close_matches(name, names) or names[:9]
        raise click.ClickException(f"{place} has no function {name!r}; it has {', '.join(close)}")
    return function  # type: ignore[no-any-return]


def _required(function: Callable[..., Any]) -> list[str]:
    """The positional arguments that have no default."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind in kinds and p.default is p.empty]


# ---- example arguments -------------------------------------------------------------------------


def _sample(record: Op | Function, shape: tuple[int, ...] | None) -> Sample:
    """The record's sample with most arrays that can be had in a shape."""
    known = [s for s in samples_of(record) if type(s) is Sample and s.arrays()]
    if not known:
        raise click.ClickException(
            f"{key(record)} has no example arguments; write a function that calls it, and name "
            "that as file.py:function"
        )
    scaled = [s for s in (_scaled(record, s, shape or _SHAPE) for s in known) if s is not None]
    if scaled:
        return max(scaled, key=lambda s: len(s.arrays()))
    if shape is None:
        return known[0]
    shapes = sorted({"x".join(map(str, s.arrays()[0].shape)) for s in known if s.arrays()[0].shape})
    raise click.ClickException(
        f"the examples of {key(record)} cannot be had in the shape {'x'.join(map(str, shape))}; "
        f"their first arrays are of shape {', '.join(shapes)}"
    )


def _scaled(record: Op | Function, sample: Sample, shape: tuple[int, ...]) -> Sample | None:
    """A sample whose first array has a shape, and the others sizes to match; None if unclear."""
    old = sample.arrays()[0].shape
    if len(old) != len(shape) or len({*old}) < len(old) or not {*old}.isdisjoint((0, 1)):
        return None
    sizes = dict(zip(old, shape, strict=True)) | {1: 1}
    try:
        args = [_resized(v, sizes, n) for v, n in zip(sample.args, _names(record), strict=False)]
        kwargs = {k: _resized(v, sizes, k) for k, v in sample.kwargs.items()}
    except KeyError:  # a size that is none of the first array's
        return None
    return Sample(*args, *sample.args[len(args) :], **kwargs)


def _names(record: Op | Function) -> list[str]:
    return list(inspect.signature(record.public).parameters)


def _resized(value: Any, sizes: dict[int, int], name: str) -> Any:
    if isinstance(value, A):
        return replace(value, shape=tuple(sizes[n] for n in value.shape))
    if isinstance(value, list | tuple) and "shape" in name:
        return type(value)(sizes[n] for n in value)
    return value
