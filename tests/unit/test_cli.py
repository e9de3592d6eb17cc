"""The command line as a newcomer meets it: what it prints, writes and exits with."""

import csv
import errno
import importlib.util
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad
from gpugrad import listing
from gpugrad.cli import driver, main, root
from gpugrad.io import load_file

FILES = ["config.json", "curves.png", "metrics.csv", "misread.png", "weights.safetensors"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process; exit status, stdout, stderr."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def call(*args: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(a) for a in args])
        out, err = capfd.readouterr()
        return int(exit_.value.code or 0), out, err

    return call


def process(*args: Any, **options: Any) -> subprocess.Popen[str]:
    """Start ``python -m gpugrad`` from this checkout."""
    env = {**os.environ, "PYTHONPATH": str(Path(gpugrad.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-m", "gpugrad", *map(str, args)],
        env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_the_module_runs_and_says_its_version() -> None:
    """``python -m gpugrad --version``."""
    child = process("--version")
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    assert out.strip() == f"gpugrad, version {gpugrad.__version__}"


def test_alone_it_shows_its_commands(run: Run) -> None:
    """Without arguments: the help, and a status that is no success."""
    status, _, err = run()
    assert status == 1
    assert all(f"  {name} " in err for name in ("train", "info", "ops"))


def test_nothing_of_the_command_line_is_loaded_with_the_package() -> None:
    """``import gpugrad`` loads neither click, rich, scikit-learn, matplotlib nor safetensors."""
    code = (
        "import sys, gpugrad; "
        "print(*{'click', 'rich', 'sklearn', 'matplotlib', 'safetensors'} & {*sys.modules})"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(gpugrad.__file__).parents[1])}
    out = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True)
    assert out.stdout.decode().strip() == ""


# ---- info --------------------------------------------------------------------------------------


def test_info_shows_where_things_run(run: Run) -> None:
    """Versions, devices, dtype, cache folder."""
    status, out, err = run("info")
    assert (status, err) == (0, "")
    for word in (np.__version__, "cpu", "float32", gpugrad.config.cache_dir, "ml-dtypes"):
        assert word in out


def test_info_says_how_to_install_what_is_missing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is not there is named with the extra that brings it."""
    real = metadata.version

    def version(name: str) -> str:
        if name == "matplotlib":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    assert "pip install 'gpugrad[demo]'" in run("info")[1]
    facts = json.loads(run("info", "--json")[1])
    assert facts["install"]["demo"] == "pip install 'gpugrad[demo]'"
    assert {"name": "matplotlib", "version": None, "extra": "demo", "for": "gpugrad train"} in (
        facts["packages"]
    )


@pytest.mark.parametrize(("cuda", "extra"), [((13, 0), "cuda13"), ((12, 4), "cuda12")])
def test_info_picks_the_extra_for_the_driver(
    run: Run, monkeypatch: pytest.MonkeyPatch, cuda: tuple[int, int], extra: str
) -> None:
    """A GPU that gpugrad cannot use yet is shown, with the command for its driver."""
    monkeypatch.setattr(driver, "find", lambda: driver.Driver(cuda, [("Some GPU", 80 * 2**30)]))
    monkeypatch.setattr(gpugrad.cuda, "device_count", lambda: 0)
    facts = json.loads(run("info", "--json")[1])
    assert facts["devices"] == ["cpu"]
    assert facts["no_cuda"].startswith("cuda:0 Some GPU, 80 GiB is here, but CuPy")
    assert any(p["extra"] == extra for p in facts["packages"])
    assert not any(p["extra"] == {"cuda13": "cuda12", "cuda12": "cuda13"}[extra]
                   for p in facts["packages"])  # fmt: skip


# ---- ops ---------------------------------------------------------------------------------------


def test_ops_lists_at_least_300(run: Run) -> None:
    """As JSON, each with what is known of it."""
    status, out, _ = run("ops", "--json")
    found = json.loads(out)
    assert status == 0
    assert len(found) >= 300
    assert len({e["name"] for e in found}) == len(found)
    (exp,) = [e for e in found if e["name"] == "exp"]
    assert (exp["kind"], exp["differentiable"], exp["inplace"]) == ("leaf", True, True)
    assert exp["signature"] == "exp(input)"
    assert exp["samples"] > 0


@pytest.mark.parametrize("entry", listing.entries(), ids=lambda e: e.name)
def test_every_listed_name_is_public(entry: listing.Entry) -> None:
    """Under its name and its aliases, with one line that says what it is."""
    assert entry.doc
    assert "\n" not in entry.doc
    for name in (entry.name, *entry.aliases):
        value: Any = gpugrad
        for part in name.split("."):
            value = getattr(value, part)
        assert callable(value) or isinstance(value, property)


def test_ops_can_be_searched(run: Run) -> None:
    """By a part of the name, or a glob."""
    assert run("ops", "logsum")[1].startswith("logsumexp(input, dim, keepdim=False)")
    found = json.loads(run("ops", "--json", "nn.functional.*")[1])
    assert "nn.functional.cross_entropy" in [e["name"] for e in found]
    for e in found:
        assert any(n.startswith("nn.functional.") for n in (e["name"], *e["aliases"]))
    assert run("ops", "nosuchop") == (
        1, "", "gpugrad: no op or function has 'nosuchop' in its name\n",
    )  # fmt: skip


def test_ops_makes_a_table_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With brackets in signatures left alone, and a count."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    assert "ops and functions" in run("ops", "logit")[1]


# ---- train digits ------------------------------------------------------------------------------


def quick(run: Run, out: Path, *more: Any) -> tuple[int, str, str]:
    """A short run that still learns something."""
    return run("train", "digits", "--epochs", 2, "--out", out, *more)


def test_a_run_leaves_everything_behind(run: Run, tmp_path: Path) -> None:
    """Weights that read the held-out digits as the metrics say, two pictures, the settings."""
    out = tmp_path / "runs" / "mine"
    status, printed, err = quick(run, out, "--seed", 3)
    assert (status, err) == (0, "")
    assert sorted(os.listdir(out)) == FILES
    with open(out / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["epoch"] for r in rows] == ["1", "2"]
    assert [int(r["samples"]) for r in rows] == [1437, 2874]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert all(int(r["memory_bytes"]) > 1e6 for r in rows)
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["seed"] == 3
    assert config["interrupted"] is False
    assert math.isclose(config["held_out_accuracy"], 1 - config["misread"] / 360)
    assert read_again(out, 3) == config["misread"]
    for name in ("curves.png", "misread.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
        assert (out / name).stat().st_size > 5000
    lines = printed.splitlines()
    assert lines[0].startswith("epoch")
    assert len(lines) == 6  # head, two epochs, a gap, the outcome, where it is
    assert "\x1b" not in printed


def read_again(out: Path, seed: int) -> int:
    """How many held-out digits a model with the saved weights misreads."""
    from gpugrad.train import digits

    with gpugrad.random.fork_rng():
        gpugrad.manual_seed(seed)
        split = digits.load(digits.Settings(seed=seed))
    model = gpugrad.models.DigitsCNN()
    weights = load_file(out / "weights.safetensors")
    assert weights.keys() == model.parameters.keys()
    model.parameters = weights
    return int((model(split.held_out_images).argmax(1) != split.held_out_labels).sum().item())


def test_the_seed_decides_every_bit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same seed, same bytes, in another process with more threads too; another seed, others."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert quick(run, tmp_path / name, "--seed", seed, "--quiet") == (0, "", "")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    child = process("train", "digits", "--epochs", 2, "--seed", 1, "--out", tmp_path / "d")
    child.communicate(timeout=120)
    a, b, c, d = ((tmp_path / n / "weights.safetensors").read_bytes() for n in "abcd")
    assert a == b == d
    assert a != c


@pytest.mark.slow
def test_the_defaults_reach_97_percent(run: Run, tmp_path: Path) -> None:
    """The main job, as README has it."""
    status, printed, err = run("train", "digits", "--out", tmp_path / "r", "--target", 97)
    assert (status, err) == (0, "")
    assert re.search(r"9[789]\.\d\d% of 360 held-out digits read correctly", printed)


def test_a_missed_target_fails_but_keeps_the_run(run: Run, tmp_path: Path) -> None:
    """Exit status 1, one line, all files."""
    status, _, err = quick(run, tmp_path / "r", "--lr", 1e-6, "--target", 99.5)
    assert status == 1
    assert err.count("\n") == 1
    assert "fewer than the target of 99.5 %" in err
    assert sorted(os.listdir(tmp_path / "r")) == FILES


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_saves_what_was_learnt(tmp_path: Path, number: int, status: int) -> None:
    """It ends between two steps, says where things are, and every file is complete."""
    out = tmp_path / "r"
    child = process("train", "digits", "--epochs", 100_000, "--out", out)
    assert child.stdout is not None
    seen = [child.stdout.readline() for _ in range(3)]
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == status
    assert seen[2].split()[0] == "2"
    assert re.fullmatch(
        rf"gpugrad: stopped in epoch \d+ at \d+\.\d\d% on held-out digits; "
        rf"what was learnt is in {re.escape(str(out))}/\n", err)  # fmt: skip
    assert sorted(os.listdir(out)) == FILES
    config = json.loads((out / "config.json").read_text())
    assert config["interrupted"] is True
    assert config["misread"] == read_again(out, 0)


def test_stopping_before_the_first_step_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing worth saving then."""
    from gpugrad.train import interrupt

    def stop(self: Any) -> bool:
        self.signal = signal.SIGINT
        return True

    monkeypatch.setattr(interrupt.Interruptible, "stop", stop)
    status, _, err = quick(run, tmp_path / "r")
    assert (status, err) == (130, "gpugrad: stopped before the first step; nothing to save\n")
    assert not os.listdir(tmp_path)


BAD = {
    "no epochs": (["--epochs", "0"], "'--epochs': 0 is not in the range"),
    "words for a number": (["--lr", "fast"], "'--lr': 'fast' is not a valid float"),
    "lr below 0": (["--lr", "-1"], "'--lr'"),
    "lr nan": (["--lr", "nan"], "got nan"),
    "lr far too large": (["--lr", "1e30"], "1e+30 is too large"),
    "empty batches": (["--batch-size", "0"], "'--batch-size'"),
    "negative seed": (["--seed", "-1"], "'--seed'"),
    "no such device": (["--device", "tpu"], "unknown device type 'tpu'; accepted: cpu, cuda"),
    "meta": (["--device", "meta"], "meta"),
    "target": (["--target", "101"], "'--target'"),
    "unknown option": (["--epoch", "1"], "No such option"),
    "argument": (["surplus"], "unexpected extra argument"),
    "out in /proc": (["--out", "/proc/nowhere/r"], "/proc/nowhere"),
}


@pytest.mark.parametrize(("args", "words"), BAD.values(), ids=BAD)
def test_bad_values_end_in_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], words: str
) -> None:
    """Exit status 1, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    status, _, err = run("train", "digits", *args)
    assert status == 1
    assert err.startswith("gpugrad: ")
    assert err.count("\n") == 1
    assert words in err
    assert not os.listdir(tmp_path)


def test_a_device_that_is_not_there_is_one_line(run: Run, tmp_path: Path) -> None:
    """``--device cuda`` without CuPy or a GPU says what is missing."""
    if gpugrad.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    status, _, err = quick(run, tmp_path / "r", "--device", "cuda")
    assert status == 1
    assert err.count("\n") == 1
    assert "cuda" in err.lower()
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(("said", "line"), [
    ("Unable to allocate 48 GiB", "gpugrad: out of memory: Unable to allocate 48 GiB"),
    ("", "gpugrad: out of memory"),
], ids=["with words", "without"])  # fmt: skip
def test_too_little_memory_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, said: str, line: str
) -> None:
    """Also where no op of gpugrad wanted it: the loader's windows of a text, say."""

    def greedy(**_options: Any) -> None:
        raise MemoryError(*filter(None, [said]))

    monkeypatch.setattr(root.root.commands["info"], "callback", greedy)
    status, out, err = run("info")
    assert (status, out, err.strip()) == (1, "", line)


