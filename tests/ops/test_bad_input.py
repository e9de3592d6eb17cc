"""Calls that must be refused, broken out of the records' own samples; no op is named here.

A refusal is one exception of ``gpugrad.errors`` that begins with the op's name, and it leaves
every tensor of the call as it was.  Whether a broken call must be refused is in doubt for some (a
list may stand for a tensor, a changed shape may fit): there PyTorch decides, where it is installed.
"""

import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import dtypes, signature
from gpugrad.errors import GpugradError
from gpugrad.op import REQUIRED, Function, Op, registry
from gpugrad.samples import Sample, Writing
from gpugrad.tensor import Tensor
from gpugrad.testing.against_torch import counterpart, to_torch
from gpugrad.testing.calls import Call, Slot, claimed_dtypes, fill, key, samples_of

RECORDS = {key(r): r for r in registry if samples_of(r)}
#: Functions that make a tensor of whatever they are given, or answer for any object.
ANY_DATA = {"tensor", "as_tensor", "asarray", "is_tensor"}
#: Functions that only look at the shape, dtype or device of their second tensor.
LOOKS = {"type_as", "view_as", "reshape_as", "expand_as"}


#: Where gpugrad gives a result and PyTorch does not, on purpose.  Operands of different dtypes are
#: promoted by PyTorch's own table where its kernels happen to want them cast by hand; what does not
#: look at single elements takes tensors without any; index tensors may be int32 everywhere.
PROMOTES = {
    "isclose", "where_select", "cdist", "prelu", "histogram", "nn.functional.huber_loss",
    "nn.functional.cross_entropy", "nn.functional.nll_loss", "nn.functional.binary_cross_entropy",
    "nn.functional.binary_cross_entropy_with_logits", "nn.functional.poisson_nll_loss",
    "nn.functional.gaussian_nll_loss", "nn.functional.margin_ranking_loss", "cov",
    "nn.functional.layer_norm", "nn.functional.rms_norm", "nn.functional.group_norm",
    "nn.functional.batch_norm", "nn.functional.instance_norm",
}  # fmt: skip
#: Shapes that broadcast here and in NumPy, not in PyTorch.
BROADCASTS = {
    "linalg.solve", "linalg.lstsq", "trapezoid", "cumulative_trapezoid", "repeat_interleave",
    "nn.functional.mse_loss", "nn.functional.l1_loss", "nn.functional.huber_loss",
}  # fmt: skip


def more_liberal(name: str, what: str) -> bool:
    """Whether a call that PyTorch refuses means something here."""
    return (
        what.endswith((" empty", " of int32"))
        or (name in PROMOTES and " of " in what)
        or (name in BROADCASTS and what.endswith((" a dim less", " a dim more")))
        or (name == "index_fill" and what.endswith("of uint8"))
        or (name == "as_strided" and what.endswith("a dim less"))
    )


class Bad(NamedTuple):
    """A broken call: what is wrong, how to make it, whether only PyTorch knows if it is wrong."""

    what: str
    args: list[Any]
    kwargs: dict[str, Any]
    doubtful: bool = False
    #: Texts that the message must have.
    shows: tuple[str, ...] = ()


def good_calls(record: Op | Function, count: int = 2) -> list[Call]:
    """The first calls of a record that succeed, those with the most arguments first."""
    usual = (dtypes.float32, dtypes.int64, dtypes.bool_)
    dtype = next(d for d in usual if d in claimed_dtypes(record))
    found = []
    ranked = sorted(samples_of(record), key=lambda s: -len(s.args) - len(s.kwargs) - _rank(s))
    for sample in ranked:
        call = Call(record, sample, dtype)
        try:
            call(call.tensors())
        except GpugradError:
            continue
        found.append(call)
        if len(found) == count:
            break
    return found


def _rank(sample: Sample) -> float:
    """Samples with something in their arrays tell more."""
    return sum(bool(np.prod(a.shape)) + 0.1 * len(a.shape) for a in sample.arrays())


def parameters(record: Op | Function) -> dict[str, inspect.Parameter]:
    """Public parameters by name."""
    if isinstance(record, Function):
        return dict(inspect.signature(record.fn).parameters)
    kinds = inspect.Parameter
    found = {}
    for p in signature.parameters(record):
        kind = kinds.KEYWORD_ONLY if p.keyword_only else kinds.POSITIONAL_OR_KEYWORD
        if p.kind == "ints" and not p.keyword_only:
            kind = kinds.VAR_POSITIONAL
        default = kinds.empty if p.default is REQUIRED else p.default
        annotation = record.annotations.get(p.name, "")
        if kind is kinds.VAR_POSITIONAL:
            default = kinds.empty
        found[p.name] = kinds(p.name, kind, default=default, annotation=annotation)
    return found


