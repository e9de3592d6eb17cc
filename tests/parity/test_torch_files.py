"""Files that PyTorch itself wrote are read as PyTorch reads them."""

import io
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import FileFormatError
from gpugrad.io.values import STORED

torch = pytest.importorskip("torch")

#: How a file can be written.
FORMATS: dict[str, dict[str, Any]] = {
    "zip": {}, "protocol 4": {"pickle_protocol": 4}, "protocol 5": {"pickle_protocol": 5},
    "before 1.6": {"_use_new_zipfile_serialization": False},
}  # fmt: skip


def written(obj: Any, **how: Any) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(obj, file, **how)
    file.seek(0)
    return file


def same(ours: Any, theirs: Any, where: str = "obj") -> None:
    """Types, values, bits and strides agree."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, gg.nn.Parameter) == isinstance(theirs, torch.nn.Parameter), where
        assert ours.requires_grad == theirs.requires_grad, where
        assert repr(ours.dtype).split(".")[1] == repr(theirs.dtype).split(".")[1], where
        assert tuple(ours.shape) == tuple(theirs.shape), where
        assert ours.is_meta == theirs.is_meta, where
        if not ours.is_meta:
            flat = theirs.detach().contiguous().reshape(-1).view(torch.uint8)
            assert ours.numpy(force=True).tobytes() == flat.numpy().tobytes(), where
            assert ours.numel() == 0 or ours.stride() == theirs.stride(), where
    elif isinstance(theirs, dict):
        assert type(ours) is type(theirs), where
        assert list(ours) == list(theirs), where
        for key in theirs:
            same(ours[key], theirs[key], f"{where}[{key!r}]")
    elif isinstance(theirs, list | tuple) and type(theirs) is not torch.Size:
        assert type(ours) is type(theirs), where
        assert len(ours) == len(theirs), where
        for i, value in enumerate(theirs):
            same(ours[i], value, f"{where}[{i}]")
    else:
        assert repr(ours).split(".")[-1] == repr(theirs).split(".")[-1], where


class Block(torch.nn.Module):
    """A residual block, as vision models have them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(width)
        self.conv2 = torch.nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(width)

    def forward(self, x: Any) -> Any:
        return x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    made = torch.nn.Sequential(Block(4), Block(4), torch.nn.Flatten(), torch.nn.Linear(64, 2))
    made[1].conv2.weight = made[0].conv1.weight  # tied
    return made.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("how", FORMATS.values(), ids=FORMATS)
def test_a_model_and_its_optimiser(how: dict[str, Any], model: Any) -> None:
    """State dicts come whole, tied weights tied, versions of modules included."""
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, amsgrad=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 10)
    for _ in range(2):
        model(torch.randn(2, 4, 4, 4)).square().sum().backward()
        optimizer.step()
        schedule.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    found = gg.load(written(state, **how))
    same(found, state)
    assert found["model"]._metadata == state["model"]._metadata
    found["model"]["0.conv1.weight"].zero_()
    assert not found["model"]["1.conv2.weight"].any()
    assert found["model"]["0.conv2.weight"].any()


VALUES: dict[str, Any] = {
    "dtypes": [torch.tensor([0, 1, 3]).to(getattr(torch, d.name)) for d in STORED],
    "floats": [torch.tensor([float("nan"), float("inf"), -0.0, 1e-40]).to(d)
               for d in (torch.bfloat16, torch.float16, torch.float32, torch.float64)],
    "shapes": [torch.tensor(3.0), torch.zeros(0), torch.zeros(2, 0, 3), torch.ones(1, 1, 1)],
    "views": (lambda x: [x, x.t(), x[1], x[:, ::2], x[0:1].expand(4, 4)])(
        torch.arange(12.0).reshape(3, 4)),
    "leaves": [torch.ones(2, requires_grad=True), torch.nn.Parameter(torch.ones(2)),
               torch.nn.Parameter(torch.ones(2), False)],
    "meta": torch.zeros(2, 3, device="meta"),
    "containers": {"a": [1, (2, 3.5), None, True], 4: {"b": b"x"}, (5, 6): OrderedDict(z=1)},
    "numbers": [0, -1, 2**40, 2**80, 0.1, float("inf"), float("nan"), 1 + 2j],
    "torch's own": [torch.float32, torch.bfloat16, torch.device("cpu"), torch.device("cuda", 1),
                    torch.Size([2, 3]), torch.strided],
    "NumPy": [np.float64(0.5), np.float32(0.1), np.int64(3), np.bool_(True)],
    "a random state": torch.get_rng_state(),
    "a long text": "ä" * 10_000,
}  # fmt: skip


@pytest.mark.parametrize("how", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_values_are_the_same(value: Any, how: dict[str, Any]) -> None:
    """Bit for bit, in each of the formats."""
    same(gg.load(written(value, **how)), value)


def test_views_share_memory() -> None:
    """A write through one is seen through the others, and counted."""
    x = torch.arange(12.0).reshape(3, 4)
    a, b, c = gg.load(written([x, x[1], x.t()]))
    a[1, 2] = 100
    assert b[2] == c[2, 1] == 100
    assert b.storage_offset() == 4


@pytest.mark.parametrize("how", FORMATS.values(), ids=FORMATS)
def test_whole_modules_and_their_classes_are_refused(how: dict[str, Any], model: Any) -> None:
    """With the way out: its state_dict()."""
    message = r"asks for torch\.nn\.\S*Sequential, which is code .* save its state_dict\(\)"
    with pytest.raises(FileFormatError, match=message):
        gg.load(written(model, **how))


def test_files_on_disk_can_be_mapped(model: Any, tmp_path: Path) -> None:
    """As with PyTorch's own ``mmap=True``."""
    torch.save(model.state_dict(), tmp_path / "m.pt")
    same(gg.load(tmp_path / "m.pt", mmap=True), model.state_dict())
    torch.save(model.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    same(gg.load(tmp_path / "old.pt", mmap=True), model.state_dict())


def test_files_without_checksums_are_read(model: Any) -> None:
    """PyTorch can leave them out."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        file = written(model.state_dict())
    finally:
        torch.serialization.set_crc32_options(before)
    same(gg.load(file), model.state_dict())


def test_weights_go_from_pytorch_to_gpugrad() -> None:
    """And the outputs agree."""
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    ours = gg.nn.Sequential(gg.nn.Linear(3, 4), gg.nn.ReLU(), gg.nn.Linear(4, 2))
    ours.load_state_dict(gg.load(written(theirs.state_dict())))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("f4")
    np.testing.assert_allclose(
        ours(gg.from_numpy(x)).detach().numpy(), theirs(torch.from_numpy(x)).detach().numpy(),
        rtol=1e-6, atol=1e-6,
    )  # fmt: skip


def test_safetensors_files_are_the_same_either_way(tmp_path: Path) -> None:
    """The safetensors library writes PyTorch's tensors, and reads ours."""
    theirs = pytest.importorskip("safetensors.torch")
    tensors = {"w": torch.randn(2, 3).bfloat16(), "b": torch.tensor([True, False])}
    theirs.save_file(tensors, tmp_path / "a", {"format": "pt"})
    same(dict(sorted(gg.load(tmp_path / "a").items())), dict(sorted(tensors.items())))
    ours = {"w": gg.load(tmp_path / "a")["w"], "t": gg.arange(6).reshape(2, 3).t()}
    gg.save(ours, tmp_path / "b")
    found = theirs.load_file(tmp_path / "b")
    assert torch.equal(found["w"], tensors["w"])
    assert found["t"].tolist() == list(range(6))  # as it lies in memory
