"""Files are whole or absent, and tensors come back as they were."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad
from gpugrad import dtypes, io
from gpugrad.errors import ArgumentError, FileFormatError, NotSupportedError


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """The new contents appear at the end of the block, with ordinary permissions."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    with io.replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    (tmp_path / "b").touch()
    assert target.stat().st_mode == (tmp_path / "b").stat().st_mode
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """And nothing beside it."""
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with io.replacing(target) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_is_filled_at_the_end(tmp_path: Path) -> None:
    """Files of the block replace those of the same name; others stay."""
    folder = tmp_path / "x" / "y"
    folder.mkdir(parents=True)
    (folder / "a").write_text("old")
    (folder / "other").write_text("mine")
    with io.staged(folder) as stage:
        (stage / "a").write_text("new")
        (stage / "b").write_text("new")
        assert (folder / "a").read_text() == "old"
    assert {p.name: p.read_text() for p in folder.iterdir()} == {
        "a": "new", "b": "new", "other": "mine",
    }  # fmt: skip


def test_a_failed_folder_is_as_it_was(tmp_path: Path) -> None:
    """What was there stays; folders that were made for it go again."""
    (tmp_path / "a").write_text("old")

    def fail(folder: Path) -> None:
        with io.staged(folder) as stage:
            (stage / "a").write_text("new")
            raise ValueError("no")

    for folder in (tmp_path, tmp_path / "x" / "y"):
        with pytest.raises(ValueError, match="no"):
            fail(folder)
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error has the folder that was asked for, not a temporary name."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/x") as caught, io.staged(tmp_path / "file" / "x"):
        pass
    assert caught.value.filename == str(tmp_path / "file" / "x")


def tensors() -> dict[str, Any]:
    """One of each dtype, and odd layouts."""
    found = {d.name: gpugrad.Tensor([0.0, 1.0, 2.0]).to(d) for d in dtypes.ALL}
    found["turned"] = gpugrad.from_numpy(np.arange(6.0).reshape(2, 3).T)
    found["0-d"] = gpugrad.from_numpy(np.array(3.0))
    found["empty"] = gpugrad.from_numpy(np.zeros((0, 3)))
    found["wants a gradient"] = gpugrad.from_numpy(np.ones(2)).requires_grad_()
    return found


def test_tensors_come_back(tmp_path: Path) -> None:
    """Values, dtypes and shapes; in memory of their own, which may be written."""
    path = tmp_path / "t.safetensors"
    io.save_file(tensors(), path, {"made": "here"})
    loaded = io.load_file(path)
    assert loaded.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert loaded[name].dtype is tensor.dtype
        assert loaded[name].shape == tensor.shape
        np.testing.assert_array_equal(loaded[name].numpy(), tensor.detach().numpy())
        assert loaded[name].numpy().flags.writeable


def test_the_same_tensors_are_the_same_bytes(tmp_path: Path) -> None:
    """In whatever order they are given."""
    io.save_file(tensors(), tmp_path / "a")
    io.save_file(dict(reversed(tensors().items())), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_readers_understand_the_file(tmp_path: Path) -> None:
    """The library's own reader sees the same."""
    from safetensors.numpy import load_file

    io.save_file({"x": gpugrad.from_numpy(np.arange(3.0))}, tmp_path / "a")
    np.testing.assert_array_equal(load_file(tmp_path / "a")["x"], [0.0, 1.0, 2.0])


def test_what_is_no_file_of_tensors_is_refused(tmp_path: Path) -> None:
    """One clear error each."""
    with pytest.raises(ArgumentError, match="got int for 'x'"):
        io.save_file({"x": 1}, tmp_path / "a")  # type: ignore[dict-item]
    assert not os.listdir(tmp_path)
    (tmp_path / "a").write_bytes(b"not a tensor in sight")
    with pytest.raises(FileFormatError, match="not a safetensors file"):
        io.load_file(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        io.load_file(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere/x'"):
        io.save_file({}, tmp_path / "nowhere" / "x")
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(2, np.uint32)}, tmp_path / "u")
    with pytest.raises(NotSupportedError, match="'x' has dtype 'U32'"):
        io.load_file(tmp_path / "u")
