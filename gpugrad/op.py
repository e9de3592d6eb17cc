"""The op record and its registry.

An op is one function over a namespace ``xp`` (arrays, tensors, expressions or specs), with a
gradient rule per array argument written in the same ``xp``.  Everything else about an op (public
function, method, tape entry, kernel text, shape check, tests, docs) is derived by readers of this
record; nothing is listed a second time.

Rules of the form, checked here: ``xp`` first; arrays positional; settings keyword-only and plain
data; a docstring; one registration per name; a gradient names only what it can have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from gpugrad.errors import RegistrationError

#: Annotations of op functions.  ``Array`` takes part in promotion and may carry a gradient;
#: ``Index`` and ``Mask`` are integer or bool arrays and never do.  ``Dim`` and ``Dims`` are checked
#: and made non-negative before the op runs; ``NewDim`` counts one more dimension than the input.
#: ``Int`` and ``Ints`` are made plain ints (a tuple of them), whatever has an ``__index__``.
if TYPE_CHECKING:
    Array = Any
    Index = Any
    Mask = Any
    Namespace = Any
    Dim = int
    NewDim = int
    Dims = tuple[int, ...] | None
    Shape = tuple[int, ...]
    Int = int
    Ints = tuple[int, ...]
else:
    # At run time an annotation is only its name, so any distinct objects do.
    class Array: ...

    class Index: ...

    class Mask: ...

    class Dim: ...

    class NewDim: ...

    class Dims: ...

    class Shape: ...

    class Int: ...

    class Ints: ...

    Namespace = Any

#: Annotations of settings that mean work before the op runs (see ``signature.normalise``).
NORMALISED = ("Dim", "NewDim", "Dims", "Shape", "Int", "Ints", "Dim | None", "Ints | None",
              "DType | None", "DType")  # fmt: skip

#: Settings that stay keyword-only in the public signature, as in PyTorch.
KEYWORD_ONLY = frozenset([
    "alpha", "beta", "correction", "device", "dtype", "generator", "interpolation", "out",
    "requires_grad", "right", "rounding_mode", "side", "sorter", "value",
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """A gradient rule: ``fn(xp, g, *reads, **settings)`` for one argument or for all (``None``)."""

    fn: Callable[..., Any]
    #: Names in the order of the rule's parameters: arrays, ``out``/outputs, ``<array>_shape``.
    reads: tuple[str, ...]
    settings: tuple[str, ...]


@dataclass(eq=False, slots=True, weakref_slot=True)
class Op:
    """One operation.  Fields are documented at the decorators that fill them."""

    name: str
    fn: Callable[..., Any]
    doc: str
    arrays: tuple[str, ...]
    optional: frozenset[str]
    indices: frozenset[str]
    variadic: bool
    settings: dict[str, Any]
    annotations: dict[str, str]
    elementwise: bool = False
    promotion: str | None = "keep"
    accepts: str = "bif"
    each: bool = False
    view: bool = False
    half: str = "f32"
    c: Any = None
    xp_name: str = ""
    result: Callable[..., Any] | None = None
    outputs: tuple[str, ...] = ()
    samples: Any = None
    domain: Any = None
    differentiable: bool = True
    home: str = ""
    method: bool = True
    inplace: bool = False
    operator: str = ""
    aliases: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    torch: str | None = None
    tolerance: float = 1.0
    rules: dict[str | None, Rule] = field(default_factory=dict)
    #: Rules that give the gradients of several arrays at once, where all of them are wanted.
    together: dict[tuple[str, ...], Rule] = field(default_factory=dict)
    plans: dict[Any, Any] = field(default_factory=dict)
    public: Any = None
    module: str = ""
    #: Settings that are checked and completed before the op runs, with their annotation.
    normal: tuple[tuple[str, str], ...] = ()
    #: NumPy dtypes that the op computes in as they are; filled by ``gpugrad.dispatch``.
    native: frozenset[Any] = frozenset()

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __call__(self, *args: Any, **settings: Any) -> Any:
        return self.public(*args, **settings)

    def __reduce__(self) -> Any:
        return (registry.__getitem__, (self.key,))

    @property
    def key(self) -> str:
        """The name under which the registry knows it: ``home.name``."""
        return f"{self.home}.{self.name}" if self.home else self.name

    def __deepcopy__(self, memo: Any) -> Op:
        return self

    @property
    def leaf(self) -> bool:
        """Whether the op is spelt by itself in a kernel rather than composed of others."""
        return self.c is not None

    @property
    def takes_inplace(self) -> bool:
        """Whether it has the ``inplace=`` argument of PyTorch's ``nn.functional``."""
        names = (f"{self.home}.{self.name}", *self.aliases)
        return self.inplace and any(n.startswith("nn.functional.") for n in names)

    def readable(self) -> tuple[str, ...]:
        """Every name that a gradient rule of this op may ask for."""
        outs = self.outputs or ("out",)
        shapes = tuple(f"{a}_shape" for a in self.arrays)
        return (*self.arrays, *outs, *self.settings, *shapes)

    @overload
    def vjp(self, target: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...

    @overload
    def vjp(self, target: Callable[..., Any]) -> Callable[..., Any]: ...

    def vjp(self, target: str | Callable[..., Any]) -> Any:
        """Attach a gradient rule (a decorator).

        ``@op.vjp`` gives the gradients of all arrays (a tuple when there are several);
        ``@op.vjp("input")`` gives that of one.  The parameters after ``xp, g`` are the save list.

        Raises:
            RegistrationError: for an unknown argument or a name the rule cannot have.
        """
        if callable(target):
            self._attach(None, target)
            return target
        if target not in self.arrays:
            raise RegistrationError(
                f"gradient of {self.name} for {target!r}: its arrays are {list(self.arrays)}"
            )

        def attach(fn: Callable[..., Any]) -> Callable[..., Any]:
            self._attach(target, fn)
            return fn

        return attach

    def vjp_of(self, *targets: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Attach a rule for several arrays at once, for where one computation gives them cheaper.

        It runs where the gradients of all of them are wanted and gives them in order.  Each has a
        rule of its own besides, which says the same.

        Raises:
            RegistrationError: if one has none, or if it asks for what it cannot have.
        """
        lacking = [t for t in targets if t not in self.rules]
        if lacking or len(targets) < 2:
            raise RegistrationError(
                f"gradients of {self.name} for {targets} together: give one rule for each of two "
                f"or more arrays first; without one: {lacking}"
            )

        def attach(fn: Callable[..., Any]) -> Callable[..., Any]:
            self.together[targets] = self._rule(fn)
            self.plans.clear()
            return fn

        return attach

    def _rule(self, fn: Callable[..., Any]) -> Rule:
        """A function as a rule, once its parameters are checked."""
        names = _parameters(fn)
        if names[:2] != ("xp", "g"):
            raise RegistrationError(f"gradient of {self.name} must begin with (xp, g, ...)")
        wanted, can = names[2:], self.readable()
        unknown = [n for n in wanted if n not in can]
        if unknown:
            raise RegistrationError(
                f"gradient of {self.name} asks for {unknown}; it can have {list(can)}"
            )
        reads = tuple(n for n in wanted if n not in self.settings)
        settings = tuple(n for n in wanted if n in self.settings)
        return Rule(fn, reads, settings)

    def _attach(self, target: str | None, fn: Callable[..., Any]) -> None:
        rule = self._rule(fn)
        if target in self.rules or (self.rules and (target is None or None in self.rules)):
            raise RegistrationError(f"gradient of {self.name} is given twice")
        if not self.differentiable:
            raise RegistrationError(f"{self.name} is registered as not differentiable")
        self.rules[target] = rule
        self.plans.clear()


@dataclass(eq=False, slots=True)
class Function:
    """A plain function of tensors, public like an op but made of other ops."""

    name: str
    fn: Callable[..., Any]
    doc: str
    samples: Any = None
    home: str = ""
    method: bool = True
    aliases: tuple[str, ...] = ()
    torch: str | None = None
    differentiable: bool = True
    operator: str = ""
    inplace: bool = False
    tolerance: float = 1.0
    #: Whether the method is a property (``x.mT``).
    attribute: bool = False
    module: str = ""
    public: Any = None

    def __repr__(self) -> str:
        return f"<function {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.public(*args, **kwargs)


class Registry:
    """All records by name; a listener publishes each one as it arrives."""

    def __init__(self) -> None:
        self.ops: dict[str, Op] = {}
        self.functions: dict[str, Function] = {}
        self.by_xp: dict[str, Op | Function] = {}
        self.listener: Callable[[Op | Function], None] | None = None

    def __getitem__(self, name: str) -> Op:
        return self.ops[name]

    def __iter__(self) -> Iterator[Op | Function]:
        yield from self.ops.values()
        yield from self.functions.values()

    def add(self, record: Op | Function) -> None:
        """Register a record under ``home.name``; a name is taken once."""
        key = f"{record.home}.{record.name}" if record.home else record.name
        if key in self.ops or key in self.functions:
            raise RegistrationError(f"{key} is registered already, in {self.find(key).module}")
        if isinstance(record, Op):
            self.ops[key] = record
            if not isinstance(self.by_xp.get(record.xp_name), Op):  # an op goes before a function
                self.by_xp[record.xp_name] = record
        else:
            self.functions[key] = record
            self.by_xp.setdefault(record.name, record)
        if self.listener is not None:
            self.listener(record)

    def find(self, key: str) -> Op | Function:
        """Return the op or function of that name."""
        found = self.ops.get(key) or self.functions.get(key)
        if found is None:
            raise KeyError(key)
        return found


registry = Registry()


def _parameters(fn: Callable[..., Any]) -> tuple[str, ...]:
    code: Any = fn.__code__
    return tuple(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


_PLAIN = (int, float, str, bool, type(None))


def _plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_plain(v) for v in value)
    return isinstance(value, _PLAIN) or type(value).__name__ in ("DType", "Device")


def _annotation(value: Any) -> str:
    """An annotation's text without module names, whether or not it was evaluated."""
    text = value if isinstance(value, str) else (
        value.__name__ if isinstance(value, type) else str(value)
    )  # fmt: skip
    return re.sub(r"\b(?:\w+\.)+", "", text)


def _record(fn: Callable[..., Any], **fields: Any) -> Op:
    """Read an op's record off its function and register it."""
    name = fields.pop("name", None) or fn.__name__.rstrip("_")
    code: Any = fn.__code__
    positional = code.co_varnames[: code.co_argcount]
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    variadic = bool(code.co_flags & 0x04)
    if not positional or positional[0] != "xp":
        raise RegistrationError(f"{name}: the first parameter must be xp, got {positional[:1]}")
    if not fn.__doc__:
        raise RegistrationError(f"{name}: an op needs a docstring")
    arrays = tuple(positional[1:])
    if variadic:
        arrays += (code.co_varnames[code.co_argcount + code.co_kwonlyargcount],)
    annotations = {k: _annotation(v) for k, v in fn.__annotations__.items()}
    wrong = [a for a in arrays if annotations.get(a) not in ("Array", "Index", "Mask",
             "Array | None", "Index | None", "Mask | None")]  # fmt: skip
    if wrong:
        raise RegistrationError(
            f"{name}: {wrong} must be annotated Array, Index or Mask (settings are keyword-only)"
        )
    defaults = fn.__kwdefaults__ or {}
    settings = {k: defaults.get(k, REQUIRED) for k in keywords}
    not_plain = [k for k, v in settings.items() if v is not REQUIRED and not _plain(v)]
    if not_plain:
        raise RegistrationError(f"{name}: settings must be plain data, not {not_plain}")
    n_optional = len(fn.__defaults__ or ())
    op = Op(
        name=name,
        fn=fn,
        doc=fn.__doc__,
        arrays=arrays,
        optional=frozenset(arrays[len(arrays) - n_optional :]) if n_optional else frozenset(),
        indices=frozenset(a for a in arrays if not annotations[a].startswith("Array")),
        variadic=variadic,
        settings=settings,
        annotations=annotations,
        module=fn.__module__,
        normal=tuple((n, a) for n in settings if (a := annotations.get(n, "")) in NORMALISED),
        **fields,
    )
    op.xp_name = op.xp_name or name
    registry.add(op)
    return op


class _Required:
    def __repr__(self) -> str:
        return "<required>"


REQUIRED: Any = _Required()


@overload
def elementwise(fn: Callable[..., Any], /) -> Op: ...


@overload
def elementwise(**fields: Any) -> Callable[[Callable[..., Any]], Op]: ...


def elementwise(fn: Callable[..., Any] | None = None, /, **fields: Any) -> Any:
    """Register an elementwise op: one output element from one element of each input.

    Args:
        c: for a leaf, how it is spelt in C with ``{0} {1}`` for the arguments and ``{f}`` for the
            float suffix of libm names; a dict by kind (``"f"``, ``"i"``, ``"b"``) if they differ.
            A function ``(args, kind) -> str`` where a constant argument has a cheaper spelling.
            A call whose non-default settings the text does not name unfolds instead.
            A composite has none: its kernel is its own function run on ``Expr``.
        promotion: ``"keep"`` (result has the promoted dtype), ``"float"`` (integers become the
            default float), ``"bool"`` (a comparison), ``"same"`` (as keep, but operands of
            different dtypes are an error, as for PyTorch's matrix products).
        accepts: the kinds it takes, among ``b`` bool, ``i`` integer, ``f`` float.
        each: whether every operand must be of an accepted kind, not only their common dtype.
        domain: ``(low, high)`` from which test inputs are drawn, or one such pair per array.
        inplace: whether PyTorch has a ``name_`` method.
        operator: the dunder method, e.g. ``"__add__"``.
        xp_name: the array API's name where it is not the op's.
        aliases, home, method, torch, samples, tolerance, differentiable: see ``op``.
    """
    if fn is None:
        return lambda f: elementwise(f, **fields)
    return _record(fn, elementwise=True, **fields)


@overload
def op(fn: Callable[..., Any], /) -> Op: ...


@overload
def op(**fields: Any) -> Callable[[Callable[..., Any]], Op]: ...


def op(fn: Callable[..., Any] | None = None, /, **fields: Any) -> Any:
    """Register any other op.

    Args:
        result: ``result(*specs, **settings) -> Spec | tuple`` for a leaf that changes shape or
            dtype; without it the op's function is run on ``Spec``.
        promotion: as for ``elementwise``; ``None`` leaves dtypes alone.
        view: whether the result shares memory with the first array (where the layout allows).
        half: ``"f32"`` computes float16/bfloat16 in float32; ``"native"`` moves them as they are;
            ``"product"`` hands them to ``xp.matmul`` and its relatives as they are where these sum
            in float32 and round once (CUDA), and is ``"f32"`` elsewhere; ``"kernel"`` is the same
            for other functions that a kernel written by hand does there.
        outputs: names of several outputs; the public function then returns a named tuple.
        order: the public positional order where PyTorch mixes arrays and settings.
        samples: a list of ``Sample`` or a function that returns one (see ``gpugrad.samples``).
        home: the sub-namespace of the public name (``"linalg"``, ``"nn.functional"``).
        method: whether it is also a method of Tensor.
        torch: dotted name of PyTorch's counterpart below ``torch.`` when it differs; ``""``: none.
        differentiable: False for ops whose result carries no gradient.
    """
    if fn is None:
        return lambda f: op(f, **fields)
    return _record(fn, **fields)


@overload
def function(fn: Callable[..., Any], /) -> Function: ...


@overload
def function(**fields: Any) -> Callable[[Callable[..., Any]], Function]: ...


def function(fn: Callable[..., Any] | None = None, /, **fields: Any) -> Any:
    """Register a plain function of tensors as public: the composites that need no rule."""
    if fn is None:
        return lambda f: function(f, **fields)
    if not fn.__doc__:
        raise RegistrationError(f"{fn.__name__}: a public function needs a docstring")
    name = fields.pop("name", None) or fn.__name__.rstrip("_")
    record = Function(name=name, fn=fn, doc=fn.__doc__, module=fn.__module__, **fields)
    registry.add(record)
    return record
