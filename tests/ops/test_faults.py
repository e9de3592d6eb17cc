"""The checks catch what they are for: planted faults in made-up ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gpugrad import inplace, tape
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Op, elementwise, op
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec
from gpugrad.testing import OpCheckError, check_op
from gpugrad.testing.scratch import scratch

PLAIN = [Sample(A((3, 4)))]


def same(x: Spec, **settings: Any) -> Spec:
    """Result rule of an op that keeps shape and dtype."""
    return x


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    with scratch():
        yield


def product(rules: dict[str, Callable[..., Any]]) -> Op:
    """``a * a * b`` with these rules."""

    @elementwise(name="product_", samples=[Sample(A((2, 3)), A((3,)))])
    def product_(xp, a: Array, b: Array) -> Array:
        """Made up."""
        return a * a * b

    for name, rule in rules.items():
        product_.vjp(name)(rule)
    return product_


def da(xp, g, a, b):
    return g * 2 * a * b


def db(xp, g, a):
    return g * a * a


def caught(record: Op, check: str, **more: Any) -> None:
    """``check_op`` fails, through the check that is meant for it."""
    with pytest.raises(OpCheckError, match=f"{check}: "):
        check_op(record, **more)


def test_the_sound_op_passes() -> None:
    """Without a fault nothing is reported, so what follows is not noise."""
    check_op(product({"a": da, "b": db}))


FAULTY_RULES = {
    "off by 0.1 %": {"a": lambda xp, g, a, b: da(xp, g, a, b) * 1.001, "b": db},
    "operands swapped": {
        "a": lambda xp, g, a: db(xp, g, a), "b": lambda xp, g, a, b: da(xp, g, a, b)
    },
    "a factor dropped": {"a": lambda xp, g, a, b: g * a * b, "b": db},
    "wrong sign": {"a": da, "b": lambda xp, g, a: -db(xp, g, a)},
    "an argument forgotten": {"a": da},
    "g ignored": {"a": lambda xp, g, a, b: xp.ones_like(g) * 2 * a * b, "b": db},
    "one element wrong": {
        "a": lambda xp, g, a, b: da(xp, g, a, b) * _all_but_one(g), "b": db
    },
    "not differentiable again": {
        "a": lambda xp, g, a, b: da(xp, g, _constant(a), b), "b": db
    },
    "None": {"a": lambda xp, g: None, "b": db},
}  # fmt: skip


def _all_but_one(g: Any) -> np.ndarray[Any, Any]:
    mask = np.ones(g.shape)
    mask.reshape(-1)[:1] = 0.99
    if hasattr(g, "_array"):
        return F.wrap(mask)  # type: ignore[no-any-return]
    return mask


def _constant(x: Any) -> Any:
    return x.detach() if hasattr(x, "detach") else x


@pytest.mark.parametrize("fault", FAULTY_RULES)
def test_a_faulty_rule_is_caught(fault: str) -> None:
    """However a rule is wrong, finite differences see it."""
    caught(product(FAULTY_RULES[fault]), "gradient")


def test_a_rule_wrong_only_at_second_order_passes_the_first() -> None:
    """The message says which order it was."""
    caught(product(FAULTY_RULES["not differentiable again"]), "gradient: second derivative")


def test_a_missing_unbroadcast_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the tape left a gradient as large as the result, its shape would be seen."""
    monkeypatch.setattr(tape.engine, "fit", lambda g, shape, dtype, node: g)
    caught(product({"a": da, "b": db}), "gradient")


