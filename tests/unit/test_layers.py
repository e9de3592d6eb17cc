"""Imports point down only: every module has a floor, and none may import from a higher one."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

# A module or sub-package of gpugrad, and its floor; "gpugrad" is `gpugrad/__init__.py`.
FLOORS = {
    "errors": 0, "dtypes": 0, "devices": 0, "config": 0, "kernels": 0, "threads": 0,
    "backends": 1,
    "op": 2, "samples": 2, "expr": 2, "spec": 2, "signature": 2, "symbolic": 2,
    "codegen": 3,
    "tensor": 4, "methods": 4, "functional_namespace": 4, "tape": 4, "autograd": 4,
    "dispatch": 4, "holders": 4, "lanes": 4, "modes": 4, "random": 4, "storage": 4,
    "printing": 4, "refusals": 4, "inplace": 4, "publish": 4, "indexing": 4, "factory": 4,
    "ops": 5,
    "graph": 6, "fusion": 6,
    "nn": 7, "optim": 7, "data": 7, "io": 7, "linalg": 7, "special": 7, "fft": 7, "cuda": 7,
    "utils": 7, "distributions": 7, "func": 7, "futures": 7, "profiler": 7, "compiler": 7,
    "serialization": 7, "types": 7, "multiprocessing": 7,
    "distributed": 8, "datasets": 8, "amp": 8, "testing": 8, "stubs": 8, "listing": 8,
    "library": 8, "explanation": 8,
    "gpugrad": 9,
    # Users of the public names, which nothing below may import: `import gpugrad` loads no click.
    "models": 10, "compat": 10, "train": 10, "version": 10, "cli": 11, "__main__": 11,
}  # fmt: skip

# CUDA's libraries, and the only files that may import them, inside a function: the package imports
# and runs without any of them installed.
CUDA_LIBRARIES = {"cuda", "cudnn", "cupy", "cupyx", "nvmath"}
CUDA_FILES = {
    "backends/__init__.py", "backends/cupy.py", "backends/additions/linalg.py",
    "backends/nvidia/compile.py", "backends/nvidia/cublaslt.py", "backends/nvidia/cudnn_plans.py",
}  # fmt: skip


class Import(NamedTuple):
    """One import: the line, the dotted name it may mean, and whether it waits inside a function."""

    line: int
    target: str
    deferred: bool


def imports(tree: ast.AST, package: str, deferred: bool = False) -> Iterator[Import]:
    """Every import under `tree`, as absolute names, but for those only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        inside = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                # A list of statements is not a node: wrap the branch that does run.
                yield from imports(ast.Module(node.orelse, []), package, inside)
                continue
            case ast.Import():
                for alias in node.names:
                    yield Import(node.lineno, alias.name, deferred)
            case ast.ImportFrom():
                above = package.split(".")[: -(node.level - 1) or None] if node.level else []
                source = ".".join([*above, *filter(None, [node.module])])
                for alias in node.names:
                    yield Import(node.lineno, f"{source}.{alias.name}", deferred)
            case ast.Call(
                func=ast.Name("import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(str(name)), *_],
            ) if not name.startswith("."):
                yield Import(node.lineno, name, deferred)
        yield from imports(node, package, inside)


def module_of(target: str) -> str:
    """The key of FLOORS for a name: `gpugrad.ops.relu` is of `ops`, `gpugrad.relu` of `gpugrad`."""
    part = target.split(".")[1] if "." in target else ""
    return part if part in FLOORS else "gpugrad"


def violations(package: Path) -> list[str]:
    """What is wrong with the imports in `package`, a folder like gpugrad/; a line each."""
    wrong = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        own = Path(name.split("/")[0]).stem if name != "__init__.py" else "gpugrad"
        if own not in FLOORS:
            wrong.append(f"{name}: {own!r} has no floor; give it one in {Path(__file__).name}")
            continue
        dotted = ".".join(["gpugrad", *name.split("/")[:-1]])
        floor = FLOORS[own]
        for line, target, deferred in imports(ast.parse(path.read_text("utf-8")), dotted):
            top = target.split(".")[0]
            if top == "gpugrad" and (other := FLOORS[module_of(target)]) > floor:
                wrong.append(f"{name}:{line}: floor {floor} imports {target}, of floor {other}")
            elif top in CUDA_LIBRARIES and name not in CUDA_FILES:
                wrong.append(f"{name}:{line}: imports {target}; only {sorted(CUDA_FILES)} may")
            elif top in CUDA_LIBRARIES and not deferred:
                wrong.append(f"{name}:{line}: imports {target} at module level, not in a function")
    return wrong


def test_imports_of_gpugrad_point_down() -> None:
    """No import in gpugrad goes up a floor, and CUDA's libraries are met where they may be."""
    assert (ROOT / "gpugrad" / "__init__.py").exists()
    assert not violations(ROOT / "gpugrad")


UPWARD = {
    "absolute": "import gpugrad.ops",
    "relative": "from .ops import relu",
    "module from the package": "from . import graph",
    "public name": "from gpugrad import relu",
    "the whole package": "import gpugrad as gg",
    "star": "from gpugrad.nn import *",
    "module without a floor": "from gpugrad.unheard_of import x",
    "in a function": "def f():\n    from .ops import relu",
    "in a method, in a try": (
        "class C:\n    def f(self):\n        try:\n            import gpugrad.nn\n"
        "        except ImportError:\n            pass"
    ),
    "by name": "import importlib\nx = importlib.import_module('gpugrad.ops')",
    "else of TYPE_CHECKING": "if TYPE_CHECKING:\n    pass\nelse:\n    import gpugrad.ops",
}  # fmt: skip


@pytest.mark.parametrize("source", UPWARD.values(), ids=UPWARD)
def test_an_import_that_points_up_is_caught(source: str, tmp_path: Path) -> None:
    """Every spelling of an import is seen, wherever in the file it stands."""
    (tmp_path / "tape.py").write_text(source)
    (complaint,) = violations(tmp_path)
    assert complaint.startswith("tape.py:")
    assert "floor 4 imports gpugrad" in complaint


def test_relative_imports_are_counted_from_their_own_folder(tmp_path: Path) -> None:
    """`..graph` in ops/ points up, `.graph` and `..tape` do not."""
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "__init__.py").write_text("from .graph import x\nfrom ..graph import y")
    (tmp_path / "ops" / "unary.py").write_text("from . import graph\nfrom .. import tape, graph")
    assert violations(tmp_path) == [
        "ops/__init__.py:2: floor 5 imports gpugrad.graph.y, of floor 6",
        "ops/unary.py:2: floor 5 imports gpugrad.graph, of floor 6",
    ]


