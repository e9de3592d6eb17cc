"""``ci/test_gpu.sh`` where there is no GPU, and the summary that it ends with."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpugrad as gg

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "ci" / "test_gpu.sh"
XML = """<testsuites><testsuite tests="{tests}" failures="{failed}" errors="0" skipped="{skipped}">
<testcase name="a"><skipped message="needs 17 GB"/></testcase></testsuite></testsuites>"""


def called(folder, *parts):
    """Exit status, output and errors of the script."""
    told = {**os.environ, "PYTHON": sys.executable, "OUT": str(folder / "out")}
    done = subprocess.run(["bash", str(SCRIPT), *parts], capture_output=True, text=True,
                          check=False, cwd=folder, env=told)  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(gg.cuda.is_available(), reason="a CUDA device is here")
def test_without_a_gpu_it_says_what_is_missing(tmp_path):
    """One line, its own exit status, and nothing written."""
    code, out, error = called(tmp_path, "ops")
    assert (code, out) == (3, "")
    assert error.count("\n") == 1
    assert "CUDA" in error
    assert not (tmp_path / "out").exists()


def test_a_part_that_does_not_exist(tmp_path):
    code, _, error = called(tmp_path, "ops", "nonsense")
    assert code == 2
    assert "no part 'nonsense'; accepted: all tests records ops" in error


@pytest.fixture
def summary():
    spec = importlib.util.spec_from_file_location("summary", ROOT / "ci" / "gpu" / "summary.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_summary_counts_and_fails(summary, tmp_path, monkeypatch, capsys):
    """A failure, a part that ran out of time, one that ran nothing, and one that passed."""
    monkeypatch.setattr(summary, "facts", lambda: {"date": "today", "devices": ["cpu", "cuda:0 X"]})
    (tmp_path / "parts.tsv").write_text("ops\t1\t5\npool\t124\t590\nlarge\t0\t2\ntests\t0\t9\n")
    (tmp_path / "ops.xml").write_text(XML.format(tests=10, failed=2, skipped=1))
    (tmp_path / "large.xml").write_text(XML.format(tests=4, failed=0, skipped=4))
    (tmp_path / "tests.xml").write_text(XML.format(tests=4, failed=0, skipped=1))
    assert summary.main(tmp_path) == 1
    text = capsys.readouterr().out
    assert text == (tmp_path / "summary.txt").read_text()
    assert text.startswith("today  cuda:0 X\n")
    assert text.endswith("FAILED: ops, pool\n")
    assert "FAILED (out of time)" in text
    assert "7 passed, 2 failed, 1 skipped" in text
    assert "skipped: needs 17 GB" in text
    parts = json.loads((tmp_path / "summary.json").read_text())["parts"]
    assert [p["verdict"] for p in parts][2:] == ["skipped", "passed"]
    assert (tmp_path / "results.tar.gz").stat().st_size
    (tmp_path / "parts.tsv").write_text("tests\t0\t9\n")
    assert summary.main(tmp_path) == 0