def replaced(call: Call, place: Any, value: Any) -> tuple[list[Any], dict[str, Any]]:
    """The call's arguments with one replaced (or added): by position or keyword."""
    args, kwargs = list(call.args), dict(call.kwargs)
    if isinstance(place, int):
        args[place] = value
    else:
        kwargs[place] = value
    return args, kwargs


def places(call: Call) -> Iterator[tuple[Any, Any, inspect.Parameter | None]]:
    """Every argument of a call: its position or keyword, its value, and its parameter."""
    params = parameters(call.record)
    positional = [p for p in params.values() if p.kind is not p.KEYWORD_ONLY]
    for i, value in enumerate(call.args):
        p = positional[min(i, len(positional) - 1)] if positional else None
        yield i, value, p
    for name, value in call.kwargs.items():
        yield name, value, params.get(name)


# ---- ways to break a call --------------------------------------------------------------------


def no_tensor(call: Call) -> Iterator[Bad]:
    """Something else where a tensor belongs."""
    for place, value, p in places(call):
        inside = type(value) in (list, tuple) and value and isinstance(value[0], Slot)
        if not isinstance(value, Slot) and not inside:
            continue
        array = call.arrays[(value[0] if inside else value).i]
        others = {"ndarray": array, "list": [1.0, 2.0], "text": "abc", "dict": {}}
        others["object"] = object()
        if p is not None and p.default is p.empty and not inside and p.name != "key":
            others["None"] = None
        for what, other in others.items():
            if inside:
                other = type(value)([other, *value[1:]])
            elif what == "ndarray" and call.record.name in ("from_numpy",):
                continue
            args, kwargs = replaced(call, place, other)
            yield Bad(f"{what} for {place}", args, kwargs, doubtful=what in ("list", "ndarray"))


def wrong_signature(call: Call) -> Iterator[Bad]:
    """Unknown, missing and surplus arguments."""
    params = parameters(call.record)
    varied = {p.kind for p in params.values()}
    empty = inspect.Parameter.empty
    if inspect.Parameter.VAR_KEYWORD not in varied:
        args, kwargs = replaced(call, "bogus", 1)
        yield Bad("unknown keyword", args, kwargs, shows=("bogus",))
    required = [p for p in params.values() if p.default is empty and p.kind not in (
                p.VAR_POSITIONAL, p.VAR_KEYWORD)]  # fmt: skip
    if required:
        yield Bad("no argument", [], {}, shows=(required[0].name,))
    if len(required) > 1 and len(call.args) >= len(required):
        last = required[-1]
        if last.kind is not last.KEYWORD_ONLY:
            yield Bad("last missing", call.args[: len(required) - 1], {}, shows=(last.name,))
    if inspect.Parameter.VAR_POSITIONAL not in varied:
        n = sum(p.kind is not p.KEYWORD_ONLY for p in params.values())
        defaults = [p.default for p in params.values() if p.kind is not p.KEYWORD_ONLY]
        full = [*call.args, *defaults[len(call.args) : n], 3]
        if empty not in full:
            yield Bad("one too many", full, {})
    if params and call.args and isinstance(call.args[0], Slot):
        first = next(iter(params.values()))
        if first.kind is first.POSITIONAL_OR_KEYWORD:
            yield Bad("given twice", *replaced(call, first.name, call.args[0]), shows=(first.name,))


_DIMS = {"dim", "dims", "dim0", "dim1", "dim2", "start_dim", "end_dim", "axis", "source",
         "destination", "axis0", "axis1"}  # fmt: skip


def wrong_settings(call: Call) -> Iterator[Bad]:
    """Dims out of range or twice, settings of a wrong type, words that are no choice."""
    params = parameters(call.record)
    given = {p.name: (place, value) for place, value, p in places(call) if p is not None}
    for name, p in params.items():
        place, value = given.get(name, (name, p.default))
        if p.kind is p.POSITIONAL_ONLY or p.kind is p.VAR_KEYWORD or isinstance(value, Slot):
            continue
        if p.kind is p.VAR_POSITIONAL:
            if name in given and isinstance(given[name][1], int):
                yield Bad(f"{name} text", *replaced(call, place, "x"))
                yield Bad(f"{name} negative", *replaced(call, place, -7), doubtful=True)
            continue
        if (
            place == name
            and name not in call.kwargs
            and any(q.kind is q.VAR_POSITIONAL for q in params.values())
            and p.kind is not p.KEYWORD_ONLY
        ):
            continue
        for what, wrong in _wrong_values(name, value, p.default, str(p.annotation)):
            doubtful = what not in ("dim 99", "dim -99")
            yield Bad(f"{name}={what}", *replaced(call, place, wrong), doubtful=doubtful)


