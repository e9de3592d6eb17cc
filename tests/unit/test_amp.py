"""Mixed precision: dtypes of results as PyTorch's, gradients of leaves, scaling of the loss."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad
from gpugrad import amp
from gpugrad.amp.policy import policy
from gpugrad.errors import ArgumentError, AutogradError, DTypeError, SettingError
from gpugrad.op import registry

# ---- which precision ----

#: Calls by their operands: m a matrix, v a vector, b matrices, x pictures, w filters, t classes.
CALLS: dict[str, Callable[..., Any]] = {
    "matmul": lambda L, m, v, **_: m @ m, "mm": lambda L, m, **_: L.mm(m, m),
    "mv": lambda L, m, v, **_: L.mv(m, v), "matvec": lambda L, m, v, **_: m @ v,
    "dot": lambda L, v, **_: L.dot(v, v), "outer": lambda L, v, **_: L.outer(v, v),
    "bmm": lambda L, b, **_: L.bmm(b, b), "addmm": lambda L, m, **_: L.addmm(m, m, m),
    "baddbmm": lambda L, b, **_: L.baddbmm(b, b, b),
    "addbmm": lambda L, m, b, **_: L.addbmm(m, b, b),
    "addmv": lambda L, m, v, **_: L.addmv(v, m, v), "addr": lambda L, m, v, **_: L.addr(m, v, v),
    "linear": lambda L, m, v, **_: L.nn.functional.linear(m, m, v),
    "einsum": lambda L, m, **_: L.einsum("ij,jk->ik", m, m),
    "tensordot": lambda L, m, **_: L.tensordot(m, m, 1),
    "inner": lambda L, m, **_: L.inner(m, m), "kron": lambda L, m, **_: L.kron(m, m),
    "multi_dot": lambda L, m, **_: L.linalg.multi_dot([m, m, m]),
    "matrix_power": lambda L, m, **_: L.linalg.matrix_power(m, 2),
    "bilinear": lambda L, m, b, **_: L.nn.functional.bilinear(m, m, b),
    "conv2d": lambda L, x, w, **_: L.nn.functional.conv2d(x, w),
    "conv_transpose2d": lambda L, x, w, **_: L.nn.functional.conv_transpose2d(x, w.transpose(0, 1)),
    "attention": lambda L, b, **_: L.nn.functional.scaled_dot_product_attention(b, b, b),
    "cdist": lambda L, m, **_: L.cdist(m, m), "prod": lambda L, m, **_: m.prod(),
    "trace": lambda L, m, **_: L.trace(m), "sum": lambda L, m, **_: m.sum(),
    "softmax": lambda L, m, **_: L.softmax(m, 0), "exp": lambda L, m, **_: m.exp(),
    "norm": lambda L, m, **_: m.norm(), "relu": lambda L, m, **_: m.relu(),
    "layer_norm": lambda L, m, **_: L.nn.functional.layer_norm(m, (3,)),
    "gelu": lambda L, m, **_: L.nn.functional.gelu(m), "add": lambda L, m, **_: m + 1,
    "mse_loss": lambda L, m, **_: L.nn.functional.mse_loss(m, m * 2),
    "l1_loss": lambda L, m, **_: L.nn.functional.l1_loss(m, m * 2),
    "smooth_l1_loss": lambda L, m, **_: L.nn.functional.smooth_l1_loss(m, m * 2),
    "huber_loss": lambda L, m, **_: L.nn.functional.huber_loss(m, m * 2),
    "cross_entropy": lambda L, m, t, **_: L.nn.functional.cross_entropy(m, t),
    "nll_loss": lambda L, m, t, **_: L.nn.functional.nll_loss(m, t),
    "binary_cross_entropy_with_logits":
        lambda L, m, **_: L.nn.functional.binary_cross_entropy_with_logits(m, m.sigmoid()),
    "hinge_embedding_loss": lambda L, m, **_: L.nn.functional.hinge_embedding_loss(m, m.sign()),
    "soft_margin_loss": lambda L, m, **_: L.nn.functional.soft_margin_loss(m, m),
    "triplet": lambda L, m, **_: L.nn.functional.triplet_margin_loss(m, m, m),
    "prelu": lambda L, m, v, **_: L.nn.functional.prelu(m, v[:1]),
    "interpolate": lambda L, x, **_: L.nn.functional.interpolate(x, scale_factor=2),
}  # fmt: skip


def operands(library: Any, dtype: str) -> dict[str, Any]:
    """The same in either library."""
    shapes = {"m": (3, 3), "v": (3,), "b": (3, 3, 3), "x": (1, 2, 5, 5), "w": (3, 2, 3, 3)}
    rng = np.random.default_rng(0)
    made = {k: library.from_numpy(rng.uniform(0.1, 1, s).astype("float32")).to(
        getattr(library, dtype)) for k, s in shapes.items()}  # fmt: skip
    return {**made, "t": library.tensor([0, 1, 2])}


@pytest.mark.torch
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_results_have_pytorchs_dtype(name: str, dtype: str) -> None:
    """On the CPU, from either precision; double precision is never touched."""
    import torch

    found = []
    for library in (gpugrad, torch):
        given = operands(library, dtype)
        with library.autocast("cpu", dtype=library.bfloat16):
            result = CALLS[name](library, **given)
        found.append((str(result.dtype).partition(".")[2], tuple(result.shape)))
    assert found[0] == found[1]


def test_names_of_the_policy_are_records() -> None:
    """A renamed op must not fall out of it silently."""
    from gpugrad.amp import policy as module

    names = set().union(
        *(getattr(module, n) for n in ("_LOW", "_HIGH", "_PLAIN", "_PLAIN_CPU", "_PARTS",
                                       "_HIGH_GPU"))
    )  # fmt: skip
    known = {*registry.ops, *registry.functions}
    assert names - known <= {"prelu", "nn.functional.prelu", "_ops.gru_layer"}
    assert {"prelu", "nn.functional.prelu"} & known
    files = {r.module.rpartition(".")[2] for r in registry}
    assert (module._LOW_FILES | module._HIGH_FILES) - {"attention", "recurrent"} <= files


def test_a_gpu_takes_more_in_float32() -> None:
    """Where PyTorch's list for CUDA is longer than that for the CPU."""
    for name, cpu, gpu in (
        ("exp", "", "high"), ("softmax", "", "high"), ("mv", "plain", "low"), ("relu", "", ""),
        ("mm", "low", "low"), ("nn.functional.mse_loss", "high", "high"),
    ):  # fmt: skip
        record = registry.find(name)
        assert (policy(record, "cpu"), policy(record, "cuda")) == (cpu, gpu)


