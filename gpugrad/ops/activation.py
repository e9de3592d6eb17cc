"""Smooth activations: sigmoid and what is made of it, exponential units, softplus."""

from __future__ import annotations

import math
from typing import Any

from gpugrad.errors import DTypeError, ShapeError
from gpugrad.op import Array, elementwise, function
from gpugrad.samples import A, Sample
from gpugrad.signature import check_choice, wrap_dim

# Klambauer et al., "Self-normalizing neural networks", 2017: mean 0 and variance 1 stay.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def check_floating(name: str, input: Any) -> None:
    """Refuse integers and bools.

    Raises:
        DTypeError: if the input's dtype is not floating.
    """
    if not input.dtype.is_floating_point:
        raise DTypeError(f"{name}: takes floating dtypes, got {input.dtype.name}")


@elementwise(promotion="float", inplace=True,
             aliases=("special.expit", "nn.functional.sigmoid"))  # fmt: skip
def sigmoid(xp, input: Array) -> Array:
    """Logistic function; where ``exp(-input)`` overflows, 0 is what should come out."""
    return 1 / (1 + xp.exp(-input))


@sigmoid.vjp
def _(xp, g, out):
    return g * ((1 - out) * out)


@elementwise(accepts="f", home="nn.functional", method=False)
def logsigmoid(xp, input: Array) -> Array:
    """``log(sigmoid(input))`` without overflow."""
    return xp.minimum(input, 0) - xp.log1p(xp.exp(-xp.abs(input)))


@logsigmoid.vjp
def _(xp, g, input):
    return g * xp.sigmoid(-input)


@elementwise(accepts="f", home="nn.functional", method=False,
             order=("input", "beta", "threshold"), samples=[
    Sample(A((3, 4), -30.0, 30.0)), Sample(A(())), Sample(A((0, 2))), Sample(A((5,)), 2.0),
    Sample(A((5,), -9.0, 9.0), beta=0.5, threshold=3.0),
])  # fmt: skip
def softplus(xp, input: Array, *, beta: float = 1, threshold: float = 20) -> Array:
    """``log(1 + exp(beta * input)) / beta``; the input where ``beta * input > threshold``."""
    x = input * beta
    return xp.where(x > threshold, input, xp.log1p(xp.exp(x)) / beta)


@softplus.vjp
def _(xp, g, input, beta, threshold):
    x = input * beta
    return xp.where(x > threshold, g, g * xp.sigmoid(x))


@elementwise(accepts="f", home="nn.functional", method=False, inplace=True)
def silu(xp, input: Array) -> Array:
    """``input * sigmoid(input)``."""
    return input / (1 + xp.exp(-input))


@silu.vjp
def _(xp, g, input):
    s = xp.sigmoid(input)
    return g * (s * (1 + input * (1 - s)))


@elementwise(accepts="f", home="nn.functional", method=False, inplace=True)
def mish(xp, input: Array) -> Array:
    """``input * tanh(softplus(input))``."""
    return input * xp.tanh(xp.softplus(input))


@mish.vjp
def _(xp, g, input):
    t = xp.tanh(xp.softplus(input))
    return g * (t + input * xp.sigmoid(input) * (1 - t * t))


@elementwise(accepts="f", home="nn.functional", method=False, tolerance=2.0, samples=[
    Sample(A((3, 4))), Sample(A(())), Sample(A((0, 2))), Sample(A((5,)), approximate="tanh"),
])  # fmt: skip
def gelu(xp, input: Array, *, approximate: str = "none") -> Array:
    """``input`` times the normal distribution function of it, or of its ``"tanh"`` approximation.

    Raises:
        SettingError: for another ``approximate``.
    """
    check_choice("gelu", "approximate", approximate, ("none", "tanh"))
    if approximate == "none":
        return input * (0.5 * (1 + xp.erf(input * math.sqrt(0.5))))
    return 0.5 * input * (1 + xp.tanh(_gelu_inner(input)))


