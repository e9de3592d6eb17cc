"""Python operators for the symbolic namespaces, spelt once.

``Spec`` and ``Expr`` both meet ``x + y`` inside an op's function; each operator is the xp function
of that meaning.  Tensors get theirs from the records' ``operator`` field instead, because theirs
are public.
"""

from __future__ import annotations

from typing import Any


class Operators:
    """Mixin: operators become ``cls._apply(xp_name, *args)``."""

    __slots__ = ()

    @classmethod
    def _apply(cls, name: str, *args: Any) -> Any:
        raise NotImplementedError

    def __add__(self, o: Any) -> Any:
        return self._apply("add", self, o)

    def __radd__(self, o: Any) -> Any:
        return self._apply("add", o, self)

    def __sub__(self, o: Any) -> Any:
        return self._apply("subtract", self, o)

    def __rsub__(self, o: Any) -> Any:
        return self._apply("subtract", o, self)

    def __mul__(self, o: Any) -> Any:
        return self._apply("multiply", self, o)

    def __rmul__(self, o: Any) -> Any:
        return self._apply("multiply", o, self)

    def __truediv__(self, o: Any) -> Any:
        return self._apply("divide", self, o)

    def __rtruediv__(self, o: Any) -> Any:
        return self._apply("divide", o, self)

    def __floordiv__(self, o: Any) -> Any:
        return self._apply("floor_divide", self, o)

    def __mod__(self, o: Any) -> Any:
        return self._apply("remainder", self, o)

    def __pow__(self, o: Any) -> Any:
        return self._apply("pow", self, o)

    def __rpow__(self, o: Any) -> Any:
        return self._apply("pow", o, self)

    def __matmul__(self, o: Any) -> Any:
        return self._apply("matmul", self, o)

    def __neg__(self) -> Any:
        return self._apply("negative", self)

    def __abs__(self) -> Any:
        return self._apply("abs", self)

    def __invert__(self) -> Any:
        return self._apply("bitwise_invert", self)

    def __and__(self, o: Any) -> Any:
        return self._apply("bitwise_and", self, o)

    def __or__(self, o: Any) -> Any:
        return self._apply("bitwise_or", self, o)

    def __xor__(self, o: Any) -> Any:
        return self._apply("bitwise_xor", self, o)

    def __lt__(self, o: Any) -> Any:
        return self._apply("less", self, o)

    def __le__(self, o: Any) -> Any:
        return self._apply("less_equal", self, o)

    def __gt__(self, o: Any) -> Any:
        return self._apply("greater", self, o)

    def __ge__(self, o: Any) -> Any:
        return self._apply("greater_equal", self, o)