# ---- the mode ----


def product() -> str:
    m = gpugrad.ones(2, 2)
    return str((m @ m).dtype).partition(".")[2]


def test_it_nests_and_ends() -> None:
    """Off within on, another dtype within, and as before afterwards, also after an error."""
    with amp.autocast("cpu"):
        assert product() == "bfloat16"
        with amp.autocast("cpu", enabled=False):
            assert product() == "float32"
        with amp.autocast("cpu", dtype=gpugrad.float16):
            assert product() == "float16"
            with amp.autocast("cpu"):
                assert product() == "float16"
        with amp.autocast("cuda"):
            assert product() == "bfloat16"
            assert gpugrad.is_autocast_enabled("cuda")
        assert not gpugrad.is_autocast_enabled()
        with pytest.raises(ZeroDivisionError), amp.autocast("cpu", dtype=gpugrad.float16):
            _ = 1 / 0
        assert product() == "bfloat16"
        assert gpugrad.get_autocast_dtype("cpu") is gpugrad.bfloat16
    assert product() == "float32"


def test_it_decorates_and_is_a_threads_own() -> None:
    """A function runs under it; another thread does not."""
    assert amp.autocast("cpu")(product)() == "bfloat16"
    seen: list[str] = []
    with amp.autocast("cpu"):
        thread = threading.Thread(target=lambda: seen.append(product()))
        thread.start()
        thread.join()
    assert seen == ["float32"]


def test_float32_switches_it_off_with_a_warning() -> None:
    """As in PyTorch."""
    with pytest.warns(UserWarning, match="stays off"):
        mode = amp.autocast("cpu", dtype=gpugrad.float32)
    with mode:
        assert product() == "float32"


