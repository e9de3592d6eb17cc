"""Row-wise kernels: softmax, norms and cross entropy over every width that loops treat apart."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import backends
from gpugrad.codegen import host
from gpugrad.codegen.forward import forward
from gpugrad.codegen.host import HostTarget
from gpugrad.codegen.target import TARGETS as REGISTERED
from gpugrad.codegen.target import Target
from gpugrad.op import REQUIRED, registry
from gpugrad.testing.cuda_host import COMPILER
from gpugrad.testing.device_on_host import DeviceOnHost, using

F = gg.nn.functional
OPS: dict[str, Callable[..., Any]] = {
    "softmax": lambda x, w, b, t: F.softmax(x, -1),
    "log_softmax": lambda x, w, b, t: F.log_softmax(x, -1),
    "logsumexp": lambda x, w, b, t: gg.logsumexp(x, -1),
    "layer_norm": lambda x, w, b, t: F.layer_norm(x, (x.shape[-1],), w, b),
    "plain layer_norm": lambda x, w, b, t: F.layer_norm(x, (x.shape[-1],)),
    "rms_norm": lambda x, w, b, t: F.rms_norm(x, (x.shape[-1],), w, 1e-6),
    "cross_entropy": lambda x, w, b, t: F.cross_entropy(x, t, reduction="none"),
    "sum": lambda x, w, b, t: gg.sum(x, -1),
    "amax": lambda x, w, b, t: gg.amax(x, -1),
    "3-norm": lambda x, w, b, t: gg.linalg.vector_norm(x, 3.0, -1),
    "mean": lambda x, w, b, t: gg.mean(x, -1, True),
}
RECORDS = {"softmax", "log_softmax", "logsumexp", "_ops.scaled_standard", "_ops.unit_rms",
           "_ops.softmax_cross_entropy"}  # fmt: skip
COLUMNS = (2, 31, 32, 33, 511, 512, 513, 1023, 1024, 1025, 4097, 65537)


class Eager(HostTarget):
    """Kernels also for small arrays."""

    least = 1


TARGETS = {
    "host": Eager,
    "device": lambda: DeviceOnHost(fenced=True),
    "device, threads in reverse": lambda: DeviceOnHost(order="reverse"),
}


@pytest.fixture(params=TARGETS)
def always(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Arrays of any size have kernels: those for the CPU, or those for a GPU, run on the host."""
    if request.param != "host" and COMPILER is None:
        pytest.skip("no g++ to run CUDA's text with")
    target = TARGETS[request.param]()
    with using(target):
        yield target


def run(name: str, rows: int, columns: int, dtype: Any) -> tuple[list[Any], set[str]]:
    """Result and gradients of one op over random rows; and which records ran as kernels."""
    rng = np.random.default_rng(columns)
    arrays = [rng.standard_normal(s) for s in ((rows, columns), columns, columns)]
    x, w, b = (gg.tensor(a, dtype=dtype, requires_grad=True) for a in arrays)
    t = gg.tensor(rng.integers(0, columns, rows))
    out = OPS[name](x, w, b, t)
    out.backward(gg.tensor(rng.standard_normal(tuple(out.shape)), dtype=dtype))
    grads = [p.grad for p in (x, w, b) if p.grad is not None]
    return [v.detach().double().numpy() for v in (out, *grads)], set()


def exact(name: str, rows: int, columns: int) -> list[Any]:
    """The same in float64 by array code, which is the reference."""
    kept = REGISTERED[np.ndarray]
    REGISTERED[np.ndarray] = None
    try:
        return run(name, rows, columns, gg.float64)[0]
    finally:
        REGISTERED[np.ndarray] = kept


def close(got: list[Any], want: list[Any], bound: float) -> None:
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=bound, atol=bound * max(1.0, float(np.abs(w).max())))


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("name", OPS)
def test_float32_rows(name: str, columns: int, always: Target) -> None:
    """Value and gradients are those of float64 to float32's rounding, at every width."""
    if getattr(always, "order", "") == "reverse" and columns not in (33, 1025):
        pytest.skip("another order shows on one warp and on several")
    rows = 67 if columns < 1000 else 9 if columns < 5000 else 2
    bound = 1e-5 if columns > 2 else 1e-4  # a norm over two columns cancels nearly everything
    close(run(name, rows, columns, gg.float32)[0], exact(name, rows, columns), bound)


@pytest.mark.parametrize("rows", [1, 2, 63, 65, 70_000])
@pytest.mark.parametrize("name", ["softmax", "layer_norm", "cross_entropy"])
def test_any_number_of_rows(name: str, rows: int, always: Target) -> None:
    """Rows are shared by threads and added up in blocks; neither loses one."""
    if rows > 1000 and getattr(always, "order", "") == "reverse":
        pytest.skip("seconds that show nothing more")
    close(run(name, rows, 17, gg.float32)[0], exact(name, rows, 17), 1e-5)


