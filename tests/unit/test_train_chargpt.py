"""``gpugrad train chargpt``: the text, the options, what it shows and what it refuses."""

import errno
import json
import math
import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gpugrad
from gpugrad.cli import main
from gpugrad.errors import SettingError
from gpugrad.io import load_file
from gpugrad.nn import functional as F
from gpugrad.train import chargpt
from gpugrad.train import text as job_text
from gpugrad.train.settings import CharGPT as Settings
from gpugrad.train.text import contents

FILES = {
    "best.safetensors", "checkpoint.safetensors", "config.json", "curves.png", "metrics.csv",
    "sample.txt", "weights.safetensors",
}  # fmt: skip
TEXT = "It was the best of times, it was the worst of times.\n" * 40
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Something to read."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def run(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: Path
) -> Run:
    """Run a tiny job in this process, into ``r``; exit status, stdout, stderr."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    small = {
        "text": text, "layers": 1, "width": 16, "heads": 2, "context": 16, "batch-size": 4,
        "steps": 12, "warmup": 5, "evaluate-every": 5, "sample": 8,
    }  # fmt: skip

    def call(*args: Any, plain: bool = False, **changes: Any) -> tuple[int, str, str]:
        given = {} if plain else {**small, **{k.replace("_", "-"): v for k, v in changes.items()}}
        words = [f"--{k}={v}" for k, v in given.items() if v is not None]
        with pytest.raises(SystemExit) as exit_:
            main(["train", "chargpt", f"--out={tmp_path / 'r'}", *words, *map(str, args)])
        out, err = capfd.readouterr()
        return int(exit_.value.code or 0), out, err

    return call


# ---- the text ----------------------------------------------------------------------------------


def held_out(path: Path, text: str, context: int = 16) -> tuple[str, str]:
    """Both parts of a text, as characters."""
    path.write_text(text)
    whole = job_text.load(str(path), context)
    return tuple(whole.decode(part.data) for part in job_text.split(whole))  # type: ignore[return-value]


def test_the_end_of_a_text_is_held_out(tmp_path: Path) -> None:
    """A tenth; of a long text no more than is worth measuring on."""
    path = tmp_path / "text"
    assert held_out(path, "abcdefghiä" * 100) == ("abcdefghiä" * 90, "abcdefghiä" * 10)
    assert [len(p) for p in held_out(path, "ab" * 800_000)] == [1_600_000 - (1 << 17), 1 << 17]
    with pytest.raises(SettingError, match="has 100 characters; a context of 16 needs at least"):
        held_out(path, "ab" * 50)


def test_texts_are_told_apart(tmp_path: Path) -> None:
    """By their characters, and by what is in them."""
    found = set()
    for text in ("abc" * 20, "abd" * 20, "acb" * 20, "abc" * 21):
        (tmp_path / "text").write_text(text)
        found.add(contents(job_text.load(str(tmp_path / "text"), 4)))
    assert len(found) == 4


def test_the_standard_library_is_the_text_by_default() -> None:
    """Its sources as found here, the same every time, and none of what was installed besides."""
    text = job_text.load(None, 64)
    assert str(text.root) == sysconfig.get_path("stdlib")
    assert text.vocabulary.isascii()
    assert contents(text) == contents(job_text.load(None, 64))
    whole = text.decode(text.data)
    assert len(whole) > 1_000_000
    assert "def namedtuple(" in whole
    assert "gpugrad" not in whole


def test_what_is_not_of_the_standard_library_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests, installed packages, other files, and what is not plain ASCII."""
    files = {
        "a.py": "A", "b/c.py": "BC", "b/test/d.py": "x", "site-packages/e.py": "y", "f.py": "\xf6",
        "g.txt": "z", "test/support/h.py": "w",
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content * 50, "utf-8")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    text = job_text.load(None, 4)
    assert set(text.vocabulary) == set("ABC")
    assert len(text.data) == 150


def test_without_sources_a_text_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some installations have none."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(SettingError, match=r"no sources of the standard library.*--text"):
        job_text.load(None, 64)


# ---- a run -------------------------------------------------------------------------------------


def test_a_run_leaves_everything_behind(run: Run, tmp_path: Path) -> None:
    """Losses on the screen, and in files what the screen says."""
    status, shown, err = run()
    assert (status, err) == (0, "")
    out = tmp_path / "r"
    assert set(os.listdir(out)) == FILES
    lines = shown.splitlines()
    assert lines[0].split() == [
        "step", "loss", "validation", "loss", "lr", "tokens/s", "memory", "seconds",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:4]] == ["5", "10", "12"]
    config = json.loads((out / "config.json").read_text())
    assert f"validation loss {config['validation_loss']:.3f} nats a character" in shown
    assert config["vocabulary"] == "".join(sorted(set(TEXT)))
    sample = (out / "sample.txt").read_text()
    assert len(sample) == 9
    assert sample[:-1] in shown
    assert load_file(out / "weights.safetensors")["wte.weight"].shape[0] == len(set(TEXT))


