"""The list of every kernel, and the check that compiles it."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.codegen.update import overwrite
from gpugrad.op import registry
from gpugrad.testing import kernel_list
from gpugrad.testing.device_on_host import using
from gpugrad.testing.kernel_list import Listing

CHECK = Path(__file__).parents[2] / "ci/kernels.py"


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``ci/kernels.py`` as a module."""
    spec = importlib.util.spec_from_file_location("ci_kernels", CHECK)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def small() -> Listing:
    """A list of few kernels: softmax both ways, a product, an optimiser's step."""
    found = Listing()
    with using(found):
        x = gg.randn(3, 40, requires_grad=True)
        (gg.softmax(x, -1) * 2).sum().backward()
    arrays = [np.ones(8, np.float32) for _ in range(2)]
    step = registry["optim.sgd_step"]
    overwrite(found, step, [arrays], [0], {**step.settings, "lr": 1.0})
    return found


def test_what_is_asked_for_is_listed_once() -> None:
    """Programs carry the name of what they compute; asking again adds nothing."""
    found = small()
    names = {p.name for p in found.programs.values()}
    assert {"softmax", "softmax backward", "mul", "optim.sgd_step"} <= names
    count = len(found.programs)
    with using(found):
        gg.softmax(gg.randn(7, 40), -1)
    assert len(found.programs) == count


def test_symbols_are_unique_and_the_usual_ones_are_among_all() -> None:
    listed = kernel_list.texts(small())
    assert len({k.name for k in listed}) == len(listed)
    assert all(f" {k.name}(" in k.text for k in listed)
    assert 0 < sum(k.usual for k in listed) < len(listed)


@pytest.fixture
def quick(check: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The check over a short list."""
    pytest.importorskip("cuda.core", reason="no compiler of CUDA C++")
    monkeypatch.setattr(check, "add_records", lambda found: found.programs.update(small().programs))
    monkeypatch.setattr(check, "add_updates", lambda found: None)
    monkeypatch.setattr(check, "train_models", lambda: None)
    monkeypatch.setattr(check, "names", lambda: ["fold.cu"])
    monkeypatch.setattr(check.channels, "sources", list)
    monkeypatch.setattr("sys.argv", ["kernels.py", "--arch", "sm_80"])
    return check


def test_a_clean_list_passes_and_is_counted(quick: Any, capsys: Any) -> None:
    assert quick.main() == 0
    told = capsys.readouterr().out
    assert "sm_80: " in told
    assert " kernels compiled, 0 spill" in told


def test_a_kernel_that_spills_fails(quick: Any, capsys: Any, monkeypatch: Any) -> None:
    """A planted fault: more values live than a thread may have registers."""
    body = "".join(f"v[{i}] = x[{i}] * n;" for i in range(64))
    uses = "".join(f"x[{i}] = v[{i}] + v[{63 - i}];" for i in range(64))
    text = (
        '// needs: memory.cuh\nextern "C" __global__ void __launch_bounds__(1024, 2) '
        f"greedy(float* x, float n) {{ float v[64]; {body} __syncthreads(); {uses} }}"
    )
    monkeypatch.setattr(quick, "text", lambda name: text)
    assert quick.main() == 1
    assert "fold.cu: greedy" in capsys.readouterr().out
