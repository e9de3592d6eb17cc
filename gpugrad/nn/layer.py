"""What layers share: settings as fields, a ``forward`` that hands them to a function, a repr."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from typing import Any, ClassVar, dataclass_transform

from gpugrad.errors import ArgumentError
from gpugrad.modes import no_grad
from gpugrad.nn import functional
from gpugrad.nn.module import Module
from gpugrad.nn.parameter import Parameter
from gpugrad.ops.creation import empty

#: PyTorch's older spellings: arguments of constructors that are not settings of the layer.
LEGACY = ("size_average", "reduce", "min_value", "max_value")


@dataclass_transform()
class Layer(Module):
    """A layer that is one function of ``nn.functional``.

    A subclass with ``function`` or ``shows`` declares the constructor's arguments as annotated
    fields; ``__init__`` follows from them.  A field annotated with Tensor becomes a buffer.
    ``forward`` calls the function with its inputs, and the fields by name.  Any other subclass is
    an ordinary class.

    Class arguments:
        function: its name in ``nn.functional``.
        shows: what ``repr`` tells, see ``shown``.
        by_mode: whether the function takes ``training``, too.
        kw_only: whether the constructor takes its arguments by keyword only.
    """

    _function: ClassVar[str] = ""
    _shows: ClassVar[str] = ""
    _fields: ClassVar[dict[str, inspect.Parameter]] = {}
    _passed: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, function: str = "", shows: str | None = None,
                          by_mode: bool = False, kw_only: bool = False) -> None:  # fmt: skip
        super().__init_subclass__()
        cls._function = function or cls._function
        cls._shows = cls._shows if shows is None else shows
        declares = bool(function) or shows is not None
        own = _own_fields(cls, kw_only) if declares else {}
        cls._fields = {**cls._fields, **own}
        passed = (*(n for n in cls._fields if n not in LEGACY), *(("training",) * by_mode))
        cls._passed = passed if own or by_mode else cls._passed
        if declares and "__init__" not in cls.__dict__ and (own or not cls._fields):
            cls.__init__ = _constructor(cls)  # type: ignore[method-assign]

    def _complete(self) -> None:
        """Check and complete the fields; the constructor's last step."""

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The function of the inputs with the layer's settings."""
        settings = {n: getattr(self, n) for n in self._passed}
        return getattr(functional, self._function)(*inputs, **named, **settings)

    def extra_repr(self) -> str:
        """The settings that PyTorch shows."""
        return shown(self, self._shows)


def _own_fields(cls: type[Layer], kw_only: bool) -> dict[str, inspect.Parameter]:
    """The fields that a class declares; their defaults move from the class to the constructor."""
    kind = inspect.Parameter.KEYWORD_ONLY if kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
    found = {}
    for name, annotation in inspect.get_annotations(cls).items():
        if annotation.startswith("ClassVar"):
            continue
        default = cls.__dict__.get(name, inspect.Parameter.empty)
        if name in cls.__dict__:
            delattr(cls, name)
        found[name] = inspect.Parameter(name, kind, default=default, annotation=annotation)
    return found


def _constructor(cls: type[Layer]) -> Any:
    fields = inspect.Signature(list(cls._fields.values()))
    plain = inspect.Signature([p.replace(annotation=p.empty) for p in cls._fields.values()])
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)

    def __init__(self: Layer, *args: Any, **kwargs: Any) -> None:
        Module.__init__(self)
        try:
            bound = fields.bind(*args, **kwargs)
        except TypeError as error:
            name = type(self).__name__
            raise ArgumentError(f"{name}: {error}; it is {name}{plain}") from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            if "Tensor" in fields.parameters[name].annotation:
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)
        self._complete()

    __init__.__signature__ = inspect.Signature([me, *fields.parameters.values()])  # type: ignore[attr-defined]
    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    return __init__


def shown(layer: Module, names: str) -> str:
    """Settings for ``repr``: ``name`` by value, ``name=`` with its name, ``name?`` if true."""
    parts = []
    for entry in names.split():
        name = entry.rstrip("=?")
        value = getattr(layer, name)
        if value or not entry.endswith("?"):
            parts.append(repr(value) if name == entry else f"{name}={value!r}")
    return ", ".join(parts)


def sizes(value: Any, n: int) -> tuple[Any, ...]:
    """One number per dimension; a single one stands for all."""
    return tuple(value) if isinstance(value, Iterable) else (value,) * n


def parameter(*shape: int, device: Any = None, dtype: Any = None) -> Parameter:
    """A parameter of undefined values."""
    return Parameter(empty(shape, device=device, dtype=dtype))


def fill_uniform(fan_in: int, *parameters: Parameter | None) -> None:
    """Fill with uniform numbers up to ``1 / sqrt(fan_in)`` in size."""
    bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
    with no_grad():
        for p in parameters:
            if p is not None:
                p.uniform_(-bound, bound)