def test_the_validation_loss_is_that_of_the_held_out_text(run: Run, text: Path) -> None:
    """Every window of it once, computed here in one go."""
    trainer = chargpt.CharGPT(Settings(str(text), 1, 16, 2, 16, 4))
    trainer.model.eval()
    numbers = [trainer.text.vocabulary.index(c) for c in TEXT[int(0.9 * len(TEXT)) :]]
    count = (len(numbers) - 1) // 16
    x = gpugrad.tensor(numbers[: 16 * count]).reshape(count, 16)
    y = gpugrad.tensor(numbers[1 : 16 * count + 1])
    with gpugrad.no_grad():
        expected = F.cross_entropy(trainer.model(x).flatten(0, 1), y).item()
        assert math.isclose(trainer.measure()["validation_loss"], expected, rel_tol=1e-5)


def test_it_learns_a_text_by_heart(run: Run, tmp_path: Path) -> None:
    """One sentence again and again: soon there is little doubt."""
    assert run("--quiet", steps=150, lr=0.02, evaluate_every=150) == (0, "", "")
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert config["validation_loss"] < 0.5


def test_the_step_size_rises_and_falls(text: Path) -> None:
    """Along a line up, along a cosine down to a tenth, by steps or by the clock."""
    trainer = chargpt.CharGPT(Settings(str(text), 1, 16, 2, 16, 4, steps=100, warmup=10))
    assert [trainer._rate(s) for s in (0, 4, 9)] == [0.1, 0.5, 1.0]
    trainer.step = 50
    assert math.isclose(trainer._rate(50), 0.55)
    trainer.step = 100
    assert math.isclose(trainer._rate(100), 0.1)
    timed = chargpt.CharGPT(Settings(str(text), 1, 16, 2, 16, 4, minutes=2.0, warmup=10))
    timed.seconds = 60.0
    assert timed.share == 0.5
    assert math.isclose(timed._rate(50), 0.55)


def test_it_can_train_for_a_while(run: Run, tmp_path: Path) -> None:
    """Until the time is up, which is then the end of the schedule."""
    status, _, err = run(minutes=0.02, steps=None)
    assert (status, err) == (0, "")
    checkpoint = gpugrad.load(tmp_path / "r" / "checkpoint.safetensors")
    assert checkpoint["finished"] is True
    assert 1.2 <= checkpoint["run"]["seconds"] < 10
    assert checkpoint["run"]["rows"][-1]["lr"] < 0.13 * Settings().lr


