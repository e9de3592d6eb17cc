"""Which records autocast runs in the lower precision, and which in float32: PyTorch's choice.

It follows from the file a record lives in (products and convolutions gain from the lower one,
losses and factorizations need the higher) and, where PyTorch departs from that, from its name.
"""

from __future__ import annotations

from gpugrad.op import Function, Op

#: Files of products: run in the lower precision.
_LOW_FILES = {
    "attention", "chains", "contraction", "convolution", "convolution_transposed", "matmul",
    "matmul_added", "recurrent",
}  # fmt: skip
#: Files whose results need float32.
_HIGH_FILES = {"factorizations", "least_squares", "linalg"}
_LOW = {"nn.functional.prelu", "prelu"}
_HIGH = {"cdist", "nn.functional.grid_sample", "prod", "quantile", "trace"}
#: Products of few operations each: as they are, also in their parts.
_PLAIN = {"dot", "kron", "nn.functional.bilinear", "outer", "vdot"}
#: What follows the operands, on the CPU alone.
_PLAIN_CPU = {"_ops.gru_layer", "addmv", "addr", "mv"}
#: Made of products of their own, which are cast one by one.
_PARTS = {"linalg.matrix_power", "matrix_power"}
#: What a GPU also does in float32.
_HIGH_GPU = {
    "acos", "asin", "cosh", "cosine_similarity", "cumprod", "cumsum", "dist", "erfinv", "exp",
    "expm1", "linalg.matrix_norm", "linalg.norm", "linalg.vector_norm", "log", "log10", "log1p",
    "log2", "log_softmax", "logsumexp", "nn.functional.group_norm", "nn.functional.layer_norm",
    "nn.functional.log_softmax", "nn.functional.normalize", "nn.functional.softmax",
    "nn.functional.softmin", "nn.functional.softplus", "norm", "pow", "reciprocal", "renorm",
    "rsqrt", "sinh", "softmax", "sum", "tan",
}  # fmt: skip


def policy(record: Op | Function, device_type: str) -> str:
    """``"low"``, ``"high"``, ``"plain"`` (as it is, its parts too) or ``""`` (not looked at)."""
    package, _, file = record.module.rpartition(".")
    if package != "gpugrad.ops":
        return ""  # a user's own op says what it wants with custom_fwd
    name = f"{record.home}.{record.name}" if record.home else record.name
    gpu = device_type != "cpu"
    if name in _PARTS:
        return ""
    if name in _PLAIN or (not gpu and name in _PLAIN_CPU):
        return "plain"
    if name in _LOW or file in _LOW_FILES:
        return "low"
    high = name in _HIGH or file in _HIGH_FILES or file.partition("_")[0] == "loss"
    return "high" if high or (gpu and name in _HIGH_GPU) else ""