def _wrong_values(
    name: str, value: Any, default: Any, annotation: str
) -> Iterator[tuple[str, Any]]:
    if name in _DIMS or annotation in ("Dim", "Dims", "NewDim"):
        yield "dim 99", 99
        yield "dim -99", -99
        yield "dim text", "x"
        yield "dim 1.5", 1.5
        yield "dim twice", (0, 0)
        if default is not None:
            yield "dim None", None
    elif "bool" in annotation or isinstance(value, bool):
        yield "text for bool", "no"
        yield "list for bool", []
    elif "int" in annotation or "Int" in annotation or type(value) is int:
        yield "text for int", "x"
        yield "1.5 for int", 1.5
        yield "dict for int", {}
        yield "list of text for int", ["x"]
        yield "-7", -7
    elif "float" in annotation or type(value) is float:
        yield "text for float", "x"
        yield "dict for float", {}
        yield "list for float", [1.0]
    elif "str" in annotation or isinstance(value, str):
        yield "no choice", "bogus"
        yield "int for str", 3
        yield "list for str", ["sum"]
    elif name == "dtype":
        yield "no dtype", "bogus"
        yield "int for dtype", 3
        yield "complex dtype", "complex64"
    elif name == "device":
        yield "no device", "bogus"
        yield "absent device", "cuda:77"
    elif name == "out":
        yield "text for out", "x"
    elif name not in ("memory_format", "generator"):
        yield "object", object()
        yield "text", "bogus"
    else:
        yield "text", "bogus"


def wrong_arrays(call: Call) -> Iterator[Bad]:
    """Shapes that do not fit, dtypes that are not taken, indices that are not there."""
    record = call.record
    for i, array in enumerate(call.arrays):
        place = next((pl for pl, v, _ in places(call) if isinstance(v, Slot) and v.i == i), None)
        if place is None:
            continue
        p = next(p for pl, _, p in places(call) if pl == place)
        for d in range(array.ndim):
            if array.shape[d]:
                yield _with(call, place, np.concatenate([array, array.take([0], d)], d),
                            f"dim {d} of {place} longer")  # fmt: skip
        yield _with(call, place, array[None], f"{place} with a dim more")
        if array.ndim and len(array):
            yield _with(call, place, array[0], f"{place} with a dim less")
            yield _with(call, place, array[:0], f"{place} empty")
        for dtype in (dtypes.bool_, dtypes.int64, dtypes.int32, dtypes.uint8, dtypes.float64):
            if dtype.np != array.dtype:
                yield _with(call, place, array.astype(dtype.np), f"{place} of {dtype.name}")
        if array.dtype == np.int64 and array.size:
            for wrong in (10**6, -(10**6)):
                yield _with(call, place, np.full_like(array, wrong), f"{place} full of {wrong}")
        if isinstance(record, Op) and p is not None and p.name not in record.indices:
            refused = [d for d in dtypes.ALL if d not in claimed_dtypes(record)]
            if record.promotion is not None and len(record.arrays) == 1 and not record.variadic:
                for dtype in refused[:2]:
                    bad = _with(call, place, array.astype(dtype.np), f"{place} of {dtype.name}")
                    yield bad._replace(doubtful=False, shows=(dtype.name,))


def _with(call: Call, place: Any, array: Any, what: str) -> Bad:
    return Bad(what, *replaced(call, place, gg.from_numpy(np.array(array).reshape(
               array.shape))), doubtful=True)  # fmt: skip


def other_devices(call: Call) -> Iterator[Bad]:
    """One operand of several on ``meta``."""
    found = [(pl, v) for pl, v, _ in places(call) if isinstance(v, Slot) and call.arrays[v.i].ndim]
    if len(found) < 2 or isinstance(call.sample, Writing) or call.record.name in LOOKS:
        return
    for place, slot in (found[0], found[-1]):
        meta = gg.from_numpy(call.arrays[slot.i]).to("meta")
        shows = ("cpu", "meta") if isinstance(call.record, Op) else ("meta",)
        yield Bad(f"{place} on meta", *replaced(call, place, meta), shows=shows)