def test_imports_that_are_fine_are_left_alone(tmp_path: Path) -> None:
    """Down, sideways, for a type checker only, other libraries, and anything on the top floor."""
    (tmp_path / "tape.py").write_text(
        "import numpy as np\nfrom . import errors, modes\nfrom .op import Op\nimport gpugrad.spec\n"
        "if TYPE_CHECKING:\n    from .graph import Graph\n    import cupy\n"
    )
    (tmp_path / "__init__.py").write_text("from .testing import gradcheck\nfrom . import nn")
    assert violations(tmp_path) == []


def test_a_module_without_a_floor_is_named(tmp_path: Path) -> None:
    """A new module is not let in silently."""
    (tmp_path / "newcomer.py").write_text("")
    (complaint,) = violations(tmp_path)
    assert complaint.startswith("newcomer.py: 'newcomer' has no floor")


@pytest.mark.parametrize(
    "source",
    ["import cupy", "from cuda.core import Device", "import nvmath.bindings", "import cudnn"],
)
def test_cuda_libraries_are_imported_late_and_in_few_files(source: str, tmp_path: Path) -> None:
    """An import of one is caught in other files, and at module level in the files that may."""
    (tmp_path / "backends").mkdir()
    (tmp_path / "tape.py").write_text(f"def f():\n    {source}")
    (tmp_path / "backends" / "cupy.py").write_text(f"{source}\ndef f():\n    {source}")
    late, rare = violations(tmp_path)
    assert late.startswith("backends/cupy.py:1: ")
    assert late.endswith("at module level, not in a function")
    assert rare.startswith("tape.py:2: ")
