"""ci/api_names.py: at least 95 % of the names that real training scripts use are there."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import gpugrad

SCRIPT = Path(gpugrad.__file__).parents[1] / "ci" / "api_names.py"
_spec = importlib.util.spec_from_file_location("api_names", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
api_names = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(api_names)


def test_the_list_is_read_whole() -> None:
    """Every name of the file with its count, none twice."""
    lines = api_names.LIST.read_text("utf-8").splitlines()
    numbers = (
        " ".join(line for line in lines if line[:1] not in ("#", "[")).replace(",", " ").split()
    )
    found = api_names.names()
    assert sum(map(len, found.values())) == len(numbers) / 2 > 580
    assert found["torch.nn"]["torch.nn.Module"] == 36
    assert found["torch.Tensor"]["torch.Tensor.prod"] == 2


def test_the_table_shows_at_least_95_percent_and_the_gaps() -> None:
    """The script as CI or a reader runs it."""
    done = subprocess.run([sys.executable, SCRIPT], text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    share = next(line for line in done.stdout.splitlines() if line.startswith("all "))
    assert float(share.split()[3].rstrip("%")) >= 95
    gaps = [n for home in api_names.names().values() for n in home if api_names.lacking(n)]
    assert all(f"  {name}\n" in done.stdout for name in gaps)


def test_a_share_below_the_mark_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what it is and what was asked for."""
    few = {"torch": {"torch.ones": 3, "torch.nowhere": 1}}
    monkeypatch.setattr(api_names, "names", lambda: few)
    monkeypatch.setattr(sys, "argv", ["api_names.py", "--fail-under", "51"])
    assert api_names.main() == 1
    out = capsys.readouterr().out
    assert "   1  torch.nowhere" in out
    assert "50.00 % is below the 51 %" in out
    monkeypatch.setattr(sys, "argv", ["api_names.py", "--fail-under", "50"])
    assert api_names.main() == 0