def not_broadcasting(call: Call) -> Iterator[Bad]:
    """Elementwise operands whose shapes do not broadcast: both are shown."""
    record = call.record
    if not isinstance(record, Op) or not record.elementwise or len(call.arrays) < 2:
        return
    if not all(isinstance(a, Slot) for a in call.args[: len(record.arrays)]):
        return
    for shapes in (((3, 4), (3, 5)), ((2, 1), (3, 3))):
        arrays = [np.ones(shapes[min(i, 1)], a.dtype) for i, a in enumerate(call.arrays)]
        tensors = [gg.from_numpy(a) for a in arrays]
        yield Bad("no broadcast", fill(call.args, tensors), dict(call.kwargs),
                  shows=tuple(str(s) for s in shapes))  # fmt: skip


BREAKS: list[Callable[[Call], Iterator[Bad]]] = [
    no_tensor, wrong_signature, wrong_settings, wrong_arrays, other_devices, not_broadcasting,
]  # fmt: skip


# ---- what a refusal must be ------------------------------------------------------------------

#: Words of other libraries, and what a reader cannot use.
FOREIGN = re.compile(
    r"operands could not be broadcast|gufunc|ufunc|<required>|Spec\(|object has no attribute|"
    r"not subscriptable|not iterable|truth value|unsupported operand|\bndarray' object|'NoneType'|"
    r"axis \d|setting an array|Traceback|invalid literal|could not convert|NotImplementedType"
)


def fault(record: Op | Function, bad: Bad, error: BaseException) -> str:
    """What is wrong with a refusal, or an empty string."""
    said = f"{type(error).__name__}: {error}"
    if bad.what == "given twice" and type(error) is TypeError:
        return "" if record.name in str(error) and bad.shows[0] in str(error) else said
    if not isinstance(error, GpugradError):
        return f"foreign: {said}"
    head = str(error).partition(":")[0]
    head = head.replace("x[...] = v", "setitem").replace("x[...]", "getitem")
    if not re.search(rf"(?<![A-Za-z0-9]){re.escape(record.name)}_?(?![A-Za-z0-9])", head):
        return f"unnamed: {said}"
    if FOREIGN.search(str(error)) and record.torch != "":  # parts of ops are called by ops
        return f"unclear: {said}"
    missing = [s for s in bad.shows if s not in str(error)]
    return f"does not show {missing}: {said}" if missing else ""


def attempt(call: Call, bad: Bad) -> tuple[str, BaseException | None]:
    """Make a broken call: the fault of its refusal or of what it did, and what it raised."""
    tensors = call.tensors()
    args, kwargs = _filled(bad, tensors)
    if isinstance(call.sample, Writing) and args and isinstance(args[0], Tensor):
        args[0] = args[0].clone()
    seen = [t for t in (*tensors, *args, *kwargs.values()) if isinstance(t, Tensor)]
    before = [_state(t) for t in seen]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error = _refusal(call.record.public, args, kwargs)
    if error is None:
        return ("" if bad.doubtful else "accepted"), None
    if [_state(t) for t in seen] != before:
        return f"half-written: {error}", error
    return fault(call.record, bad, error), error


def _filled(bad: Bad, tensors: list[Tensor]) -> tuple[list[Any], dict[str, Any]]:
    return fill(bad.args, tensors), {k: fill(v, tensors) for k, v in bad.kwargs.items()}


def _state(t: Tensor) -> tuple[Any, ...]:
    held = b"" if t.is_meta else t.numpy(force=True).tobytes()
    return (t._version, tuple(t.shape), t.dtype.name, held)


def broken(record: Op | Function) -> Iterator[tuple[Call, Bad]]:
    """Every broken call of a record."""
    for call in good_calls(record):
        for way in BREAKS:
            for bad in way(call):
                if not (record.name in ANY_DATA and way is no_tensor):
                    yield call, bad


@pytest.mark.parametrize("name", RECORDS)
def test_broken_calls_are_refused(name: str) -> None:
    """One clear exception that names the op; nothing half-written."""
    found = []
    for call, bad in broken(RECORDS[name]):
        wrong, _ = attempt(call, bad)
        if wrong:
            found.append(f"{bad.what}: {wrong}")
    assert not found, "\n".join(found)


