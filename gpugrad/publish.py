"""From records to names: public functions, methods, operators, in-place methods.

Signatures are generated from the record; so is everything else here.  Nothing is listed twice.
"""

from __future__ import annotations

import functools
from collections import namedtuple
from typing import Any, NoReturn

import numpy as np

from gpugrad import signature
from gpugrad.dispatch import call, prepare
from gpugrad.errors import ArgumentError
from gpugrad.inplace import assign, check_overlap, check_writable, shield, write_out
from gpugrad.lanes import binary_lane, operator_slow, unary_lane
from gpugrad.methods import TensorMethods
from gpugrad.modes import casting, modes
from gpugrad.op import REQUIRED, Function, Op, registry
from gpugrad.refusals import brief, refuse_function
from gpugrad.tape.nodes import next_order
from gpugrad.tensor import TENSOR_TYPES, Tensor

#: Public names by home ("" is the package itself): what modules of that name export.
homes: dict[str, dict[str, Any]] = {}

REFLECTED = {"__add__", "__sub__", "__mul__", "__truediv__", "__floordiv__", "__mod__", "__pow__",
              "__matmul__", "__and__", "__or__", "__xor__", "__lshift__", "__rshift__"}  # fmt: skip


def publish(record: Op | Function) -> None:
    """Derive everything public from one record."""
    if isinstance(record, Function):
        public: Any = _guarded(record)
    else:
        prepare(record)
        public = _wrapper(record)
    public.__doc__ = _documentation(record)
    record.public = public
    for alias in (record.name, *record.aliases):
        # An alias with dots is the name in another namespace: "nn.functional.relu".
        home, _, name = alias.rpartition(".")
        home = home or record.home
        table = homes.setdefault(home, {})
        table[name] = public
        if record.method and home == record.home:
            setattr(TensorMethods, name, _method(record, public))
        if record.inplace and home in ("", "Tensor", "nn.functional"):
            table[f"{name}_"] = inplace = _inplace(record, f"{name}_")
            if record.method and home == record.home:
                setattr(TensorMethods, f"{name}_", inplace)
    if record.operator:
        _attach_operator(record)


def _guarded(record: Function) -> Any:
    """A plain function as the public gets it: its plain settings are checked, ``axis`` and
    ``keepdims`` are taken as ops take them, and every refusal is ours."""  # fmt: skip
    fn = record.fn
    code = fn.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    others = {k: v for k, v in signature.KEYWORD_ALIASES.items() if v in names and k not in names}
    kinds = {n: k for n in names if (k := signature.plain_kind(str(fn.__annotations__.get(n, ""))))}
    defaults = (*fn.__defaults__,) if fn.__defaults__ else ()
    given = dict(zip(reversed(names[: code.co_argcount]), reversed(defaults), strict=False))
    given |= fn.__kwdefaults__ or {}
    tensors = [i for i, n in enumerate(names[: code.co_argcount])
               if fn.__annotations__.get(n) == "Tensor" or (i == 0 and record.method)]  # fmt: skip
    first = min((i for i, n in enumerate(names[: code.co_argcount]) if n in kinds), default=99)

    def plain(name: str, value: Any) -> Any:
        if name not in kinds or value is given.get(name, REQUIRED):
            return value
        return signature.plain_value(record.name, name, kinds[name], value)

    @functools.wraps(fn)
    def public(*args: Any, **kwargs: Any) -> Any:
        if (
            modes.autocast is not None
            and (cast := modes.autocast(record, args, kwargs)) is not None
        ):
            with casting():
                return public(*cast[0], **cast[1])
        if kwargs:
            for key in others.keys() & kwargs.keys():
                if others[key] in kwargs:
                    raise ArgumentError(
                        f"{record.name}: {key!r} and {others[key]!r} are one argument"
                    )
                kwargs[others[key]] = kwargs.pop(key)
            kwargs = {k: plain(k, v) for k, v in kwargs.items()}
        for i in tensors:
            if i < len(args) and type(args[i]) not in TENSOR_TYPES:
                _check_tensor(record, names[i], args[i])
        if len(args) > first:
            args = tuple(map(plain, names, args)) + args[code.co_argcount :]
        try:
            return fn(*args, **kwargs)
        except Exception as error:
            refuse_function(record, args, kwargs, error)

    return public