@pytest.mark.torch
@pytest.mark.parametrize("cached", [True, False])
def test_gradients_are_pytorchs_in_the_leafs_dtype(cached: bool) -> None:
    """Of a two-layer network with a weight that is used twice."""
    import torch

    rng = np.random.default_rng(0)
    values = [rng.normal(size=s).astype("float32") for s in ((8, 4), (4, 4), (4,))]
    found = []
    for library in (gpugrad, torch):
        x, w, b = (library.from_numpy(v.copy()).requires_grad_() for v in values)
        with library.autocast("cpu", cache_enabled=cached):
            linear = library.nn.functional.linear
            y = linear(linear(x, w, b).relu(), w)
            loss = library.nn.functional.cross_entropy(y, library.arange(8) % 4)
        assert str(loss.dtype).endswith("float32")
        loss.backward()
        assert all(t.grad.dtype is library.float32 for t in (x, w, b))
        found.append([t.grad.numpy() for t in (x, w, b)])
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-2, atol=2e-3)


def test_a_cast_parameter_is_used_again_until_it_changes() -> None:
    """Also by two losses with a backward each; a write is seen; recording without is kept apart."""
    w = gpugrad.ones(2, 2, requires_grad=True)
    with amp.autocast("cpu"):
        (w @ w).sum().backward()
        (w @ w).sum().backward()
        np.testing.assert_array_equal(w.grad.numpy(), np.full((2, 2), 8.0))
        with gpugrad.no_grad():
            w.mul_(2)
            assert (w @ w).float().sum().item() == 32.0
        assert (w @ w).requires_grad


def test_second_derivatives_pass_through() -> None:
    """Casts are ops like any other."""
    x = gpugrad.tensor([[0.5]], requires_grad=True)
    with amp.autocast("cpu"):
        y = (x @ x @ x).sum()
    (g,) = gpugrad.autograd.grad(y, x, create_graph=True)
    (h,) = gpugrad.autograd.grad(g.sum(), x)
    assert (g.item(), h.item()) == (0.75, 3.0)


def test_a_checkpoint_is_replayed_under_it() -> None:
    """Backward comes after autocast has ended; the replay computes as the forward did."""
    found = []
    for run in (gpugrad.utils.checkpoint.checkpoint, lambda f, *a: f(*a)):
        x = gpugrad.tensor([[0.3, 0.7], [1.1, 0.2]], requires_grad=True)
        with amp.autocast("cpu"):
            y = run(lambda x: (x @ x).exp() @ x, x)
        y.float().sum().backward()
        found.append(x.grad.numpy())
    np.testing.assert_array_equal(*found)


def test_custom_functions_say_what_they_want() -> None:
    """Inputs cast and autocast off inside; the backward runs as the forward did."""
    seen: list[Any] = []

    class Square(gpugrad.autograd.Function):
        @staticmethod
        @amp.custom_fwd(device_type="cpu", cast_inputs=gpugrad.float32)
        def forward(ctx: Any, x: Any) -> Any:
            seen.extend([str(x.dtype), gpugrad.is_autocast_enabled("cpu")])
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @amp.custom_bwd(device_type="cpu")
        def backward(ctx: Any, g: Any) -> Any:
            seen.append(gpugrad.is_autocast_enabled("cpu"))
            (x,) = ctx.saved_tensors
            return 2 * x * g

    x = gpugrad.ones(2, 2, requires_grad=True)
    with amp.autocast("cpu"):
        y = Square.apply(x @ x)
        assert y.dtype is gpugrad.float32
        y.sum().backward()
    assert seen == ["gpugrad.float32", False, False]
    assert x.grad.dtype is gpugrad.float32


def test_the_older_names_are_there() -> None:
    """``gpugrad.cuda.amp``."""
    from gpugrad.cuda.amp import GradScaler, autocast

    with autocast():
        assert gpugrad.is_autocast_enabled("cuda")
    assert gpugrad.cuda.amp.GradScaler is GradScaler
    with pytest.raises(SettingError, match="device_type"):
        amp.autocast("tpu")


# ---- scaling ----


