"""What is shipped: an sdist from a clean copy of the tree, and the wheel from that sdist."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("gpugrad", "kernels", "tests", "pyproject.toml", "setup.py", "README.md", "LICENSE")
MAX_WHEEL = 2_000_000


@pytest.mark.slow
def test_wheel_and_sdist_hold_what_they_should(tmp_path: Path) -> None:
    """The wheel has code, kernels, types, stubs and the command, and nothing else; it is small."""
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    (tree / "gpugrad" / "stale.pyi").touch()  # left by a module that is gone
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, tree]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (name for name in names if name.endswith("dist-info/entry_points.txt"))
        assert "gpugrad = gpugrad.cli:main" in archive.read(entry_points).decode()
    python = {f"gpugrad/{path.relative_to(ROOT / 'gpugrad').as_posix()}"
              for path in (ROOT / "gpugrad").rglob("*.py")}  # fmt: skip
    kernels = {f"gpugrad/kernels/{path.name}" for path in (ROOT / "kernels").iterdir()
               if path.suffix in {".py", ".cu", ".cuh", ".md"}}  # fmt: skip
    shim = {f"gpugrad/testing/cuda_host.{end}" for end in ("cpp", "h")}
    assert python | kernels | shim | {"gpugrad/py.typed"} <= names
    assert any(name.endswith(".pyi") for name in names)
    assert not {name for name in names if "__pycache__" in name or name.endswith("stale.pyi")}
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"gpugrad"}
    assert wheel.stat().st_size < MAX_WHEEL

    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        shipped = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"kernels/{Path(name).name}" for name in kernels} | {"LICENSE"} <= shipped
