"""Optimiser updates by a kernel that writes where it reads: the same numbers as the array code."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import backends, dtypes, signature
from gpugrad.codegen import host, update
from gpugrad.codegen.target import TARGETS, Target
from gpugrad.config import config
from gpugrad.op import registry
from gpugrad.testing.calls import Call, samples_of
from gpugrad.testing.cuda_host import COMPILER
from gpugrad.testing.device_on_host import DeviceOnHost, using

RECORDS = {n: r for n, r in registry.ops.items() if r.home == "optim" and r.elementwise}
_ENDS = {n: (0, len(list(samples_of(r))) - 1) for n, r in RECORDS.items()}
CASES = [pytest.param(n, i, id=f"{n}-{i}") for n, ends in _ENDS.items() for i in sorted({*ends})]


def overwrite(*args: Any) -> bool:
    """The update on the CPU."""
    return update.overwrite(TARGETS[np.ndarray], *args)


@pytest.fixture(scope="module", params=["host", "device"])
def target(request: pytest.FixtureRequest) -> Target:
    """What runs a kernel: the CPU, or CUDA's text on the host."""
    if request.param == "host":
        return TARGETS[np.ndarray]
    if COMPILER is None:
        pytest.skip("no g++ to run CUDA's text with")
    return DeviceOnHost()


def bound(name: str, number: int) -> dict[str, Any]:
    """The settings of one of a record's samples."""
    op = RECORDS[name]
    call = Call(op, list(samples_of(op))[number], dtypes.float64)
    return signature.normalise(op, 1, signature.bind(op, call.args, dict(call.kwargs))[1])


@pytest.mark.parametrize(("name", "number"), CASES)
def test_in_place(name: str, number: int, target: Target) -> None:
    """Every update record has a kernel, and it gives what the record's function does."""
    op, settings = RECORDS[name], bound(name, number)
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.1, 2, host.LARGE + 3).astype(np.float32) for _ in op.arrays]
    want = backends.NUMPY.run(op.fn, backends.NUMPY.xp, *(a.copy() for a in arrays), **settings)
    want = want if isinstance(want, tuple) else (want,)
    targets = [0, *range(2, len(arrays))][: len(want)]
    grad = arrays[1].copy()
    assert update.overwrite(target, op, [arrays], targets, settings)
    for i, w in zip(targets, want, strict=True):
        np.testing.assert_allclose(arrays[i], w, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(arrays[1], grad)


def _other(value: Any) -> Any:
    """Another setting of its kind, which asks for the same kernel."""
    if type(value) is tuple:
        return tuple(_other(v) for v in value)
    return value * 0.75 if type(value) is float and value != 1 else value


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_kernel_serves_all_numbers(name: str, number: int) -> None:
    """A kernel that was made for some settings gives the right numbers for others."""
    op, settings = RECORDS[name], bound(name, number)
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.1, 2, host.LARGE).astype(np.float32) for _ in op.arrays]
    count = len(op.outputs) or 1
    targets = [0, *range(2, len(arrays))][:count]
    assert overwrite(op, [[a.copy() for a in arrays]], targets, settings)
    known = sum(map(len, update._known.values()))
    settings = {k: _other(v) for k, v in settings.items()}
    want = backends.NUMPY.run(op.fn, backends.NUMPY.xp, *(a.copy() for a in arrays), **settings)
    assert overwrite(op, [arrays], targets, settings)
    assert sum(map(len, update._known.values())) == known
    for i, w in zip(targets, want if isinstance(want, tuple) else (want,), strict=True):
        np.testing.assert_array_equal(arrays[i], w)


def test_a_setting_that_decides_gets_a_kernel_of_its_own() -> None:
    """Whether there is decay at all is part of the kernel; how much is not."""
    op = registry["optim.sgd_step"]
    for decay in (0.0, 0.5, 0.25, 0.0):
        p, g = np.full(host.LARGE, 2, np.float32), np.ones(host.LARGE, np.float32)
        assert overwrite(op, [[p, g]], [0], {**op.settings, "lr": 1.0, "weight_decay": decay})
        np.testing.assert_array_equal(p, 1 - 2 * decay)


