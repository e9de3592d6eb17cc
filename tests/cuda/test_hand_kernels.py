"""The hand-written kernels on a device: as the CPU, run twice alike, in both widths of numbers."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import backends
from gpugrad.backends.nvidia import flat, patches, pooling, segments

F = gg.nn.functional
DTYPES = (gg.float32, gg.float64, gg.float16, gg.bfloat16)
#: Accepted error, relative and to the size of what is summed.
PRECISION = {gg.float32: 2e-6, gg.float64: 1e-13, gg.float16: 2e-3, gg.bfloat16: 1.6e-2}


@pytest.fixture(params=[32, 64])
def bits(request, monkeypatch):
    """Bits of an element's number, whatever the size."""
    for where in (pooling, patches, segments):
        monkeypatch.setattr(where, "bits_for", lambda *counts: request.param)
    return request.param


def numbers(*shape, dtype=gg.float32, seed=0):
    return gg.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def bytes_of(tensor):
    return tensor.detach().cpu().contiguous().view(gg.uint8).numpy().tobytes()


def agree(function, inputs, precision, forward=None):
    """Result and gradients on the device are the CPU's in float64, and twice the same bits.

    Args:
        forward: the accepted error of the result, where that is another one.
    """

    def run(device, wide):
        given = [x.to(gg.float64) if wide and x.dtype.is_floating_point else x for x in inputs]
        given = [x.to(device).detach() for x in given]
        for x in given:
            x.requires_grad_(x.dtype.is_floating_point)
        out = function(*given)
        weights = numbers(*out.shape, seed=9).to(inputs[0].dtype).to(out.dtype).to(device)
        out.backward(weights)
        return [out, *(x.grad for x in given if x.requires_grad)]

    first, again, want = run("cuda", False), run("cuda", False), run("cpu", True)
    for i, (a, b, c) in enumerate(zip(first, again, want, strict=True)):
        assert bytes_of(a) == bytes_of(b)
        error = precision if i or forward is None else forward
        size = max(float(c.detach().abs().max()), 1.0) if c.numel() else 1.0
        np.testing.assert_allclose(
            a.detach().cpu().double().numpy(), c.detach().numpy(), rtol=error, atol=error * size
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", [2, 31, 32, 33])
def test_pooling(side, dtype, bits):
    """Both layouts; rows of channels that 16 bytes divide, and others."""
    for channels in (3, 16):
        x = numbers(2, channels, side, 33, dtype=dtype)
        for laid in (gg.contiguous_format, gg.channels_last):
            given = x.contiguous(memory_format=laid)
            agree(lambda t: F.max_pool2d(t, 3, 2, 1, ceil_mode=True), [given], PRECISION[dtype])
            agree(lambda t: F.avg_pool2d(t, (3, 2), 2, 1, count_include_pad=False), [given],
                  PRECISION[dtype])  # fmt: skip


def test_16_bit_floats_go_in_as_they_are(monkeypatch):
    """Without a pass that casts them up, and one that casts the result down."""
    names = []
    real = flat.launch.kernel
    monkeypatch.setattr(flat.launch, "kernel",
                        lambda *args: (names.append(args[1]), real(*args))[1])  # fmt: skip
    x = numbers(2, 8, 6, 6, dtype=gg.bfloat16).cuda().requires_grad_()
    for function in (lambda t: F.max_pool2d(t, 2), lambda t: F.avg_pool2d(t, 2), F.dropout,
                     lambda t: F.unfold(t, 2)):  # fmt: skip
        function(x).sum().backward()
    found = {n.rsplit("_", 2)[0] for n in names if "bfloat16_" in n} | set(names)
    assert {"max_pool_bfloat16", "max_pool_grad_bfloat16", "avg_pool_bfloat16",
            "avg_pool_grad_bfloat16", "dropout_bfloat16", "im2col_2_32",
            "col2im_bfloat16_32"} <= found  # fmt: skip
    assert not [n for n in names if "float32" in n]


def test_pooling_of_lines_and_volumes():
    agree(lambda t: F.max_pool1d(t, 5, 3, 2), [numbers(3, 4, 1025)], 2e-6)
    agree(lambda t: F.avg_pool3d(t, 2, 1, 1), [numbers(2, 3, 5, 6, 33)], 2e-6)
    agree(lambda t: F.max_pool2d(t, 3, 1, 1, dilation=4), [numbers(2, 3, 31, 33)], 2e-6)


def test_largest_of_special_values():
    """NaN wins, places are PyTorch's, a window of -inf has one."""
    x = numbers(1, 2, 8, 8)
    x[0, 0, 2, 3] = float("nan")
    x[0, 1] = float("-inf")
    for a, b in zip(*(F.max_pool2d(t, 2, return_indices=True) for t in (x.cuda(), x)), strict=True):
        assert bytes_of(a) == bytes_of(b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_patches(dtype, bits):
    x = numbers(2, 3, 31, 33, dtype=dtype)
    for given in (x, x.contiguous(memory_format=gg.channels_last), x.transpose(2, 3)):
        agree(lambda t: F.unfold(t, (3, 2), 2, 1, (1, 2)), [given], PRECISION[dtype], 0)
    columns = numbers(2, 18, 16 * 30, dtype=dtype)
    agree(lambda t: F.fold(t, (18, 31), (3, 2)), [columns], PRECISION[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 31, 33, 1025, 4097])
def test_rows_of_a_table(n, dtype, bits):
    """Embedding forward and backward: few rows hit often, many seldom, and one by all."""
    rng = np.random.default_rng(n)
    for rows, width in ((7, 64), (3000, 8), (1, 3)):
        index = gg.from_numpy(rng.integers(0, rows, n)).cuda()
        agree(lambda t, index=index: F.embedding(index.to(t.device), t),
              [numbers(rows, width, dtype=dtype)], PRECISION[dtype], 0)  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
def test_scattering(reduce, dtype, bits):
    """Places along a middle dim, hit often."""
    index = gg.from_numpy(np.random.default_rng(1).integers(0, 5, (3, 200, 4)))
    src = numbers(3, 200, 4, dtype=dtype) * 0.02 + 1
    agree(lambda x, s: x.scatter_reduce(1, index.to(x.device), s, reduce),
          [numbers(3, 5, 4, dtype=dtype), src], 8 * PRECISION[dtype])  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_elements_along_a_dim(dtype, bits):
    index = gg.from_numpy(np.random.default_rng(1).integers(0, 31, (3, 100, 4)))
    agree(lambda t: t.gather(1, index.to(t.device)), [numbers(3, 31, 4, dtype=dtype)],
          PRECISION[dtype], 0)  # fmt: skip
    agree(lambda t: t.index_add(0, index[0, :, 0].to(t.device), t[:1].expand(100, 4)),
          [numbers(31, 4, dtype=dtype)], 4 * PRECISION[dtype])  # fmt: skip


@pytest.mark.parametrize("dtype", [gg.int64, gg.int32, gg.int8, gg.uint8, gg.bool])
def test_integers_are_combined_exactly(dtype):
    index = gg.from_numpy(np.random.default_rng(1).integers(0, 5, 300))
    values = gg.from_numpy(np.random.default_rng(2).integers(0, 99, 300)).to(dtype)
    for reduce in ("sum", "prod", "amax", "amin"):
        one, two = (gg.ones(5, dtype=dtype, device=d).scatter_reduce(
            0, index.to(d), values.to(d), reduce) for d in ("cuda", "cpu"))  # fmt: skip
        assert one.tolist() == two.tolist()


def test_an_index_out_of_range_raises():
    x = gg.ones(4, 2).cuda()
    for index in (gg.tensor([4]), gg.tensor([-5])):
        with pytest.raises(gg.errors.IndexingError, match="out of range"):
            x[index.cuda()]
        with pytest.raises(gg.errors.IndexingError, match="out of range"):
            x.gather(0, gg.stack([index, index], 1).cuda())


@pytest.mark.parametrize("n", [1, 31, 33, 1025, 70001])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_host_s_random_numbers(dtype, n):
    """Uniforms and integers to the bit, normals and exponentials to the last digits."""

    def drawn(device):
        gg.manual_seed(5)
        x = gg.empty(n, dtype=dtype, device=device)
        exact = [gg.rand(n, dtype=dtype, device=device), gg.randperm(n, device=device)]
        exact += [gg.randint(-3, high, (n,), device=device) for high in (7, 1 << 40)]
        return exact, [gg.randn(n, dtype=dtype, device=device), x.exponential_()]

    (exact, close), (exact_host, close_host) = drawn("cuda"), drawn("cpu")
    for a, b in zip(exact, exact_host, strict=True):
        assert bytes_of(a) == bytes_of(b)
    for a, b in zip(close, close_host, strict=True):
        error = PRECISION[dtype]
        np.testing.assert_allclose(a.cpu().double().numpy(), b.double().numpy(), error, error)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout(dtype):
    """The mask of the seed, for the gradient as well; no memory is kept for it."""
    for shape in ((1025,), (33, 7), (5, 4, 6)):
        x = numbers(*shape, dtype=dtype).cuda().requires_grad_()
        gg.manual_seed(3)
        y = F.dropout(x, 0.3)
        y.backward(gg.ones_like(y))
        gg.manual_seed(3)
        want = F.dropout(x.detach().cpu().to(y.dtype), 0.3)
        assert bytes_of(y) == bytes_of(want)
        kept = (want != 0).double().numpy()
        np.testing.assert_allclose(x.grad.cpu().double().numpy(), kept / 0.7, PRECISION[dtype])
        gg.manual_seed(3)
        turned = F.dropout(x.detach().transpose(0, -1), 0.3)
        gg.manual_seed(3)
        want = F.dropout(x.detach().cpu().transpose(0, -1), 0.3)
        assert bytes_of(turned) == bytes_of(want)


def test_the_gradient_of_a_vocabulary():
    """GPT-2's: 32,768 tokens of 768 numbers into 50,304 rows, often the same; twice alike."""
    small = backends.cuda().properties(0).multi_processor_count < 8
    tokens, rows, width = (1 << 9, 600, 64) if small else (1 << 15, 50304, 768)
    index = np.minimum(np.random.default_rng(0).zipf(1.2, tokens) - 1, rows - 1)
    g = numbers(tokens, width, dtype=gg.bfloat16)
    want = np.zeros((rows, width), "d")
    np.add.at(want, index, g.double().numpy())
    size = np.zeros((rows, 1))
    np.add.at(size, index, 1)
    found = []
    for _ in range(2):
        weight = gg.zeros(rows, width, dtype=gg.bfloat16, device="cuda", requires_grad=True)
        F.embedding(gg.from_numpy(index).cuda(), weight).backward(g.cuda())
        found.append(weight.grad)
    assert bytes_of(found[0]) == bytes_of(found[1])
    got = found[0].cpu().double().numpy()
    assert (np.abs(got - want) <= 8e-3 * np.abs(want) + 1e-5 * np.sqrt(size)).all()
