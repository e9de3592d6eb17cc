"""Grad modes: nesting, decorators, generators, threads, inference; anomaly mode."""

import threading

import pytest

import gpugrad as gg
from gpugrad.errors import AutogradError


@pytest.fixture
def x():
    return gg.ones(2, requires_grad=True)


def test_no_grad_and_enable_grad_nest(x):
    with gg.no_grad():
        assert not (x * 2).requires_grad
        with gg.enable_grad():
            assert (x * 2).requires_grad
        assert not gg.is_grad_enabled()
    assert (x * 2).requires_grad


def test_modes_are_put_back_after_an_exception():
    with pytest.raises(ZeroDivisionError), gg.no_grad():
        1 / 0  # noqa: B018
    assert gg.is_grad_enabled()


def test_decorators(x):
    @gg.no_grad()
    def with_call():
        return x * 2

    @gg.no_grad
    def bare():
        return x * 2

    @gg.inference_mode()
    def inference():
        return x * 2

    assert not any(f().requires_grad for f in (with_call, bare, inference))
    assert with_call.__name__ == "with_call"


def test_a_decorated_generator_switches_only_while_it_runs(x):
    @gg.no_grad()
    def items():
        yield gg.is_grad_enabled()
        yield gg.is_grad_enabled()

    seen = [(inside, gg.is_grad_enabled()) for inside in items()]
    assert seen == [(False, True), (False, True)]


def test_set_grad_enabled_acts_at_once_and_in_with(x):
    gg.set_grad_enabled(False)
    assert not gg.is_grad_enabled()
    gg.set_grad_enabled(True)
    with gg.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert gg.is_grad_enabled()


def test_modes_belong_to_a_thread():
    seen = []
    with gg.no_grad():
        thread = threading.Thread(target=lambda: seen.append(gg.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_inference_tensors_cannot_record_later(x):
    with gg.inference_mode():
        y = x * 2
    assert y.is_inference()
    assert not y.requires_grad
    with pytest.raises(AutogradError, match="inference"):
        y.requires_grad_()
    with pytest.raises(AutogradError, match="inference"):
        (y * x).sum().backward()


def test_anomaly_mode_names_the_forward_op_and_its_line():
    x = gg.zeros(1, dtype=gg.float64, requires_grad=True)
    with gg.autograd.detect_anomaly():
        y = (x.sqrt() * 0).sum()  # 0 * inf in the gradient of sqrt
        with pytest.raises(AutogradError, match=r"SqrtBackward0.*test_modes\.py:\d+"):
            y.backward()
    y = (x.sqrt() * 0).sum()
    y.backward()
    assert x.grad.isnan().all()


def test_stale_errors_name_the_forward_line_in_anomaly_mode(x):
    with gg.autograd.detect_anomaly():
        y = x * 1
        z = (y * y).sum()
    y.detach().zero_()
    with pytest.raises(AutogradError, match=r"called at .*test_modes\.py:\d+"):
        z.backward()