def test_a_step_counts_as_a_write_and_follows_the_rate() -> None:
    """A schedule needs no new kernel; every step bumps the versions of what it wrote."""
    p = gg.zeros(300, 300, requires_grad=True)
    optimizer = gg.optim.SGD([p], lr=1.0)
    p.grad = gg.ones(300, 300)
    total = 0.0
    for rate in (1.0, 0.3, 0.07):
        optimizer.param_groups[0]["lr"] = rate
        before = p._version
        optimizer.step()
        assert p._version > before
        total += rate
    np.testing.assert_allclose(p.detach().numpy(), -total, rtol=1e-6)


SHAPES = [(300, 300), (7,), (1,), (0, 3), (), (70001,), (1 << 18,)] + [(5, 5)] * 20
MAKE: dict[str, Callable[[Any], Any]] = {
    "AdamW": lambda p: gg.optim.AdamW(p, lr=0.01),
    "Adam amsgrad": lambda p: gg.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.1),
    "SGD": lambda p: gg.optim.SGD(p, lr=0.1),
    "SGD nesterov": lambda p: gg.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "RMSprop": lambda p: gg.optim.RMSprop(p, lr=0.01),
    "Rprop": lambda p: gg.optim.Rprop(p, lr=0.01),
    "Lion": lambda p: gg.optim.Lion(p, lr=0.01),
}


def trained(make: Callable[[Any], Any], dtype: Any, steps: int = 4) -> list[Any]:
    """The parameters after some steps, beginning alike."""
    rng = np.random.default_rng(5)
    params = [gg.tensor(rng.standard_normal(s), dtype=dtype, requires_grad=True) for s in SHAPES]
    optimizer = make(params)
    for _ in range(steps):
        for p in params[:-1]:  # the last has no gradient
            p.grad = gg.tensor(rng.standard_normal(tuple(p.shape)), dtype=dtype)
        optimizer.step()
    return [p.detach().numpy() for p in params]