def test_an_unbroadcast_along_the_wrong_dim_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The right shape is not enough."""

    def take_first(g: Any, shape: Any, dtype: Any, node: Any) -> Any:
        while g.ndim > len(shape):
            g = g[0] * g.shape[0]
        return g

    monkeypatch.setattr(tape.engine, "fit", take_first)
    caught(product({"a": da, "b": db}), "gradient")


def test_wrong_result_rules_are_caught() -> None:
    """A shape or a dtype that is not what comes out."""

    @op(result=lambda x: Spec((*x.shape, 1), x.dtype), samples=PLAIN, differentiable=False)
    def wrong_shape(xp, x: Array) -> Array:
        """Made up."""
        return x + 1

    @op(result=lambda x: Spec(x.shape, registry_dtype()), samples=PLAIN, differentiable=False)
    def wrong_dtype(xp, x: Array) -> Array:
        """Made up."""
        return x + 1

    caught(wrong_shape, "result rule")
    caught(wrong_dtype, "result rule")


def registry_dtype() -> Any:
    """Some dtype."""
    from gpugrad import dtypes

    return dtypes.float64


def test_writing_to_an_input_is_caught() -> None:
    """The op must not use its input as scratch memory."""

    @op(result=same, samples=PLAIN, differentiable=False)
    def writes(xp, x: Array) -> Array:
        """Made up."""
        x[...] = 2 * x
        return x + 0

    caught(writes, "inputs untouched")


def test_an_alias_is_caught() -> None:
    """Returning the input, or a view of it, without being a view op."""

    @op(result=same, samples=PLAIN, differentiable=False)
    def alias(xp, x: Array) -> Array:
        """Made up."""
        return x

    @op(result=lambda x: Spec(x.shape[::-1], x.dtype), samples=PLAIN, differentiable=False)
    def hidden_view(xp, x: Array) -> Array:
        """Made up."""
        return x.T

    caught(alias, "own memory")
    caught(hidden_view, "own memory")


def test_an_order_in_memory_that_matters_is_caught() -> None:
    """Reading memory instead of elements."""

    @op(result=lambda x: Spec((x.size,), x.dtype), samples=PLAIN, differentiable=False)
    def reads_memory(xp, x: Array) -> Array:
        """Made up."""
        return x.copy(order="K").ravel(order="K")

    caught(reads_memory, "layouts")


def test_keeping_too_much_or_too_little_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph holds what the rules read and nothing else."""

    @elementwise
    def doubled(xp, a: Array) -> Array:
        """Made up."""
        return a + a

    @doubled.vjp
    def _(xp, g):
        return g + g

    check_op(doubled)
    init = tape.Plan.__init__

    def greedy(self: tape.Plan, *args: Any) -> None:
        init(self, *args)
        self.keep = (True,) * self.n_args
        self.kept = tuple(range(self.n_args))

    monkeypatch.setattr(tape.Plan, "__init__", greedy)
    doubled.plans.clear()
    caught(doubled, "kept")


def test_precision_lost_in_narrow_floats_is_caught() -> None:
    """Computing in float16 what overflows there."""

    @elementwise(half="native", domain=(0.0, 20.0))
    def through_exp(xp, a: Array) -> Array:
        """Made up."""
        return xp.log(xp.exp(a))

    caught(through_exp, "low precision")


def test_a_write_that_is_not_counted_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place and ``out=`` bump the version."""

    @elementwise(inplace=True)
    def doubled(xp, a: Array) -> Array:
        """Made up."""
        return a + a

    def quiet(target: Any, array: Any) -> None:
        target._array[...] = array

    monkeypatch.setattr(inplace, "write", quiet)
    caught(doubled, "in place")


def test_a_leaf_without_c_is_caught() -> None:
    """An elementwise op that calls the library past the leaves, or lacks the C of a kind."""

    @elementwise(c={"f": "({0} + {0})"})
    def floats_only(xp, a: Array) -> Array:
        """Made up."""
        return a + a

    caught(floats_only, "printed C")

    @elementwise(accepts="f")
    def past_the_leaves(xp, a: Array) -> Array:
        """Made up."""
        return a + 1 if hasattr(a, "strides") else xp.interp(a)

    caught(past_the_leaves, "printed C", only=["printed C"])


def test_no_samples_is_a_failure() -> None:
    """An op that nothing exercises does not count as tested."""

    @op(result=same)
    def untested(xp, x: Array) -> Array:
        """Made up."""
        return x + 0

    with pytest.raises(OpCheckError, match="no samples"):
        check_op(untested)
