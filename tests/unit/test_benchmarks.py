"""The benchmarks run on gpugrad, and their tables say what they are asked to."""

from pathlib import Path

import pytest

import gpugrad

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmarks(monkeypatch):
    """The folder's modules, which are no part of the package."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import run, timing, workloads

    return run, timing, workloads


def test_every_workload_has_its_products(benchmarks):
    _, _, workloads = benchmarks
    assert workloads.GEMMS.keys() == workloads.WORKLOADS.keys()


@pytest.mark.parametrize("name", ["MLP, SGD", "MLP, Adam"])
def test_a_step_trains(name, benchmarks):
    _, _, workloads = benchmarks
    step = workloads.WORKLOADS[name](gpugrad)
    losses = [step().item() for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    again = workloads.WORKLOADS[name](gpugrad)
    assert again().item() == losses[0]  # every engine starts from the same numbers


def test_calls_take_turns(benchmarks):
    _, timing, _ = benchmarks
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    found = timing.median_ms(calls, 0.0, warm_up=1)
    assert order == ["a", "b"] * 8
    assert found.keys() == calls.keys()


def test_table_and_chart(benchmarks, tmp_path):
    run, _, _ = benchmarks
    rows = [{"what": "x: ms", "engine": "gpugrad", "value": 3.0},
            {"what": "x: ms", "engine": "torch", "value": 2.0},
            {"what": "wheel MB", "engine": "gpugrad", "value": 0.5}]  # fmt: skip
    table = run.lines(rows)
    assert table == [["what", "gpugrad", "torch", "gpugrad / torch"],
                     ["x: ms", "3", "2", "1.50"], ["wheel MB", "0.5", "", ""]]  # fmt: skip
    pytest.importorskip("matplotlib").use("agg")
    run.draw(rows, tmp_path / "bars.svg")
    assert (tmp_path / "bars.svg").read_text().count("patch_") > 2