@pytest.mark.parametrize("dtype", [gg.float32, gg.float64], ids=str)
@pytest.mark.parametrize("name", MAKE)
def test_together_is_one_by_one(name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call for all parameters gives NumPy's bits for each, with any number of threads."""
    with monkeypatch.context() as m:
        m.setattr("gpugrad.optim.optimizer.overwrite", lambda *a: False)
        alone = trained(MAKE[name], dtype)
    ran = []
    table = host.run_table
    monkeypatch.setattr(host, "run_table", lambda *a: (ran.append(len(a[2])), table(*a)))
    for threads in (1, 3):
        monkeypatch.setattr(config, "num_threads", threads)
        for got, want in zip(trained(MAKE[name], dtype), alone, strict=True):
            np.testing.assert_array_equal(got, want)
    assert len(ran) == 8
    assert min(ran) > len(SHAPES) - 2  # long ones in several rows, the empty one in none


@pytest.mark.parametrize("dtype", [gg.float32, gg.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_a_device_steps_all_at_once(name: str, dtype: Any) -> None:
    """One launch per step whatever the sizes, and what array code gives."""
    if COMPILER is None:
        pytest.skip("no g++ to run CUDA's text with")
    want = trained(MAKE[name], dtype)
    device = DeviceOnHost(fenced=True)
    with using(device):
        got = trained(MAKE[name], dtype)
    steps = [grid for _, grid, text in device.launches if "lengths" in text]
    assert len(steps) == 4
    bound = 1e-6 if dtype is gg.float32 else 1 / 64
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a.astype(np.float64), b.astype(np.float64), bound, bound)


@pytest.mark.parametrize("dtype", [gg.float32, gg.float64, gg.bfloat16], ids=str)
def test_clipping_and_averages_are_one_launch(dtype: Any) -> None:
    """The norm, the scaling and a step of an average: each one launch over all tensors."""
    if COMPILER is None:
        pytest.skip("no g++ to run CUDA's text with")
    shapes = [(300, 300), (7,), (1,), (0, 3), (), (70001,)]

    def run() -> list[Any]:
        rng = np.random.default_rng(1)
        params, averaged = (
            [gg.tensor(rng.standard_normal(s), dtype=dtype) for s in shapes] for _ in range(2)
        )
        for p in params:
            p.requires_grad_()
            p.grad = gg.tensor(rng.standard_normal(tuple(p.shape)), dtype=dtype)
        norm = gg.nn.utils.clip_grad_norm_(params, 1.5)
        swa = gg.optim.swa_utils
        swa.get_ema_multi_avg_fn(0.9)(averaged, [p.detach() for p in params], gg.tensor(3))
        swa.get_swa_multi_avg_fn()(averaged, [p.detach() for p in params], gg.tensor(3))
        return [t.double().numpy() for t in (norm, *averaged, *(p.grad for p in params))]

    want = run()
    device = DeviceOnHost()
    with using(device):
        got = run()
    assert sum("lengths" in text for _, _, text in device.launches) == 4
    bound = {gg.float32: 1e-6, gg.float64: 1e-12}.get(dtype, 1 / 64)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, bound, bound)


def test_small_ones_begin_with_numpy_and_go_on_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small parameters get a kernel once they are stepped often; no bit shows it."""
    monkeypatch.setattr(update, "_SMALL_PATIENCE", 3)
    update._small.clear()
    ran = []
    table = host.run_table
    monkeypatch.setattr(host, "run_table", lambda *a: (ran.append(1), table(*a)))

    def run() -> Any:
        params = [gg.ones(6, 6, requires_grad=True) for _ in range(30)]
        optimizer = gg.optim.Adam(params)
        for i in range(7):
            for k, p in enumerate(params):
                p.grad = gg.full((6, 6), (i - k) / 3)
            optimizer.step()
        return np.stack([p.detach().numpy() for p in params])

    first = run()
    assert len(ran) == 4
    np.testing.assert_array_equal(run(), first)
    assert len(ran) == 11


def test_shared_memory_keeps_the_order() -> None:
    """Parameters that look into the same memory are moved one after the other."""
    base = np.zeros(100_000, np.float32)
    sets = [[base[:90_000], np.ones(90_000, np.float32)],
            [base[10_000:], np.ones(90_000, np.float32)]]  # fmt: skip
    op = registry["optim.sgd_step"]
    settings = {**op.settings, "lr": 1.0}
    assert not overwrite(op, sets, [0], settings)
    halves = [[base[:50_000], sets[0][1][:50_000]], [base[50_000:], sets[1][1][:50_000]]]
    assert overwrite(op, halves, [0], settings)
    np.testing.assert_array_equal(base, -1)


@pytest.mark.parametrize("spoil", ["transposed", "read-only", "another dtype"])
def test_what_a_kernel_cannot_write_is_left_alone(spoil: str) -> None:
    op = registry["optim.sgd_step"]
    p, g = np.zeros((300, 300), np.float32), np.ones((300, 300), np.float32)
    if spoil == "transposed":
        g = g.T
    elif spoil == "read-only":
        p.flags.writeable = False
    else:
        g = g.astype(np.float64)
    assert not overwrite(op, [[p, g]], [0], {**op.settings, "lr": 1.0})
    assert not p.any()


def test_a_failed_step_leaves_no_plan() -> None:
    """An error half way through a group does not show up in the next step."""
    a, b = gg.zeros(3, requires_grad=True), gg.zeros(3, requires_grad=True)
    optimizer = gg.optim.SGD([a, b], lr=1.0)
    a.grad = gg.ones(3)
    b.data = gg.zeros(3)
    plain, optimizer._update = optimizer._update, None
    with pytest.raises(TypeError):
        optimizer.step()
    optimizer._update = plain
    optimizer.step()
    np.testing.assert_array_equal(a.detach().numpy(), -1)
