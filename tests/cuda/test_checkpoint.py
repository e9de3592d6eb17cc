"""Checkpoints of tensors on a CUDA device: they go back there, or where map_location says."""

import io

import numpy as np
import pytest

import gpugrad as gg


def saved(obj):
    file = io.BytesIO()
    gg.save(obj, file)
    return file.getvalue()


def load(data, **settings):
    return gg.load(io.BytesIO(data), **settings)


@pytest.mark.parametrize("dtype", [gg.float32, gg.bfloat16, gg.float16, gg.int64, gg.bool])
def test_tensors_come_back_to_their_device(dtype):
    x = gg.arange(6).reshape(2, 3).to(dtype).cuda()
    for value in (x, x[0, 0], x[:0]):
        found = load(saved(value))
        assert (found.device, found.dtype, found.shape) == (x.device, dtype, value.shape)
        assert found.tolist() == value.tolist()


def test_views_share_memory_on_the_device():
    x = gg.arange(12.0, device="cuda").reshape(3, 4)
    wide = x[:1].expand(5, 4)
    values = {"x": x, "row": x[1], "t": x.t(), "column": x[:, 2], "wide": wide, "again": x}
    for where in (None, "cuda:0", "cpu"):
        found = load(saved(values), map_location=where)
        assert found["again"] is found["x"]
        assert found["t"].stride() == (1, 4)
        assert found["wide"].tolist() == wide.tolist()
        found["x"][1, 2] = 100.0
        assert found["row"][2] == found["t"][2, 1] == found["column"][1] == 100


def test_a_lone_column_is_copied():
    found = load(saved(gg.arange(12.0, device="cuda").reshape(3, 4)[:, 1]))
    assert found.tolist() == [1, 5, 9]
    assert found.is_contiguous()


def test_map_location_moves():
    data = saved({"a": gg.ones(2, device="cuda"), "b": gg.zeros(2), "n": np.ones(2)})
    assert {t.device.type for t in load(data, map_location="cpu").values() if t is not None
            and isinstance(t, gg.Tensor)} == {"cpu"}  # fmt: skip
    found = load(data, map_location="cuda")
    assert (found["a"].is_cuda, found["b"].is_cuda) == (True, True)
    assert isinstance(found["n"], np.ndarray)
    found = load(data, map_location={"cpu": "cuda:0", "cuda:0": "cpu"})
    assert (found["a"].is_cuda, found["b"].is_cuda) == (False, True)
    found = load(data, map_location=lambda storage, place: storage.cuda())
    assert (found["a"].is_cuda, found["b"].is_cuda) == (True, True)
    assert load(data, map_location=lambda storage, place: storage)["a"].tolist() == [1, 1]


def test_a_run_goes_on_from_its_checkpoint():
    gg.manual_seed(0)
    model = gg.nn.Linear(3, 2).cuda()
    optimizer = gg.optim.AdamW(model.parameters(), 0.1)

    def step():
        model(gg.randn(4, 3, device="cuda")).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    state = [model.state_dict(), optimizer.state_dict(), gg.cuda.get_rng_state()]
    data = saved(state)
    step()
    expected = model.weight.tolist()
    for where in (None, "cpu"):
        weights, moments, random = load(data, map_location=where)
        model.load_state_dict(weights)
        optimizer.load_state_dict(moments)
        gg.cuda.set_rng_state(random)
        step()
        assert model.weight.tolist() == expected
