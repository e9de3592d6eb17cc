"""One step of the optimisers that look at a parameter as a whole: Muon and Adafactor.

Form and conventions are those of ``gpugrad.ops.update``; these are no elementwise ops.
"""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.errors import SettingError, ShapeError
from gpugrad.op import Array, op
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec


def _checked(name: str, param: Spec, **others: tuple[Spec, tuple[int, ...]]) -> None:
    """Say which of the other arrays has not the shape that belongs to the parameter's."""
    for other, (spec, wanted) in others.items():
        if spec.shape != wanted:
            raise ShapeError(
                f"{name}: {other} must have shape {wanted} for a param of shape {param.shape}, "
                f"got {spec.shape}"
            )


def _muon_result(param: Spec, grad: Spec, momentum_buffer: Spec, **settings: Any) -> Any:
    if param.ndim != 2:
        raise ShapeError(f"muon_step: param must be a matrix, got shape {param.shape}")
    _checked("muon_step", param, grad=(grad, param.shape),
             momentum_buffer=(momentum_buffer, param.shape))  # fmt: skip
    return param, momentum_buffer


def _vector_result(param: Spec, grad: Spec, variance: Spec, **settings: Any) -> Any:
    _checked("adafactor_vector_step", param, grad=(grad, param.shape),
             variance=(variance, param.shape))  # fmt: skip
    return param, variance


def _matrix_result(param: Spec, grad: Spec, row_var: Spec, col_var: Spec, **settings: Any) -> Any:
    if param.ndim < 2:
        raise ShapeError(
            f"adafactor_matrix_step: param must have two dims or more, got shape {param.shape}"
        )
    _checked("adafactor_matrix_step", param, grad=(grad, param.shape),
             row_var=(row_var, (*param.shape[:-1], 1)),
             col_var=(col_var, (*param.shape[:-2], 1, param.shape[-1])))  # fmt: skip
    return param, row_var, col_var


@op(
    home="optim", method=False, accepts="f", differentiable=False, torch="", result=_muon_result,
    outputs=("param", "momentum_buffer"), tolerance=1e3,
    samples=[
        Sample(A((3, 4)), A((3, 4)), A((3, 4)), lr=0.1),
        Sample(A((5, 2)), A((5, 2)), A((5, 2)), lr=0.1, scale=0.5, momentum=0.5, weight_decay=0.1,
               nesterov=False, ns_steps=2),
    ],
)  # fmt: skip
def muon_step(
    xp, param: Array, grad: Array, momentum_buffer: Array, *, lr: float, scale: float = 1.0,
    momentum: float = 0.95, weight_decay: float = 0.0, nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315), ns_steps: int = 5,
    eps: float = 1e-7,
) -> tuple[Array, Array]:  # fmt: skip
    """Muon (Jordan, 2024): the momentum, with its singular values made one, is the direction.

    ``scale`` adjusts the step, not the decay, to the matrix' shape.
    """
    buffer = momentum_buffer + (1 - momentum) * (grad - momentum_buffer)
    d = grad + momentum * (buffer - grad) if nesterov else buffer
    d = _orthogonal(xp, d, ns_coefficients, ns_steps, eps)
    return param * (1 - lr * weight_decay) - (lr * scale) * xp.astype(d, param.dtype), buffer


def _orthogonal(
    xp: Any, matrix: Array, coefficients: tuple[float, ...], steps: int, eps: float
) -> Array:
    """Bring the singular values near one by the odd quintic ``a s + b s^3 + c s^5``, repeatedly.

    As in PyTorch every intermediate is rounded to bfloat16; the products add up in float32.
    """
    if len(coefficients) != 3 or steps >= 100:
        raise SettingError(
            f"muon_step: needs three ns_coefficients and ns_steps below 100, got {coefficients} "
            f"and {steps}"
        )
    a, b, c = coefficients

    def rounded(x: Array) -> Array:
        return xp.astype(xp.astype(x, dtypes.bfloat16), dtypes.float32)

    tall = matrix.shape[0] > matrix.shape[1]
    x = rounded(xp.permute_dims(matrix, (1, 0)) if tall else matrix)
    x = rounded(x / xp.maximum(rounded(xp.sqrt(xp.sum(x * x))), eps))
    for _ in range(steps):
        gram = rounded(x @ xp.permute_dims(x, (1, 0)))
        x = rounded(a * x + rounded(b * gram + c * (gram @ gram)) @ x)
    return xp.permute_dims(x, (1, 0)) if tall else x