def _check_tensor(record: Function, name: str, value: Any) -> None:
    if not isinstance(value, (Tensor, *signature.NUMBERS, np.generic)):
        hint = "; use gpugrad.from_numpy" if isinstance(value, np.ndarray) else ""
        raise ArgumentError(f"{record.name}: {name} must be a Tensor, got {brief(value)}{hint}")


def _method(record: Op | Function, public: Any) -> Any:
    is_property = isinstance(record, Function) and record.attribute
    return property(public) if is_property else public


def _documentation(record: Op | Function) -> str:
    if isinstance(record, Function):
        return record.doc
    head = signature.signature_text(record)
    return f"{head}\n\n{record.doc.strip()}"


def _wrapper(op: Op) -> Any:
    """Generate the public function with the record's signature."""
    params = signature.parameters(op)
    scope: dict[str, Any] = {"OP": op, "call": call, "write_out": write_out, "bind": _rebind,
                             "REQUIRED": REQUIRED, "missing": signature.missing,
                             "plain": signature.plain_value, "surplus_of": _surplus}  # fmt: skip
    positional, keyword = [], []
    ints = next((p for p in params if p.kind == "ints" and not p.keyword_only), None)
    before = True
    for p in params:
        scope[f"D_{p.name}"] = p.default
        default = f"=D_{p.name}"
        if p is ints:
            positional.append(f"*{p.name}")
            before = False
        elif p.keyword_only or not before:
            keyword.append(p.name + default)
        else:
            positional.append(p.name + default)
    star = ["*surplus"] if ints is None else []
    head = ", ".join([*positional, *star, *keyword, "out=None", "**unknown"])
    many = op.arrays[-1] if op.variadic else None
    arrays = "".join(f"*{a}, " if a == many else f"{a}, " for a in op.arrays)
    settings = ", ".join(f"{s!r}: {s}" for s in op.settings)
    everything = ", ".join(f"{p.name!r}: {p.name}" for p in params)
    lines = [f"def {op.name}({head}):", "    if unknown:"]
    lines.append(f"        return bind(OP, {{{everything}}}, unknown, out)")
    if ints is None:
        lines += ["    if surplus:", "        surplus_of(OP, surplus)"]
    else:
        # a sequence given as one argument, or ints one by one
        lines += [f"    if len({ints.name}) == 1 and not isinstance({ints.name}[0], int):",
                  f"        {ints.name} = {ints.name}[0]"]  # fmt: skip
    if op.takes_inplace:
        scope["in_place"] = _inplace(op, f"{op.name}_")
        others = "".join(f", {p.name}={p.name}" for p in params[1:] if p.name != "inplace")
        lines += [
            "    if inplace is not False:",
            "        inplace = plain(OP.name, 'inplace', 'bool', inplace)",
            f"    if inplace: return in_place({params[0].name}{others})",
        ]
    lane = _lane(op)
    if lane is not None:
        scope["lane"] = lane
        checks = "".join(f" and {s} is D_{s}" for s in op.settings)
        lines.append(f"    if out is None{checks}: return lane({', '.join(op.arrays)})")
    for name, default in op.settings.items():
        if default is REQUIRED and name != getattr(ints, "name", None):
            lines += [f"    if {name} is REQUIRED:", f"        raise missing(OP, {name!r})"]
        if kind := signature.plain_kind(op.annotations.get(name, "")):
            check = f"{name} = plain(OP.name, {name!r}, {kind!r}, {name})"
            lines.append(f"    if {name} is not D_{name}: {check}")
    if op.variadic:
        many = op.arrays[-1]
        lines.append(f"    {many} = sequence(OP, {many})")
        scope["sequence"] = _sequence
    lines += [
        f"    r = call(OP, ({arrays}), {{{settings}}})",
        "    return r if out is None else write_out(OP, r, out)",
    ]
    exec(compile("\n".join(lines), f"<gpugrad op {op.name}>", "exec"), scope)
    public = scope[op.name]
    public.__module__ = f"gpugrad.{op.home}" if op.home else "gpugrad"
    public.__qualname__ = op.name
    public.op = op
    if op.outputs:
        fields = op.outputs  # of the record, so there is no class to write out
        public.result_type = namedtuple(op.name, fields)  # type: ignore[misc]  # noqa: PYI024
        public.result_type.__repr__ = _shown
    return public


def _shown(result: Any) -> str:
    """Several outputs by name, a line each, as PyTorch shows them."""
    lines = (f"{name}={value!r}" for name, value in zip(result._fields, result, strict=True))
    return f"gpugrad.return_types.{type(result).__name__}(\n" + ",\n".join(lines) + ")"


