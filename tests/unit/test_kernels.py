"""The texts of hand-written kernels are found, and a wrong name says what there is."""

import gpugrad.kernels
import pytest


def test_every_kernel_can_be_read() -> None:
    """What `names` lists, `source` returns."""
    assert all(gpugrad.kernels.source(name) for name in gpugrad.kernels.names())


def test_a_missing_kernel_is_named_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error shows both sides."""
    monkeypatch.setattr(gpugrad.kernels, "names", lambda: ["a.cu", "b.cuh"])
    with pytest.raises(FileNotFoundError, match=r"no kernel file 'c\.cu'; there is a\.cu, b\.cuh"):
        gpugrad.kernels.source("c.cu")


def test_only_kernel_files_are_handed_out() -> None:
    """Neither this package's own code nor a path out of it counts as a kernel."""
    for name in ("__init__.py", "README.md", "../setup.py"):
        with pytest.raises(FileNotFoundError):
            gpugrad.kernels.source(name)
