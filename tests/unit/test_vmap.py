"""``func``: what PyTorch cannot be compared with: any op, draws, words of errors, modules."""

import pytest

import gpugrad as gg
from gpugrad import func
from gpugrad.errors import ArgumentError, AutogradError, SettingError, ShapeError


def test_any_function_can_be_mapped() -> None:
    """Also one that looks at values, which no batching rule could."""

    def steps(x):
        n = 0
        while x.item() > 1:
            x, n = x / 2, n + 1
        return gg.tensor(n)

    assert gg.vmap(steps)(gg.tensor([1.0, 8.0, 3.0])).tolist() == [0, 3, 2]


def test_a_result_that_no_call_changes() -> None:
    whole = gg.ones(3)
    a, b = gg.vmap(lambda x: (x, whole), out_dims=(0, None))(gg.zeros(2))
    assert a.shape == (2,)
    assert b is whole


def test_draws() -> None:
    """The same draw in every call takes one from the generator; a refused one takes none."""

    def noisy(x):
        return x + gg.rand(())

    x = gg.zeros(3)
    gg.manual_seed(1)
    after = [gg.rand(()).item() for _ in range(4)]
    gg.manual_seed(1)
    assert gg.vmap(noisy, randomness="same")(x).tolist() == after[:1] * 3
    assert gg.rand(()).item() == after[1]
    gg.manual_seed(1)
    assert gg.vmap(noisy, randomness="different")(x).tolist() == after[:3]
    gg.manual_seed(1)
    with pytest.raises(AutogradError, match="randomness='different' or 'same'"):
        gg.vmap(noisy)(x)
    assert gg.rand(()).item() == after[0]


def test_words_of_errors() -> None:
    with pytest.raises(ShapeError, match=r"differ in size: \[2, 3\]"):
        gg.vmap(lambda a, b: a)(gg.ones(2), gg.ones(3))
    with pytest.raises(SettingError, match="size 0"):
        gg.vmap(lambda a: a)(gg.ones(0, 2))
    with pytest.raises(SettingError, match="'some'; accepted: 'error', 'different', 'same'"):
        gg.vmap(lambda a: a, randomness="some")
    with pytest.raises(ArgumentError, match="must return tensors, got int"):
        gg.vmap(lambda a: 1)(gg.ones(2))
    with pytest.raises(ArgumentError, match=r"in_dims: \(0,\) has not the form of tuple"):
        gg.vmap(lambda a, b: a, in_dims=(0,))(gg.ones(2), gg.ones(2))


def test_a_derivative_leaves_no_trace() -> None:
    """No ``.grad``, no history, whether it is taken once or of itself."""
    x = gg.ones(3, requires_grad=True)
    for f in (func.grad(lambda a: (a**3).sum()), func.jacrev(lambda a: a**2),
              func.hessian(lambda a: (a**3).sum())):  # fmt: skip
        assert f(x).requires_grad
        assert not f(x.detach()).requires_grad
        with gg.no_grad():
            assert not f(x).requires_grad
    assert x.grad is None


def test_a_module_is_put_back() -> None:
    model = gg.nn.Linear(2, 2)
    own = model.weight
    other = gg.zeros(2, 2, requires_grad=True)
    out = func.functional_call(model, {"weight": other}, gg.ones(2))
    assert out.tolist() == model.bias.tolist()
    with pytest.raises(ShapeError):
        func.functional_call(model, {"weight": gg.zeros(2, 3)}, gg.ones(2))
    assert model.weight is own
    out.sum().backward()
    assert other.grad.tolist() == [[1, 1], [1, 1]]
    assert own.grad is None


def test_tied_weights_stay_tied() -> None:
    model = gg.nn.Sequential(gg.nn.Linear(2, 2, bias=False), gg.nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    doubled = {"0.weight": 2 * gg.eye(2)}
    x = gg.tensor([1.0, 1.0])
    assert func.functional_call(model, doubled, x).tolist() == [4, 4]
    loose = func.functional_call(model, doubled, x, tie_weights=False)
    assert loose.tolist() == model[1](2 * x).tolist()
    with pytest.raises(SettingError, match="one tensor and were given several"):
        func.functional_call(model, {**doubled, "1.weight": gg.eye(2)}, x)
    with pytest.raises(SettingError, match=r"missing \['1.weight'\], unexpected nothing"):
        func.functional_call(model, doubled, x, strict=True)


def test_buffers_take_what_is_written_to_them() -> None:
    model = gg.nn.BatchNorm1d(2)
    mean = gg.zeros(2)
    func.functional_call(model, {"running_mean": mean}, gg.ones(4, 2))
    assert mean.tolist() == pytest.approx([0.1, 0.1])
    assert model.running_mean.tolist() == [0, 0]


def test_state_of_unlike_modules_is_not_stacked() -> None:
    for models in ([], [gg.nn.Linear(1, 1), gg.nn.ReLU()], [gg.nn.ReLU(), gg.nn.ReLU().eval()]):
        with pytest.raises(SettingError, match="stack_module_state"):
            func.stack_module_state(models)
