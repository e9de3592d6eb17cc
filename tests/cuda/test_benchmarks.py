"""The benchmarks on a GPU, in sizes that take no time: every row of gpugrad can be measured."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """The folder's modules, which are no part of the package."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def engine():
    from benchmarks.engines import gpugrad

    return gpugrad("cuda")


def test_rows(engine, monkeypatch):
    """Suite ``kernels``: timed by events, beside a copy."""
    from benchmarks import kernels, rows

    sizes = kernels.Sizes((16, 48), (8, 40), (48, 32), 3, 50, ("float32", "bfloat16"))
    monkeypatch.setitem(kernels.SIZES, "cuda", sizes)
    monkeypatch.setattr("benchmarks.timing.TURN", 0.0)
    for row in kernels.rows("cuda"):
        cells = rows.measure(row, [engine], 0.0, 1 << 10, 1e6)
        assert [c["engine"] for c in cells] == ["gpugrad", "copy"], cells
        assert cells[0]["value"] > 0


def test_training_steps(engine, monkeypatch):
    """Suite ``train``: losses, times and the most memory that was in use."""
    from benchmarks import train, workloads

    size = workloads.GptSize(50, 8, 16, 1, 2, 2, True, True)
    small = {
        "MLP, SGD": workloads.WORKLOADS["MLP, SGD"],
        "GPT": workloads.Workload(lambda e: workloads.gpt(e, size), items=(16, "tokens")),
        "ResNet": workloads.Workload(lambda e: workloads.resnet50(e, 2, 32), dtype="bfloat16"),
    }
    monkeypatch.setattr(train, "WORKLOADS", small)
    monkeypatch.setattr("benchmarks.timing.TURN", 0.0)
    monkeypatch.setattr(train, "GEMMS", {"MLP, SGD": workloads.GEMMS["MLP, SGD"]})
    cells = {(c["what"], c["engine"]): c for c in train.run([engine], 0, 1)}
    assert [c for c in cells.values() if not c["value"]] == []
    assert cells["MLP, SGD: ms a step", "BLAS"]["roof"]
    assert cells["GPT: ms a step", "gpugrad"]["tokens_per_second"] > 0
    held = sum(w.numel() for w in engine.torch.nn.Linear(784, 256).parameters()) * 4 / 1e6
    assert cells["MLP, SGD: peak MB", "gpugrad"]["value"] > held


def test_chains_and_memory(engine, monkeypatch):
    """Suites ``overhead`` and ``pool``."""
    from benchmarks import overhead, pool

    monkeypatch.setattr(overhead, "DEPTHS", (10, 20, 30))
    monkeypatch.setattr(pool, "MIB", 1 << 10)
    monkeypatch.setattr(pool, "TURN", 0.0)
    assert {c["value"] > 0 for c in overhead.run([engine], 0, 1)} == {True}
    assert {c["value"] > 0 for c in pool.run([engine], 0, 1)} == {True}


def test_facts_about_the_device():
    """The size of its cache, how fast it copies, and what it is called."""
    from benchmarks import engines, run

    assert engines.cache_bytes("cuda") >= 1 << 20
    # Between a laptop's GPU and more than any has, in bytes per ms, reading and writing counted.
    assert 1e7 < engines.copied_per_ms("cuda", 0.1) < 4e10
    facts = run.conditions("cuda")
    assert facts["gpu"]
    assert run.target("ops", facts).name.startswith("ops_")