@op(
    home="optim", method=False, accepts="f", differentiable=False, torch="", result=_vector_result,
    outputs=("param", "variance"),
    samples=[
        Sample(A((5,)), A((5,)), A((5,), 0.1, 2.0), lr=0.1, rate=0.1, share=0.3, eps1=1e-7),
        Sample(A(()), A(()), A((), 0.1, 2.0), lr=0.1, rate=0.1, share=0.3, eps1=1e-7, eps2=0.1,
               d=2.0, weight_decay=0.1, maximize=True),
    ],
)  # fmt: skip
def adafactor_vector_step(
    xp, param: Array, grad: Array, variance: Array, *, lr: float, rate: float, share: float,
    eps1: float, eps2: float = 1e-3, d: float = 1.0, weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """Adafactor (Shazeer and Stern, 2018) for a vector, whose second moment is kept whole.

    ``rate`` is the relative step size of the moment and ``share`` the weight of the new squares.
    """
    grad = -grad if maximize else grad
    v = variance + share * (grad * grad - variance)
    return _clipped(xp, param, grad, v, lr, rate, eps1, eps2, d, weight_decay), v


@op(
    home="optim", method=False, accepts="f", differentiable=False, torch="", result=_matrix_result,
    outputs=("param", "row_var", "col_var"),
    samples=[
        Sample(A((3, 4)), A((3, 4)), A((3, 1), 0.1, 2.0), A((1, 4), 0.1, 2.0), lr=0.1, rate=0.1,
               share=0.3, eps1=1e-7),
        Sample(A((2, 3, 4)), A((2, 3, 4)), A((2, 3, 1), 0.1, 2.0), A((2, 1, 4), 0.1, 2.0), lr=0.1,
               rate=0.1, share=0.3, eps1=1e-7, eps2=0.1, d=2.0, weight_decay=0.1, maximize=True),
    ],
)  # fmt: skip
def adafactor_matrix_step(
    xp, param: Array, grad: Array, row_var: Array, col_var: Array, *, lr: float, rate: float,
    share: float, eps1: float, eps2: float = 1e-3, d: float = 1.0, weight_decay: float = 0.0,
    maximize: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Adafactor (Shazeer and Stern, 2018): only means per row and column of the squares are kept.

    ``row_var`` has the parameter's shape with a last dim of 1, ``col_var`` with a last but one.
    """
    grad = -grad if maximize else grad
    square = grad * grad
    row = row_var + share * (xp.mean(square, axis=-1, keepdims=True) - row_var)
    col = col_var + share * (xp.mean(square, axis=-2, keepdims=True) - col_var)
    v = row * col / xp.maximum(xp.mean(row, axis=-2, keepdims=True), eps1)
    return _clipped(xp, param, grad, v, lr, rate, eps1, eps2, d, weight_decay), row, col


def _clipped(
    xp: Any, param: Array, grad: Array, variance: Array, lr: float, rate: float, eps1: float,
    eps2: float, d: float, weight_decay: float,
) -> Array:  # fmt: skip
    """Move by the scaled gradient, at most ``d`` in root mean square, relative to the parameter."""
    size = rate * xp.maximum(xp.sqrt(xp.mean(param * param)), eps2)
    move = grad / xp.sqrt(xp.maximum(variance, eps1 * eps1))
    move = move * (size / xp.maximum(xp.sqrt(xp.mean(move * move)) / d, 1.0))
    return param * (1 - lr * weight_decay) - move
