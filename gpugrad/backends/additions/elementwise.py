"""Elementwise functions that the libraries lack, or define otherwise than PyTorch does."""

from __future__ import annotations

from typing import Any

from gpugrad.backends import special
from gpugrad.errors import DivisionError, SettingError

_SPECIAL = (
    "erf", "erfc", "erfcx", "erfinv", "ndtri", "lgamma", "digamma", "i0", "i0e", "i1", "i1e",
)  # fmt: skip
_POWERS = {2: lambda x: x * x, 3: lambda x: x * x * x, -2: lambda x: 1 / (x * x)}


def build(lib: Any) -> dict[str, Any]:
    """Functions over arrays and scalars of ``lib``; numbers take the dtype of the array beside."""
    return {
        **{name: _special(lib, getattr(special, name)) for name in _SPECIAL},
        **_divisions(lib), **_powers(lib), **_kinds(lib),
    }  # fmt: skip


def _special(lib: Any, fn: Any) -> Any:
    return lambda x: fn(lib, x)


def _divisions(lib: Any) -> dict[str, Any]:
    host = lib.__name__ == "numpy"

    def check(name: str, x: Any, y: Any) -> bool:
        """Whether this is integer division; on the host it must not be by zero."""
        if lib.result_type(x, y).kind not in "iu":
            return False
        if host and not lib.all(y):
            raise DivisionError(f"{name}: an integer divisor is 0; divisors must be non-zero")
        return True

    def exact(x: Any, y: Any) -> tuple[Any, Any]:
        """Floor of the quotient and remainder with the divisor's sign, as NumPy has them.

        CuPy's own are by ``floor(x / y)``, where the quotient may be rounded up to the next
        integer, and a finite number by an infinite one is NaN.
        """
        r = lib.fmod(x, y)
        turned = (r != 0) & ((r < 0) != (y < 0))
        q = lib.rint((x - r) / y - turned)  # all but an integer: rint takes the rounding away
        q = lib.where(q == 0, lib.copysign(q, x / y), q)
        return lib.where(y == 0, x / y, q), lib.where(turned, r + y, r)

    def floor_divide(x: Any, y: Any) -> Any:
        if check("floor_divide", x, y) or host:
            return lib.floor_divide(x, y)
        return exact(x, y)[0]

    def trunc_divide(x: Any, y: Any) -> Any:
        if not check("div", x, y):
            return lib.trunc(x / y)
        return (x - lib.fmod(x, y)) // y

    def remainder(x: Any, y: Any) -> Any:
        whole = check("remainder", x, y)
        r = lib.remainder(x, y) if whole or host else exact(x, y)[1]
        # A remainder of zero has the sign of the dividend; the libraries give the divisor's.
        return r if whole else lib.where(r == 0, lib.copysign(r, x), r)

    def fmod(x: Any, y: Any) -> Any:
        check("fmod", x, y)
        return lib.fmod(x, y)

    return {
        "floor_divide": floor_divide, "trunc_divide": trunc_divide, "remainder": remainder,
        "fmod": fmod,
    }  # fmt: skip


def _powers(lib: Any) -> dict[str, Any]:
    host = lib.__name__ == "numpy"
    simple = _POWERS | {
        1: lib.positive, 0.5: lib.sqrt, -0.5: lambda x: 1 / lib.sqrt(x), -1: lambda x: 1 / x,
    }  # fmt: skip

    def power(x: Any, y: Any) -> Any:
        number = not isinstance(y, lib.ndarray)
        if lib.result_type(x, y).kind in "iu":
            return integer_power(x, y, number)
        if number and (found := simple.get(float(y))) is not None and hasattr(x, "dtype"):
            return found(x)
        return lib.power(x, y)

    def integer_power(x: Any, y: Any, number: bool) -> Any:
        if number and y < 0:
            raise SettingError(
                f"pow: integers cannot be raised to the negative number {int(y)}; use a floating "
                "tensor, or an exponent that is 0 or more"
            )
        negative = y < 0
        if number or (host and not negative.any()):
            return lib.power(x, y)
        # 1 / x ** n truncated: only 1 and -1 survive.
        one = lib.where(lib.bitwise_and(y, 1) == 1, x, x * x)
        inverse = lib.where(lib.abs(x) == 1, one, 0)
        return lib.where(negative, inverse, lib.power(x, lib.where(negative, 0, y)))

    return {"pow": power}


def _kinds(lib: Any) -> dict[str, Any]:
    def sign(x: Any) -> Any:
        """0 for NaN, as PyTorch has it; a bool is its own sign."""
        if x.dtype.kind == "b":
            return x | x
        s = lib.sign(x)
        return s if x.dtype.kind in "iu" else lib.where(s == s, s, 0)

    def signbit(x: Any) -> Any:
        return lib.signbit(x) if x.dtype.kind not in "iub" else lib.zeros_like(x, bool) | (x < 0)

    def infinite(value: float) -> Any:
        return lambda x: lib.equal(x, value) if x.dtype.kind not in "iub" else (
            lib.zeros_like(x, bool))  # fmt: skip

    def zeta(x: Any, q: Any) -> Any:
        dtype = (x if hasattr(x, "dtype") else q).dtype
        return special.zeta(lib, lib.asarray(x, dtype), lib.asarray(q, dtype))

    return {
        "sign": sign, "signbit": signbit, "isposinf": infinite(float("inf")),
        "isneginf": infinite(float("-inf")), "zeta": zeta,
    }  # fmt: skip
