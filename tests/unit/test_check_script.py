"""``gpugrad check``: what a script uses of PyTorch, read and never run."""

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gpugrad
from gpugrad.cli import main
from gpugrad.compat import usage
from gpugrad.compat.survey import survey
from gpugrad.compat.tensor_names import TENSOR_NAMES

Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Check:
    """Run ``gpugrad check`` in this process, in an empty folder; exit status, stdout, stderr."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*args: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(["check", *map(str, args)])
        out, err = capfd.readouterr()
        return int(exit_.value.code or 0), out, err

    return call


def names(source: str) -> list[str]:
    """What a program uses, in order; those that it can do without in brackets."""
    uses = usage.read(textwrap.dedent(source)).names
    return [f"({u.name})" if u.guarded else u.name for u in uses]


PROGRAMS = {
    "aliases": (
        "import torch as th\nimport torch.nn as nn\nth.relu(1)\nnn.functional.relu(1)",
        ["torch", "torch.nn", "torch.relu", "torch.nn.functional.relu"],
    ),
    "from": (
        "from torch.nn import functional as F, Linear\nF.gelu(1)\nLinear(1, 2)",
        ["torch.nn.functional", "torch.nn.Linear", "torch.nn.functional.gelu"],
    ),
    "dotted import binds the top": (
        "import torch.nn.functional\ntorch.ones(1)",
        ["torch.nn.functional", "torch.ones"],
    ),
    "a chain ends at a call": (
        "import torch\ntorch.ones(2).to(torch.float32).stft()",
        ["torch", "torch.ones", "torch.float32"],
    ),
    "annotations, defaults, decorators, bases": (
        ("import torch\n@torch.no_grad()\ndef f(x: torch.Tensor = torch.inf) -> torch.Size: ...\n"
        "class A(torch.nn.Module): x: torch.dtype"),
        ["torch", "torch.no_grad", "torch.Tensor", "torch.inf", "torch.Size",
         "torch.nn.Module", "torch.dtype"],
    ),
    "a module given another name": (
        "import torch\nF = torch.nn.functional\nF.elu(1)",
        ["torch", "torch.nn.functional", "torch.nn.functional.elu"],
    ),
    "a variable that is given twice is none": (
        "import torch\nx = torch.pi\nx = 3\nx.bad",
        ["torch", "torch.pi"],
    ),
    "parameters, locals and methods shadow": (
        ("import torch.nn.functional as F\nimport torch\n"
        "def f(F): return F.bad\n"
        "def g():\n    torch = 1\n    return torch.bad\n"
        "h = lambda F: F.bad\n"
        "class C:\n    def F(self): return F.elu(1)\n"),
        ["torch.nn.functional", "torch", "torch.nn.functional.elu"],
    ),
    "imports in functions stay there": (
        "def f():\n    import torch.nn as T\n    return T.Linear\nT.bad",
        ["torch.nn", "torch.nn.Linear"],
    ),
    "global": (
        "import torch\ndef f():\n    global torch\n    torch.ones(1)\n    torch = 2",
        ["torch", "torch.ones"],
    ),
    "try": (
        ("import torch\ntry:\n    import torch.a\n    torch.b\nexcept (ImportError, KeyError):\n"
        "    torch.c\ntry:\n    torch.d\nexcept ValueError:\n    pass"),
        ["torch", "(torch.a)", "(torch.b)", "torch.c", "torch.d"],
    ),
    "fallback to None keeps the import": (
        "try:\n    import torch.a as a\nexcept ImportError:\n    a = None\na.b",
        ["(torch.a)", "(torch.a.b)"],
    ),
    "hasattr": (
        "import torch as t\nif hasattr(t.cuda, 'x'):\n    t.cuda.x()\nt.cuda.y()",
        ["torch", "torch.cuda", "(torch.cuda.x)", "torch.cuda.y"],
    ),
    "getattr": (
        "import torch\ngetattr(torch, 'a')\ngetattr(torch, 'b', None)\ngetattr(1, 'c')",
        ["torch", "torch.a"],
    ),
    "type checkers only": (
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch.a\nelse:\n"
        "    import torch"),
        ["torch"],
    ),
    "others": ("import torchvision, numpy as torchy\nfrom .torch import x\ntorchy.a", []),
}  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), PROGRAMS.values(), ids=PROGRAMS)
def test_names_are_followed_through_aliases_and_scopes(source: str, expected: list[str]) -> None:
    """Every use, in the order of the text."""
    assert names(source) == expected


def test_stars_companions_and_attributes_are_kept_apart() -> None:
    """What cannot be known for certain is no missing name."""
    uses = usage.read("from torch.nn import *\nimport torchvision.transforms as T\nx.stft(1).y\n")
    assert [(u.name, u.line) for u in uses.stars] == [("torch.nn", 1)]
    assert [(u.name, u.line) for u in uses.companions] == [("torchvision", 2)]
    assert {u.name for u in uses.attributes} == {"stft", "y"}
    assert uses.names == []


SCRIPT = """
import torch, torch.nn as nn