# ---- writing -----------------------------------------------------------------------------------

INPLACE = {k: r for k, r in RECORDS.items() if r.inplace and hasattr(gg.Tensor, f"{r.name}_")}
OUTS = {k: r for k, r in RECORDS.items() if isinstance(r, Op)}


@pytest.mark.parametrize("name", INPLACE)
def test_refused_writes_leave_their_target_alone(name: str) -> None:
    """An in-place method that refuses has not touched its target, nor its version."""
    record = INPLACE[name]
    written = getattr(gg.Tensor, f"{record.name}_")
    for call, bad in broken(record):
        tensors = call.tensors()
        args, kwargs = _filled(bad, tensors)
        if not args or not isinstance(args[0], Tensor) or args[0].is_meta:
            continue
        before = _state(args[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            refusal = _refusal(written, args, kwargs)
        if refusal is not None:
            assert isinstance(refusal, GpugradError) or bad.what == "given twice", repr(refusal)
            assert _state(args[0]) == before, bad.what


@pytest.mark.parametrize("name", OUTS)
def test_a_bad_out_is_refused_before_anything_is_written(name: str) -> None:
    """Of several outputs the last one is bad: the first stays as it was, too."""
    record = OUTS[name]
    for call in good_calls(record, 1):
        tensors = call.tensors()
        result = call(tensors)
        results = list(result) if isinstance(result, tuple) else [result]
        for what, bad in _bad_outs(results[-1]).items():
            outs = [gg.full_like(r, 1) for r in results[:-1]] + [bad]
            before = [_state(o) for o in outs if isinstance(o, Tensor)]
            out = tuple(outs) if isinstance(result, tuple) else outs[0]
            with pytest.raises(GpugradError, match=rf"^[\w.]*{record.name}"):
                call(tensors, out=out)
            assert [_state(o) for o in outs if isinstance(o, Tensor)] == before, what


def _refusal(function: Any, args: list[Any], kwargs: dict[str, Any]) -> Exception | None:
    try:
        function(*args, **kwargs)
    except Exception as error:
        return error
    return None


def _bad_outs(result: Tensor) -> dict[str, Any]:
    bad = {"text": "x", "device": result.to("meta"), "shape": result.new_ones((7, 9))}
    if result.numel() > 1:
        bad["expanded"] = result.new_ones(()).expand(result.shape)
    if result.dtype is not dtypes.bool_:
        lower = dtypes.int64 if result.dtype.is_floating_point else dtypes.bool_
        bad["dtype"] = gg.ones(result.shape, dtype=lower)
    return bad


# ---- PyTorch as the judge of what must be refused --------------------------------------------


def torch_refuses(call: Call, bad: Bad, function: Callable[..., Any]) -> bool:
    """Whether PyTorch raises for the same broken call."""
    import torch

    tensors = call.tensors()
    args = [_theirs(fill(a, tensors)) for a in bad.args]
    kwargs = {k: _theirs(fill(v, tensors)) for k, v in bad.kwargs.items()}
    if isinstance(kwargs.get("dtype"), str):
        kwargs["dtype"] = getattr(torch, kwargs["dtype"], "bogus")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error = _refusal(function, args, kwargs)
    # a kernel that its CPU build lacks says nothing about the call
    return error is not None and "not implemented for" not in str(error)


def _theirs(value: Any) -> Any:
    if isinstance(value, Tensor):
        t = to_torch(value.numpy(force=True)) if not value.is_meta else None
        return t if t is not None else to_torch(np.zeros(value.shape, value.dtype.np)).to("meta")
    if type(value) in (list, tuple):
        return type(value)(_theirs(v) for v in value)
    return value if isinstance(value, np.ndarray) else to_torch(value)


@pytest.mark.torch
@pytest.mark.parametrize("name", RECORDS)
def test_what_torch_refuses_is_refused(name: str) -> None:
    """A call that is an error in PyTorch never gives a result here."""
    record = RECORDS[name]
    function = counterpart(record)
    if function is None:
        pytest.skip("PyTorch has no counterpart")
    found = []
    for call, bad in broken(record):
        whole = Bad("", call.args, call.kwargs)
        if torch_refuses(call, whole, function):
            continue  # PyTorch has no such form of the call
        _, error = attempt(call, bad)
        liberal = more_liberal(name, bad.what)
        if error is None and not liberal and torch_refuses(call, bad, function):
            found.append(bad.what)
    assert not found, "\n".join(found)