@pytest.mark.parametrize("dtype", [gg.float16, gg.bfloat16], ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["softmax", "layer_norm", "cross_entropy"])
def test_16_bit_rows(name: str, dtype: Any, always: Target) -> None:
    """16-bit floats compute in float32 and are rounded once."""
    eps = gg.finfo(dtype).eps
    close(run(name, 33, 129, dtype)[0], exact(name, 33, 129), 12 * eps)


def test_the_records_are_kernels(always: Target) -> None:
    """Forward and gradient of each are one kernel: none was left to the array code unseen."""
    for name in OPS:
        run(name, 70, 40, gg.float32)
    for key in RECORDS:
        programs = [p for k, p in always._programs.items() if k[0] is registry[key]]
        assert len(programs) >= 2, key
        assert all(programs), key


def test_special_rows(always: Target) -> None:
    """Infinities and NaN are those of the array code."""
    x = np.zeros((4, 40), np.float32)
    x[0, 3], x[1, 5], x[2] = np.inf, np.nan, -np.inf
    for f in (lambda t: F.softmax(t, -1), lambda t: F.log_softmax(t, -1),
              lambda t: gg.logsumexp(t, -1)):  # fmt: skip
        got = f(gg.tensor(x)).numpy()
        want = f(gg.tensor(x.astype(np.float64))).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("name", OPS)
def test_threads_do_not_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits from one thread, two and five, and from run to run."""
    monkeypatch.setattr(host, "SHARED", 1 << 10)
    results = []
    for count in (1, 2, 5, 5):
        monkeypatch.setattr(gg.config, "num_threads", count)
        results.append(run(name, 999, 77, gg.float32)[0])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_lost_row_is_caught(always: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in how work is cut makes the comparison fail."""
    real = always.run
    monkeypatch.setattr(always, "run", lambda p, rows, *rest: real(p, rows - 1, *rest))
    with pytest.raises(AssertionError):
        close(run("softmax", 67, 33, gg.float32)[0], exact("softmax", 67, 33), 3e-6)


@pytest.mark.parametrize("name", OPS)
def test_one_long_row(name: str, always: Target) -> None:
    """A single row, which the CPU does not cut and a device does where only sums remain."""
    close(run(name, 1, 300_001, gg.float32)[0], exact(name, 1, 300_001), 1e-4)


def test_elementwise_along_one_long_row() -> None:
    """Where a row is cut, what is read per column moves along."""
    a, b = gg.randn(1, 300_001), gg.randn(300_001)
    a[0, -1], b[-1] = 0.75, 2.5  # a product at which no digit of gelu cancels
    for _ in range(host.PATIENCE + 1):
        np.testing.assert_array_equal((a * b).numpy(), a.numpy() * b.numpy())
    end = F.gelu(a * b)[0, -1:]
    np.testing.assert_allclose(end.numpy(), F.gelu((a * b)[0, -1:]).numpy(), rtol=1e-6)


#: What settings that have no default are, in the calls of the next test.
GIVEN = {"eps": 0.1, "ord": 3.0, "correction": 1, "k": 5, "index": 1, "start": 0, "length": 2}


def test_every_record_that_traces(always: Target) -> None:
    """Any op with a dim that has a kernel gets it without being listed: each must be right."""
    found = set()
    for key, op in registry.ops.items():
        if op.elementwise or "dim" not in op.settings or op.variadic:
            continue
        one = op.annotations["dim"].split(" ")[0] == "Dim"
        settings = {k: GIVEN.get(k) if v is REQUIRED else v for k, v in op.settings.items()}
        settings["dim"] = 1 if one else (1,)
        rng = np.random.default_rng(0)
        x = rng.uniform(-2, 2, (300, 33)).astype(np.float32)
        for shape in ((300,), (300, 1), (300, 33)):
            index = rng.integers(0, 33, shape)
            arrays = [None if a in op.optional else index if a in op.indices else x
                      for a in op.arrays]  # fmt: skip
            try:
                want = backends.NUMPY.run(op.fn, backends.NUMPY.xp, *arrays, **settings)
            except Exception:
                continue  # not a call of this op
            got = forward(always, op, arrays, settings)
            if got is None:
                continue
            found.add(key)
            pairs = [(got, want)] if not op.outputs else zip(got, want, strict=True)
            for g, w in pairs:
                assert (g.shape, g.dtype) == (w.shape, w.dtype), key
                np.testing.assert_allclose(g, w, rtol=2e-5, atol=2e-6, err_msg=key)
    assert found >= RECORDS | {"sum", "mean", "amax", "linalg.vector_norm"}
