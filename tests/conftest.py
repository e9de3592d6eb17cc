"""What every test gets: one thread per worker, skips that say why, hypothesis without deadlines."""

import importlib.util
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports NumPy: under `-n auto` every core has a worker already.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# A shell's background job is started with Ctrl-C ignored, and would hand that down to the programs
# that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a folder's tests need, so that no file in it has to say so.
FOLDER_MARKS = {"cuda": "cuda", "parity": "torch"}

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.hookimpl(tryfirst=True)  # before xdist looks
def pytest_configure(config: pytest.Config) -> None:
    """Let a worker that is done take tests from one that is not: some take a minute."""
    if getattr(config.option, "dist", None) == "load":
        config.option.dist = "worksteal"


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by their folder, then skip those whose need is not met here."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        if folder in FOLDER_MARKS:
            item.add_marker(FOLDER_MARKS[folder])
    for mark, reason in (("cuda", _why_no_cuda), ("torch", _why_no_torch)):
        needy = [item for item in items if item.get_closest_marker(mark)]
        if needy and (why := reason()):
            for item in needy:
                item.add_marker(pytest.mark.skip(reason=why))


def _why_no_cuda() -> str:
    import gpugrad

    return "" if gpugrad.cuda.is_available() else "no CUDA device here"


def _why_no_torch() -> str:
    if importlib.util.find_spec("torch") is None:
        return "PyTorch, the oracle, is missing: pip install torch"
    import torch

    torch.set_num_threads(1)
    return ""