def _rebind(op: Op, given: dict[str, Any], unknown: dict[str, Any], out: Any) -> Any:
    """A call with keywords of another spelling (``axis``), or unknown ones: sort out or refuse."""
    params = {p.name: p for p in signature.parameters(op)}
    kwargs = {
        k: v for k, v in given.items()
        if v is not REQUIRED and v is not params[k].default and (params[k].kind != "ints" or v)
    }  # fmt: skip
    if "out" in unknown:
        out = unknown.pop("out")
    for key in unknown:
        name = signature.KEYWORD_ALIASES.get(key, key)
        if params.get(name) is not None and params[name].kind == "ints":
            continue
    arrays, settings = signature.bind(op, (), {**kwargs, **unknown})
    for name, value in settings.items():
        kind = signature.plain_kind(op.annotations.get(name, ""))
        if kind and value is not op.settings[name]:
            settings[name] = signature.plain_value(op.name, name, kind, value)
    r = call(op, arrays, settings)
    return r if out is None else write_out(op, r, out)


def _surplus(op: Op, surplus: tuple[Any, ...]) -> NoReturn:
    raise ArgumentError(
        f"{op.name}: {len(surplus)} positional arguments too many; it is "
        f"{signature.signature_text(op)}"
    )


def _sequence(op: Op, tensors: Any) -> Any:
    if tensors is REQUIRED:
        raise signature.missing(op, op.arrays[-1])
    if isinstance(tensors, Tensor) or not hasattr(tensors, "__iter__"):
        raise ArgumentError(
            f"{op.name}: {op.arrays[-1]} must be a sequence of tensors, got "
            f"{type(tensors).__name__}"
        )
    found = tuple(tensors)
    if not found:
        raise ArgumentError(f"{op.name}: {op.arrays[-1]} is empty; at least one tensor is needed")
    return found


def _lane(op: Op, slow: Any = call) -> Any:
    if not op.elementwise or op.variadic or op.optional or op.indices or op.promotion is None:
        return None
    if any(v is REQUIRED for v in op.settings.values()):
        return None
    defaults = dict(op.settings)
    if len(op.arrays) == 1:
        return unary_lane(op, defaults)
    if len(op.arrays) == 2:
        return binary_lane(op, defaults, slow)
    return None


def _attach_operator(record: Op | Function) -> None:
    name = record.operator
    if isinstance(record, Op):
        method = _lane(record, operator_slow) or record.public
    else:
        method = record.public
    setattr(TensorMethods, name, method)
    if name in REFLECTED:
        bare = name.strip("_")
        setattr(TensorMethods, f"__r{bare}__", _reflected(record, method))
        target = _inplace(record, f"__i{bare}__")
        setattr(TensorMethods, f"__i{bare}__", target)


def _reflected(record: Op | Function, method: Any) -> Any:
    def reflected(self: Any, other: Any) -> Any:
        if isinstance(record, Op):
            return operator_slow(record, (other, self), dict(record.settings))
        return method(other, self)

    return reflected


def _inplace(record: Op | Function, name: str) -> Any:
    """The in-place method: the op, then a write into its first argument."""

    def inplace(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_writable(name, self)
        if "out" in kwargs:
            raise ArgumentError(f"{name}: it writes into its first argument and takes no out=")
        for a in args:
            if isinstance(a, Tensor):
                check_overlap(name, self, a)
        since = next_order()
        result = record.public(self, *args, **kwargs)
        if isinstance(result, Tensor) and result._node is not None:
            shield(self, result, since)
        return assign(name, self, result)

    inplace.__name__ = inplace.__qualname__ = name
    inplace.__doc__ = f"In-place version of ``{record.name}``: writes the result into the tensor."
    return inplace


def start() -> None:
    """Publish what is registered already and everything that will be."""
    for record in registry:
        if record.public is None:
            publish(record)
    registry.listener = publish


def namespace(home: str) -> tuple[Any, Any]:
    """``__getattr__`` and ``__dir__`` for the module that shows the public names of ``home``."""

    def getattr_(name: str) -> Any:
        found = homes.get(home, {}).get(name)
        if found is None:
            module = f"gpugrad.{home}" if home else "gpugrad"
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return found

    def dir_() -> list[str]:
        return sorted(homes.get(home, {}))

    return getattr_, dir_