raise SystemExit("this must not run")
nn.Linear(2, 2)
nn.Lineer(2, 2)
nn.Lineer(3, 3)
x = {}.values(), "".index("a"), x.sparse_mask(1)
"""


def test_a_script_is_listed_with_lines_and_status_1(check: Check, tmp_path: Path) -> None:
    """What is missing comes first, with every place in JSON."""
    (tmp_path / "train.py").write_text(SCRIPT)
    status, out, err = check("train.py")
    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert lines[0].split() == ["missing", "torch.nn.Lineer", "train.py:6,", "train.py:7"]
    assert lines[1].split() == ["yes", "torch", "train.py:2"]
    assert "closest to torch.nn.Lineer: torch.nn.Linear" in out
    assert "  sparse_mask  train.py:8" in out
    assert "values" not in out
    assert "1 file read; 4 of PyTorch's names used, 1 missing" in lines[-1]
    status, out, _ = check("train.py", "--json")
    found = json.loads(out)
    assert status == 1
    first, *others = found["names"]
    assert first["places"] == ["train.py:6", "train.py:7"]
    assert [(n["name"], n["lacking"]) for n in others] == [
        ("torch", ""), ("torch.nn", ""), ("torch.nn.Linear", ""),
    ]  # fmt: skip


def test_a_script_that_has_all_it_needs_has_status_0(check: Check, tmp_path: Path) -> None:
    """A name that it can do without is told and does no harm."""
    (tmp_path / "a.py").write_text(
        "import torch\ntry:\n    import torch.nowhere\nexcept ImportError:\n    pass\n"
    )
    status, out, _ = check("a.py", "--missing")
    assert status == 0
    assert out.splitlines()[0].split() == ["optional", "torch.nowhere", "a.py:3"]
    assert "gpugrad has what is needed" in out


def test_folders_and_notebooks_are_read_and_caches_are_not(check: Check, tmp_path: Path) -> None:
    """Magics of a notebook are left out; a hidden folder or an environment is skipped."""
    cell = {"cell_type": "code", "source": ["%pip install x\n", "if 1:\n", "  !ls\n",
                                            "import torch\n",
                                            "torch.nowhere()"]}  # fmt: skip
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "n.ipynb").write_text(json.dumps({"cells": [cell, {"cell_type": "x"}]}))
    (tmp_path / "a" / "b.py").write_text("import torch\ntorch.ones(1)")
    for folder in (".venv", "site-packages"):
        (tmp_path / "a" / folder).mkdir()
        (tmp_path / "a" / folder / "c.py").write_text("import torch\ntorch.nowhere2")
    status, out, _ = check("a", "--json")
    found = json.loads(out)
    assert status == 1
    assert found["files"] == 2
    assert [n["places"] for n in found["names"] if n["lacking"]] == [["a/n.ipynb:5"]]


UNREADABLE = {
    "syntax": ("bad.py", b"x = (\n", "line 1: '(' was never closed"),
    "bytes": ("bad.py", b"x = '\xff'", "utf-8"),
    "nul": ("bad.py", b"x\x00", "null bytes"),
    "no notebook": ("bad.ipynb", b"[1]", "not a notebook"),
    "no JSON": ("bad.ipynb", b"{", "Expecting"),
}


@pytest.mark.parametrize(("name", "data", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_no_python_is_named(
    check: Check, tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    """The others are read all the same; exit status 1."""
    (tmp_path / name).write_bytes(data)
    (tmp_path / "good.py").write_text("import torch")
    status, out, _ = check(".")
    assert status == 1
    assert f"not read: {name}: " in out
    assert reason in out
    assert "None" not in out  # not every such error has a line
    assert "1 file read; 1 of PyTorch's names used" in out


def test_a_terminal_gets_a_table(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folded where it is narrow, never cut."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "50")
    (tmp_path / "train.py").write_text(SCRIPT)
    status, out, _ = check("train.py")
    assert status == 1
    assert "used in" in out
    assert "\x1b[31m" in out
    assert "…" not in out


def test_a_file_may_name_its_encoding(check: Check, tmp_path: Path) -> None:
    """As Python reads it."""
    (tmp_path / "a.py").write_bytes(b"# coding: latin-1\nimport torch\nx = '\xe9'\n")
    assert check("a.py")[0] == 0


def test_attributes_are_told_of_files_that_use_pytorch(check: Check, tmp_path: Path) -> None:
    """A name like sparse_mask means nothing elsewhere."""
    (tmp_path / "a.py").write_text("x.sparse_mask()")
    assert "sparse_mask" not in check("a.py")[1]
    (tmp_path / "a.py").write_text("import torch\nx.sparse_mask()")
    assert "sparse_mask  a.py:2" in check("a.py")[1]


def test_a_path_that_is_not_there_is_one_line(check: Check) -> None:
    """Exit status 1."""
    status, out, err = check("nowhere.py")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert "nowhere.py" in err


def test_names_of_this_list_are_tensors() -> None:
    """The list by which tensor methods are recognised is not gpugrad's own, nor empty."""
    assert len(TENSOR_NAMES) > 500
    assert {"masked_fill", "sparse_mask"} <= TENSOR_NAMES
    assert not hasattr(gpugrad.Tensor, "sparse_mask")


def test_a_large_folder_is_read_quickly_and_in_order(tmp_path: Path) -> None:
    """One answer per name, whatever the number of files."""
    for i in range(30):
        (tmp_path / f"f{i:02}.py").write_text(
            "import torch\n" + "torch.nowhere(torch.ones(1))\n" * 9
        )
    found = survey([tmp_path])
    assert found.files == 30
    assert sorted(found.names) == ["torch", "torch.nowhere", "torch.ones"]
    assert len(found.names["torch.nowhere"].places) == 270
    assert [n.name for n in found.missing] == ["torch.nowhere"]


@pytest.mark.torch
def test_the_list_of_tensor_names_is_pytorchs() -> None:
    """Every name of it exists there, but for what newer releases may drop."""
    torch = pytest.importorskip("torch")
    assert len(TENSOR_NAMES - set(dir(torch.Tensor))) < 10