def scaled_walk(library: Any) -> list[tuple[float, float]]:
    """Scale and parameter over steps of which some overflow."""
    x = library.tensor([1.0, 2.0], requires_grad=True)
    optimizer = library.optim.SGD([x], lr=0.1, momentum=0.5)
    scaler = library.amp.GradScaler(
        "cpu", init_scale=2.0**10, growth_factor=4.0, backoff_factor=0.25, growth_interval=3
    )
    seen = []
    for step in range(25):
        optimizer.zero_grad()
        loss = ((x - 3) ** 2).sum()
        if step in (5, 6, 13):
            loss = loss * float("inf" if step != 6 else "nan")
        scaler.scale(loss).backward()
        if step % 2:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        if step == 20:
            state = scaler.state_dict()
            scaler = library.amp.GradScaler("cpu")
            scaler.load_state_dict(state)
        seen.append((scaler.get_scale(), float(x.detach().sum())))
    return seen


@pytest.mark.torch
def test_scales_and_steps_are_pytorchs() -> None:
    """Growth, backoff, skipped steps, and a round trip of the state."""
    import torch

    np.testing.assert_allclose(scaled_walk(gpugrad), scaled_walk(torch), rtol=1e-6)


def test_a_scaler_that_is_off_passes_through() -> None:
    """By choice, or where there is no CUDA device."""
    scaler = amp.GradScaler("cpu", enabled=False)
    x = gpugrad.ones(1, requires_grad=True)
    x.grad = gpugrad.ones(1)
    assert scaler.scale(x) is x
    scaler.step(gpugrad.optim.SGD([x], 0.5))
    scaler.update()
    assert (x.item(), scaler.get_scale(), scaler.state_dict()) == (0.5, 1.0, {})
    if not gpugrad.cuda.is_available():
        with pytest.warns(UserWarning, match="no CUDA device"):
            assert not amp.GradScaler().is_enabled()


def test_several_losses_are_scaled() -> None:
    """In a list, a tuple, or as they come; and a 16-bit loss does not overflow by the scale."""
    scaler = amp.GradScaler("cpu", init_scale=2.0**17)
    loss = gpugrad.tensor(1.0, dtype=gpugrad.float16)
    assert scaler.scale(loss).item() == 2.0**17
    one, (two,) = scaler.scale([loss, (loss,)])
    assert one.item() == two.item() == 2.0**17
    assert next(iter(scaler.scale(itertools.repeat(loss, 1)))).item() == 2.0**17


def stepped(*calls: str) -> None:
    """A scaler after some calls."""
    x = gpugrad.ones(1, requires_grad=True)
    x.grad = gpugrad.ones(1)
    optimizer, scaler = gpugrad.optim.SGD([x]), amp.GradScaler("cpu")
    for call in calls:
        getattr(scaler, call)(*(() if call == "update" else (optimizer,)))


def half() -> None:
    x = gpugrad.ones(1, dtype=gpugrad.float16, requires_grad=True)
    x.grad = gpugrad.ones(1, dtype=gpugrad.float16)
    amp.GradScaler("cpu").step(gpugrad.optim.SGD([x]))


@pytest.mark.parametrize(("call", "kind", "words"), [
    (lambda: stepped("unscale_", "unscale_"), AutogradError, "unscaled already"),
    (lambda: stepped("step", "unscale_"), AutogradError, "stepped already"),
    (lambda: stepped("step", "step"), AutogradError, "since the last update"),
    (lambda: stepped("update"), AutogradError, "before it"),
    (half, DTypeError, "float16 gradients"),
    (lambda: amp.GradScaler("cpu").step(gpugrad.optim.SGD(
        [gpugrad.ones(1, requires_grad=True)])), AutogradError, "has a gradient"),
    (lambda: amp.GradScaler("cpu").scale(3), ArgumentError, "got int"),
    (lambda: amp.GradScaler("cpu").load_state_dict({}), SettingError, "empty"),
    (lambda: amp.GradScaler("cpu", growth_factor=1.0), SettingError, "growth_factor"),
    (lambda: amp.GradScaler("tpu"), SettingError, "tpu"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(call: Any, kind: type[Exception], words: str) -> None:
    """With one clear error."""
    with pytest.raises(kind, match=words):
        call()