def test_a_terminal_gets_a_moving_bar(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the step, the loss and the speed; square brackets in samples are left alone."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    shown = run()[1]
    assert "step 12/12" in shown
    assert "tokens/s" in shown
    assert "\x1b[" in shown


def test_libraries_are_asked_for_before_anything_is_done(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = run()
    assert (status, err) == (
        1, "gpugrad: training needs matplotlib, not installed: pip install 'gpugrad[demo]'\n",
    )  # fmt: skip


# ---- going on ----------------------------------------------------------------------------------


@pytest.fixture
def stopped(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that was stopped at step 7."""
    from gpugrad.train.trainer import Trainer

    real = Trainer.run
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", lambda self, stop: real(self, lambda: self.step == 7))
        status, _, err = run(lr=0.01)
    assert status >= 128
    assert "stopped at step 7; --resume goes on from" in err
    return tmp_path / "r"


def test_an_unfinished_run_is_not_replaced_by_accident(run: Run, stopped: Path) -> None:
    """It can go on, or be begun anew; a finished one is replaced."""
    before = (stopped / "checkpoint.safetensors").read_bytes()
    status, _, err = run()
    assert status == 1
    assert err == (
        f"gpugrad: {stopped}/checkpoint.safetensors is of a run that was stopped at step 7; "
        "--resume goes on with it, --restart begins anew\n"
    )
    assert (stopped / "checkpoint.safetensors").read_bytes() == before
    assert run("--restart")[0] == 0
    assert json.loads((stopped / "config.json").read_text())["settings"]["lr"] == Settings().lr
    assert run()[0] == 0


def test_it_goes_on_with_its_own_settings(run: Run, stopped: Path) -> None:
    """Those that may change are taken from the command line, and a finished run can be resumed."""
    status, shown, err = run("--resume", "--sample", "3", plain=True)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in shown.splitlines()[1:4]] == ["5", "10", "12"]
    assert json.loads((stopped / "config.json").read_text())["settings"]["lr"] == 0.01
    assert len((stopped / "sample.txt").read_text()) == 4
    again = run("--resume", "--sample", "3", plain=True)
    assert again[0] == 0
    assert again[1].splitlines()[:4] == shown.splitlines()[:4]


def test_other_settings_are_refused_with_both_sides(run: Run, stopped: Path) -> None:
    """All of them in one line."""
    status, _, err = run("--resume", "--lr=0.5", "--minutes=3", "--width=16", plain=True)
    assert status == 1
    assert err == (
        f"gpugrad: --resume goes on with the settings in {stopped}/checkpoint.safetensors, but "
        "--minutes is 3.0 now and was not given, --lr is 0.5 now and was 0.01; leave them away, "
        "or begin anew in another --out\n"
    )


def test_another_text_is_refused(run: Run, stopped: Path, text: Path, tmp_path: Path) -> None:
    """The same text in another file is not."""
    moved = tmp_path / "moved.txt"
    moved.write_text(TEXT)
    text.write_text(TEXT.replace("best", "Best"))
    status, _, err = run("--resume", plain=True)
    assert (status, err.count("\n")) == (1, 1)
    assert "belongs to a run with contents '2,120 characters, CRC-32 " in err
    assert run("--resume", f"--text={moved}", plain=True)[0] == 0


def test_a_damaged_checkpoint_is_one_line(run: Run, stopped: Path) -> None:
    """And so is none; a damaged one does not keep a run from beginning."""
    path = stopped / "checkpoint.safetensors"
    data = path.read_bytes()
    for damaged in (data[:1000], data[:-4], b"{}"):
        path.write_bytes(damaged)
        status, _, err = run("--resume", plain=True)
        assert (status, err.count("\n")) == (1, 1)
        assert str(path) in err
    assert run()[0] == 0
    path.unlink()
    assert run("--resume", plain=True) == (1, "", f"gpugrad: {path}: No such file or directory\n")


def test_a_full_disk_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last checkpoint stays, and the run goes on from it when there is room again."""
    assert run("--quiet")[0] == 0
    expected = (tmp_path / "r" / "weights.safetensors").read_bytes()
    real = os.replace

    def full(source: Any, target: Any) -> None:
        if gpugrad.load(source, mmap=False).get("run", {}).get("step") == 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    path = tmp_path / "r" / "checkpoint.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda a, b: (full if str(b) == str(path) else real)(a, b))
        status, _, err = run("--quiet", checkpoint_every=4)
    assert (status, err) == (1, f"gpugrad: {path}: No space left on device\n")
    assert gpugrad.load(path)["run"]["step"] == 4
    assert run("--resume", "--quiet", plain=True) == (0, "", "")
    assert (tmp_path / "r" / "weights.safetensors").read_bytes() == expected


# ---- what is refused ---------------------------------------------------------------------------


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such text": ({"text": "/nowhere"}, "'/nowhere' does not exist"),
    "text is a folder": ({"text": "."}, "is a directory"),
    "heads": ({"heads": 3}, "--width 16 is not a multiple of --heads 3"),
    "steps and minutes": ({"minutes": 1}, "--steps and --minutes exclude each other"),
    "no minutes": ({"minutes": 0, "steps": None}, "'--minutes'"),
    "minutes nan": ({"minutes": "nan", "steps": None}, "takes a finite number, got nan"),
    "lr infinite": ({"lr": "inf"}, "takes a finite number, got inf"),
    "all dropped": ({"dropout": 1}, "'--dropout'"),
    "context too long": ({"context": 300}, "2120 characters; a context of 300 needs at least"),
    "no steps": ({"steps": 0}, "'--steps'"),
    "device": ({"device": "tpu"}, "unknown device type 'tpu'"),
    "out": ({"out": "/proc/nowhere"}, "/proc/nowhere"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), BAD.values(), ids=BAD)
def test_bad_values_end_in_one_line(
    run: Run, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    """Exit status 1, and nothing is written."""
    status, shown, err = run("--quiet", **changes)
    assert (status, shown) == (1, "")
    assert err.startswith("gpugrad: ")
    assert err.count("\n") == 1
    assert words in err
    assert not (tmp_path / "r").exists()


def test_a_text_must_be_utf_8(run: Run, text: Path) -> None:
    """The file is named."""
    text.write_bytes(b"\xff\xfe" * 2000)
    status, _, err = run()
    assert (status, err.count("\n")) == (1, 1)
    assert f"{text}: not UTF-8" in err


def test_a_loss_that_is_no_number_ends_the_run(run: Run, tmp_path: Path) -> None:
    """With one line that says what to do; the checkpoint is the last good one."""
    status, _, err = run(lr=1e30, checkpoint_every=1)
    assert (status, err.count("\n")) == (1, 1)
    assert "lr 1e+30 is too large, try 1e+29" in err
    path = tmp_path / "r" / "checkpoint.safetensors"
    kept = gpugrad.load(path)["run"]
    assert f"{path} is of step {kept['step']}" in err
    assert all(w.isfinite().all() for w in kept["model"].values())


def test_a_loss_that_is_no_number_can_be_let_pass(run: Run, tmp_path: Path) -> None:
    """The run goes to its end, and every file can be read."""
    status, _, err = run("--no-fail-on-nan", "--quiet", lr=1e30)
    assert (status, err) == (0, "")
    config = json.loads((tmp_path / "r" / "config.json").read_text(), parse_constant=pytest.fail)
    assert config["validation_loss"] is None