def test_an_out_that_is_a_file_is_refused(run: Run, tmp_path: Path) -> None:
    """And left as it was."""
    (tmp_path / "r").write_text("mine")
    status, _, err = quick(run, tmp_path / "r")
    assert status == 1
    assert "is a file" in err
    assert (tmp_path / "r").read_text() == "mine"


def test_a_full_disk_keeps_the_earlier_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a new run never mixes with an old one."""
    out = tmp_path / "r"
    assert quick(run, out, "--quiet")[0] == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("gpugrad.train.pictures.curves", full)
    status, _, err = quick(run, out, "--seed", 9)
    assert status == 1
    assert err == f"gpugrad: {out}/curves.png: No space left on device\n"
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_missing_libraries_are_named_with_the_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is computed."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *a: None if name in ("sklearn", "matplotlib") else real(name, *a),
    )  # fmt: skip
    status, out, err = quick(run, tmp_path / "r")
    assert (status, out) == (1, "")
    assert err == (
        "gpugrad: training needs scikit-learn and matplotlib, not installed: "
        "pip install 'gpugrad[demo]'\n"
    )


def test_a_terminal_gets_a_moving_bar(tmp_path: Path) -> None:
    """Rows for what is done stay; the bar shows where things stand and goes at the end."""
    from rich.console import Console

    from gpugrad.train import digits, progress

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, soft_wrap=True)
    settings = digits.Settings(epochs=1, batch_size=512)
    with progress.Live(digits.Digits.columns, console) as watcher:
        run = digits.train(settings, watcher)
        run.tally.add(4, {"loss": 2.0, "accuracy": 3.0}, 0.004)
        watcher.on_step(run)
        watcher._progress.refresh()
    shown = screen.getvalue()
    assert "held-out accuracy" in shown
    assert f"{run.accuracy:.2%}" in shown
    assert "epoch 1/1" in shown
    assert "1,000 samples/s" in shown
    assert "MiB" in shown


def test_training_leaves_the_users_random_numbers_alone() -> None:
    """The job seeds generators for itself only."""
    from gpugrad.train import digits, progress

    gpugrad.manual_seed(7)
    expected = gpugrad.rand(3).numpy()
    gpugrad.manual_seed(7)
    digits.train(digits.Settings(epochs=1, batch_size=1000), progress.Silent())
    np.testing.assert_array_equal(gpugrad.rand(3).numpy(), expected)


def test_a_broken_package_is_not_mistaken_for_a_missing_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only click and rich are explained; any other import error is a fault to see."""
    monkeypatch.setitem(sys.modules, "gpugrad.cli.root", None)
    monkeypatch.delattr("gpugrad.cli.root", raising=False)
    with pytest.raises(ImportError):
        main(["--version"])
    assert root