def _gelu_inner(x: Any) -> Any:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))


@gelu.vjp
def _(xp, g, input, approximate):
    if approximate == "none":
        density = math.sqrt(0.5 / math.pi) * xp.exp(-0.5 * (input * input))
        return g * (0.5 * (1 + xp.erf(input * math.sqrt(0.5))) + input * density)
    t = xp.tanh(_gelu_inner(input))
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * (input * input))
    return g * (0.5 * (1 + t) + 0.5 * input * ((1 - t * t) * slope))


@elementwise(accepts="f", home="nn.functional", method=False, inplace=True,
             order=("input", "alpha"), samples=[
                 Sample(A((3, 4))), Sample(A(())), Sample(A((0, 2))), Sample(A((5,)), 0.3),
             ])  # fmt: skip
def elu(xp, input: Array, *, alpha: float = 1.0) -> Array:
    """``input`` above 0, ``alpha * (exp(input) - 1)`` below."""
    return xp.where(input > 0, input, alpha * xp.expm1(input))


@elu.vjp
def _(xp, g, input, alpha):
    return xp.where(input > 0, g, g * (alpha * xp.exp(xp.minimum(input, 0))))


@elementwise(accepts="f", method=False, inplace=True, aliases=("nn.functional.selu",))
def selu(xp, input: Array) -> Array:
    """``elu`` scaled so that activations keep mean 0 and variance 1."""
    below = (_SELU_SCALE * _SELU_ALPHA) * xp.expm1(input)
    return xp.where(input > 0, _SELU_SCALE * input, below)


@selu.vjp
def _(xp, g, input):
    slope = _SELU_SCALE * _SELU_ALPHA * xp.exp(xp.minimum(input, 0))
    return xp.where(input > 0, _SELU_SCALE * g, g * slope)


@elementwise(accepts="f", method=False, inplace=True, aliases=("nn.functional.celu",),
             order=("input", "alpha"), samples=[
                 Sample(A((3, 4))), Sample(A(())), Sample(A((0, 2))), Sample(A((5,)), 0.3),
             ])  # fmt: skip
def celu(xp, input: Array, *, alpha: float = 1.0) -> Array:
    """``input`` above 0, ``alpha * (exp(input / alpha) - 1)`` below: smooth for every alpha."""
    return xp.where(input > 0, input, alpha * xp.expm1(input / alpha))


@celu.vjp
def _(xp, g, input, alpha):
    return xp.where(input > 0, g, g * xp.exp(xp.minimum(input / alpha, 0)))


@elementwise(promotion="float", accepts="if", home="nn.functional", method=False)
def softsign(xp, input: Array) -> Array:
    """``input / (1 + |input|)``."""
    return input / (1 + xp.abs(input))


@softsign.vjp
def _(xp, g, input):
    scale = 1 + xp.abs(input)
    return g / (scale * scale)


@elementwise(promotion="float", accepts="if", home="nn.functional", method=False)
def tanhshrink(xp, input: Array) -> Array:
    """``input - tanh(input)``."""
    return input - xp.tanh(input)


@tanhshrink.vjp
def _(xp, g, input):
    t = xp.tanh(input)
    return g * (t * t)


@function(home="nn.functional", method=False, samples=[
    Sample(A((3, 4))), Sample(A((4, 3)), 0), Sample(A((2, 6, 2)), dim=1),
])  # fmt: skip
def glu(input: Any, dim: int = -1) -> Any:
    """First half along ``dim`` times the sigmoid of the second half.

    Raises:
        ShapeError: if the size of ``dim`` is odd, or the input is 0-d.
    """
    check_floating("glu", input)
    d = wrap_dim("glu", dim, input.ndim)
    size = input.shape[d] if input.ndim else 1
    if size % 2:
        raise ShapeError(
            f"glu: dim {dim} of shape {tuple(input.shape)} has odd size {size}; it must be even"
        )
    return input.narrow(d, 0, size // 2) * input.narrow(d, size // 2, size // 2).sigmoid()
