"""Orthogonal weights: a matrix with orthonormal columns (or rows) from an unconstrained one.

A skew-symmetric ``A`` gives an orthogonal matrix by ``exp(A)`` or by Cayley's map
``(I - A/2)^-1 (I + A/2)``; the columns below the diagonal of a matrix give one as a product of
Householder reflections.  With ``use_trivialization`` it is multiplied by a fixed orthogonal matrix,
``base``, so that training starts at a simple point (Lezcano-Casado, 2019).
"""

from __future__ import annotations

from gpugrad import dtypes
from gpugrad import linalg as la
from gpugrad.errors import NotSupportedError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.nn.module import Module
from gpugrad.nn.utils.parametrize import register_parametrization
from gpugrad.tensor import Tensor

MAPS = ("matrix_exp", "cayley", "householder")


def _identity(like: Tensor, n: int, k: int) -> Tensor:
    return F.eye(n, k, dtype=like.dtype, device=like.device)  # type: ignore[no-any-return]


def _flipped(x: Tensor) -> Tensor:
    return x.transpose(-2, -1)


def _is_orthogonal(q: Tensor) -> bool:
    slack = 10 * q.shape[-1] * dtypes.finfo(q.dtype).eps
    distance = (_flipped(q) @ q - _identity(q, q.shape[-1], q.shape[-1])).abs()
    return float(distance.max().item()) < slack


def _orthonormalised(x: Tensor) -> Tensor:
    """Q of the QR decomposition whose R has a positive diagonal."""
    q, r = la.qr(x)
    signs = r.diagonal(dim1=-2, dim2=-1).sign()
    return q * signs.unsqueeze(-2)


def _reflections(x: Tensor) -> Tensor:
    """The first columns of ``H1 H2 ... Hk``, ``H = I - 2 v v^T / v^T v``, ``v`` from column i."""
    n, k = x.shape[-2:]
    eye = _identity(x, n, k)
    columns = x.tril(-1) + eye
    q = eye.expand(x.shape)
    for i in reversed(range(k)):
        v = columns[..., i : i + 1]
        q = q - v @ (_flipped(v) @ q) * (2 / (v * v).sum((-2, -1), keepdim=True))
    return q * x.diagonal(dim1=-2, dim2=-1).sign().detach().unsqueeze(-2)


class _Orthogonal(Module):
    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.shape[-2] < x.shape[-1]
        tall = _flipped(x) if wide else x
        q = _reflections(tall) if self.orthogonal_map == "householder" else self._rotation(tall)
        if "base" in self._buffers:
            q = self.base @ q
        return _flipped(q) if wide else q

    def _rotation(self, x: Tensor) -> Tensor:
        n, k = x.shape[-2:]
        lower = F.concat([x.tril(), x.new_zeros((*x.shape[:-1], n - k))], -1)
        skew = lower - _flipped(lower)
        if self.orthogonal_map == "matrix_exp":
            return F.matrix_exp(skew)[..., :k]  # type: ignore[no-any-return]
        eye = _identity(x, n, n)
        return la.solve(eye - skew / 2, eye + skew / 2)[..., :k]

    def right_inverse(self, value: Tensor) -> Tensor:
        """Minus the identity, with the value as base (made orthogonal if it is not)."""
        if "base" not in self._buffers:
            raise NotSupportedError(
                "orthogonal: a weight that is not trivialized cannot be assigned to; use "
                "use_trivialization=True"
            )
        if value.shape != self.shape:
            raise ShapeError(
                f"orthogonal: a weight of shape {tuple(self.shape)} cannot be set to one of "
                f"{tuple(value.shape)}"
            )
        with no_grad():
            tall = _flipped(value) if value.shape[-2] < value.shape[-1] else value
            n, k = tall.shape[-2:]
            if n == k and _is_orthogonal(tall):
                self.base = tall.clone()
            else:
                rest = tall.new_empty((*tall.shape[:-1], n - k)).normal_()
                self.base = _orthonormalised(F.concat([tall, rest], -1))
            return -_identity(value, *value.shape[-2:]).expand(value.shape).clone()


def orthogonal(module: Module, name: str = "weight", orthogonal_map: str | None = None, *,
               use_trivialization: bool = True) -> Module:  # fmt: skip
    """Keep a matrix (or a batch of them) orthogonal: orthonormal columns, or rows if it is wide.

    Args:
        module: whose weight it is.
        name: the weight.
        orthogonal_map: ``matrix_exp``, ``cayley`` or ``householder``; the first for square weights,
            the last for others, if left out.
        use_trivialization: start from the weight's own value, made orthogonal; otherwise from what
            the map makes of it, and ``householder`` is not supported.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise SettingError(f"orthogonal: {type(module).__name__} has no tensor {name!r}")
    if weight.ndim < 2:
        raise ShapeError(f"orthogonal: takes matrices, {name!r} has shape {tuple(weight.shape)}")
    square = weight.shape[-2] == weight.shape[-1]
    chosen = orthogonal_map or ("matrix_exp" if square else "householder")
    if chosen not in MAPS:
        raise SettingError(f"orthogonal: orthogonal_map is one of {MAPS}, got {chosen!r}")
    if chosen == "householder" and not use_trivialization:
        raise NotSupportedError(
            "orthogonal: householder without trivialization is not supported; use matrix_exp or "
            "cayley"
        )
    made = _Orthogonal(weight, chosen, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)
