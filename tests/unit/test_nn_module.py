"""Modules: registration, the tree, state dicts, hooks, conversion, containers; as PyTorch has them.

A test marked ``torch`` runs one story on both libraries and compares what it tells.
"""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections import OrderedDict
from types import ModuleType
from typing import Any

import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.errors import ArgumentError, DTypeError, NotSupportedError, ShapeError


def both(story: Any) -> None:
    """Run a story on gpugrad and on PyTorch; what it returns must be the same."""
    torch = pytest.importorskip("torch")
    assert plain(story(gg)) == plain(story(torch))


def plain(value: Any) -> Any:
    """Nested tensors as lists, so that two libraries can be compared."""
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, str):
        return value.replace("gpugrad.", "torch.")
    return value.tolist() if hasattr(value, "tolist") else value


def layer(lib: ModuleType, out: int = 2, inp: int = 3) -> Any:
    """A linear layer with known weights, a buffer and a buffer that is not saved."""

    class Dense(lib.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.weight = lib.nn.Parameter(lib.arange(float(out * inp)).reshape(out, inp) / 4)
            self.bias = lib.nn.Parameter(lib.ones(out))
            self.register_buffer("seen", lib.zeros(1))
            self.register_buffer("scratch", lib.zeros(2), persistent=False)

        def forward(self, x: Any, scale: float = 1.0) -> Any:
            return (x @ self.weight.T + self.bias) * scale

        def extra_repr(self) -> str:
            return f"{out}, {inp}"

    return Dense()


def model(lib: ModuleType) -> Any:
    """Two layers in a Sequential in a module that shares one weight."""

    class Net(lib.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = lib.nn.Sequential(layer(lib, 3, 3), layer(lib))
            self.heads = lib.nn.ModuleDict({"a": layer(lib), "b": lib.nn.ModuleList()})
            self.heads.a.weight = self.layers[1].weight
            self.missing = None
            self.register_parameter("nothing", None)

        def forward(self, x: Any) -> Any:
            return self.layers(x) + self.heads["a"](x)

    return Net()


# ---- parameters and buffers --------------------------------------------------------------------


def test_a_parameter_is_a_leaf_over_the_memory_of_its_data() -> None:
    """It shares memory, has no history, and requires a gradient unless told otherwise."""
    data = gg.ones(2) * 3
    p = nn.Parameter(data)
    assert isinstance(p, gg.Tensor)
    assert p.is_leaf
    assert p.requires_grad
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    data[0] = 7
    assert p.tolist() == [7.0, 3.0]
    assert type(p * 2) is gg.Tensor
    assert nn.Parameter().shape == (0,)


def test_parameter_repr_deepcopy_and_pickle() -> None:
    """A copy is a Parameter with the same values and no gradient."""
    p = nn.Parameter(gg.tensor([1.0, 2.0]))
    assert repr(p) == "Parameter containing:\ntensor([1., 2.], requires_grad=True)"
    (p * p).sum().backward()
    twin = copy.deepcopy(p)
    assert type(twin) is nn.Parameter
    assert twin.grad is None
    assert p.grad is not None
    again = pickle.loads(pickle.dumps(p))
    assert type(again) is nn.Parameter
    assert again.requires_grad
    assert again.tolist() == [1.0, 2.0]


def test_bad_parameters_are_refused() -> None:
    """Data that is no tensor, integers that should gather a gradient, computed tensors."""
    with pytest.raises(ArgumentError, match="data must be a Tensor, got list"):
        nn.Parameter([1.0])
    with pytest.raises(DTypeError, match="only floating tensors can require gradients"):
        nn.Parameter(gg.tensor([1]))
    module = nn.Module()
    with pytest.raises(ArgumentError, match="cannot assign 'Tensor' as parameter 'x'"):
        module.register_parameter("x", gg.ones(2))  # type: ignore[arg-type]


def test_a_buffer_registers_itself() -> None:
    """``Buffer`` says whether it is saved."""
    module = nn.Module()
    module.a = nn.Buffer(gg.ones(1))
    module.b = nn.Buffer(gg.ones(1), persistent=False)
    assert [n for n, _ in module.named_buffers()] == ["a", "b"]
    assert list(module.state_dict()) == ["a"]
    module.a = gg.zeros(1)
    assert module.state_dict()["a"].item() == 0


# ---- registration ------------------------------------------------------------------------------


@pytest.mark.torch
def test_the_tree_is_walked_as_in_pytorch() -> None:
    """Names and order of every walk."""

    def story(lib: ModuleType) -> Any:
        m = model(lib)
        return [
            [n for n, _ in m.named_parameters()],
            [n for n, _ in m.named_parameters(prefix="p", recurse=False)],
            [n for n, _ in m.named_parameters(remove_duplicate=False)],
            [n for n, _ in m.named_buffers()],
            [n for n, _ in m.named_modules()],
            [n for n, _ in m.named_children()],
            [type(x).__name__ for x in m.modules()],
            list(m.state_dict()),
            list(m.state_dict(prefix="x.")),
            dict(m.state_dict()._metadata),
            m.get_submodule("layers.1") is m.layers[1],
            m.get_parameter("layers.0.bias"),
            m.get_buffer("heads.a.seen"),
            len(list(m.parameters())),
        ]

    both(story)


@pytest.mark.torch
def test_repr_is_pytorchs() -> None:
    """Of nested modules, of runs of equal members, of parameter containers."""

    def story(lib: ModuleType) -> Any:
        ones = lib.ones(2, 3)
        twelve = lib.nn.ModuleList([layer(lib) for _ in range(3)] + [lib.nn.Sequential()])
        return [
            repr(model(lib)), repr(twelve), repr(lib.nn.Module()),
            repr(lib.nn.ParameterList([ones, lib.zeros(1), 3])),
            repr(lib.nn.ParameterDict({"b": ones, "a": ones.double(), "c": "x"})),
            repr(lib.nn.Sequential(OrderedDict(first=layer(lib), second=layer(lib)))),
        ]  # fmt: skip

    both(story)


@pytest.mark.torch
def test_a_model_of_real_layers_has_pytorchs_names_and_repr() -> None:
    """Keys, shapes and dtypes of its state, and how it prints; PyTorch's values load into it."""
    torch = pytest.importorskip("torch")

    def make(lib: ModuleType) -> Any:
        n = lib.nn
        return n.Sequential(
            OrderedDict(
                body=n.Sequential(
                    n.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), n.BatchNorm2d(8),
                    n.ReLU(inplace=True), n.MaxPool2d(2), n.ConvTranspose2d(8, 4, 2, groups=2),
                ),
                lists=n.ModuleList([n.Linear(4, 2), n.Linear(4, 2), n.LayerNorm(4)]),
                table=n.Embedding(10, 4, padding_idx=0),
                head=n.ModuleDict({"a": n.Dropout(0.1), "b": n.Sequential(n.Flatten(), n.GELU())}),
            )
        )  # fmt: skip

    ours, theirs = make(gg), make(torch)
    assert repr(ours) == repr(theirs)
    mine, given = ours.state_dict(), theirs.state_dict()
    assert [(k, tuple(v.shape), plain(str(v.dtype))) for k, v in mine.items()] == [
        (k, tuple(v.shape), str(v.dtype)) for k, v in given.items()
    ]
    ours.load_state_dict({k: gg.from_numpy(v.numpy()) for k, v in given.items()})
    for key, value in ours.state_dict().items():
        assert value.tolist() == given[key].tolist()


@pytest.mark.torch
@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (lambda lib, m: setattr(m, "weight", lib.ones(2)), TypeError),
        (lambda lib, m: setattr(m, "seen", 3), TypeError),
        (lambda lib, m: m.register_buffer("weight", lib.ones(1)), KeyError),
        (lambda lib, m: m.register_parameter("a.b", None), KeyError),
        (lambda lib, m: m.register_parameter("", None), KeyError),
        (lambda lib, m: m.register_parameter(3, None), TypeError),
        (lambda lib, m: m.add_module("weight", lib.nn.Module()), KeyError),
        (lambda lib, m: m.add_module("x", 3), TypeError),
        (lambda lib, m: m.get_submodule("weight"), AttributeError),
        (lambda lib, m: m.get_submodule("nobody"), AttributeError),
        (lambda lib, m: m.get_parameter("seen"), AttributeError),
        (lambda lib, m: m.nobody, AttributeError),
        (lambda lib, m: delattr(m, "nobody"), AttributeError),
        (lambda lib, m: m.train(3), ValueError),
        (lambda lib, m: m.to(lib.int64), (TypeError, RuntimeError)),
        (lambda lib, m: m.load_state_dict([]), TypeError),
        (lambda lib, m: lib.nn.Module()(1), NotImplementedError),
        (lambda lib, m: lib.nn.Sequential(3), TypeError),
        (lambda lib, m: lib.nn.ModuleList([m])[1], IndexError),
        (lambda lib, m: lib.nn.ModuleDict({})["x"], KeyError),
    ],
)
def test_what_pytorch_refuses_is_refused(wrong: Any, kind: Any) -> None:
    """With an exception that the same ``except`` catches."""
    torch = pytest.importorskip("torch")
    for lib in (torch, gg):
        with pytest.raises(kind):
            wrong(lib, layer(lib))


def test_init_must_be_called_first() -> None:
    """Assignment before ``super().__init__()`` says so, and so does a later read."""

    class Early(nn.Module):
        def __init__(self) -> None:
            self.w = nn.Parameter(gg.ones(1))
            super().__init__()

    class Never(nn.Module):
        def __init__(self) -> None:
            pass

    with pytest.raises(AttributeError, match=r"before Module\.__init__\(\) call"):
        Early()
    with pytest.raises(AttributeError, match="was not called"):
        Never().anything  # noqa: B018


def test_an_attribute_moves_between_kinds() -> None:
    """A name is a parameter, a buffer, a module or an ordinary attribute, never two of them."""
    m = nn.Module()
    m.x = 3
    m.x = nn.Parameter(gg.ones(1))
    assert "x" not in m.__dict__
    m.x = nn.Sequential()
    assert list(m._parameters) == []
    m.x = None
    assert m.x is None
    assert m._modules == {"x": None}
    del m.x
    assert not hasattr(m, "x")
    m.register_buffer("b", gg.ones(1), persistent=False)
    del m.b
    m.register_buffer("b", gg.ones(1))
    assert list(m.state_dict()) == ["b"]


def test_set_submodule_and_apply() -> None:
    """A child is replaced by its path; ``apply`` goes children first."""
    m = model(gg)
    m.set_submodule("layers.0", nn.Sequential())
    assert isinstance(m.layers[0], nn.Sequential)
    seen: list[str] = []
    m.apply(lambda x: seen.append(type(x).__name__))
    assert seen[-1] == "Net"
    assert seen[0] == "Sequential"


# ---- modes and conversion ----------------------------------------------------------------------


def test_train_eval_and_requires_grad() -> None:
    """Both reach everything below."""
    m = model(gg)
    assert m.eval() is m
    assert not any(x.training for x in m.modules())
    assert all(x.training for x in m.train().modules())
    m.requires_grad_(False)
    assert not any(p.requires_grad for p in m.parameters())


def test_zero_grad() -> None:
    """Gradients become None, or zeros."""
    m = layer(gg)
    m(gg.ones(1, 3)).sum().backward()
    m.zero_grad(set_to_none=False)
    assert m.bias.grad.tolist() == [0.0, 0.0]
    m.zero_grad()
    assert m.bias.grad is None


def test_conversion_keeps_parameters_and_ties() -> None:
    """Parameters stay the same objects; gradients are cast, too; integer buffers stay."""
    m = model(gg)
    m.register_buffer("count", gg.tensor(3))
    tied, before = m.layers[1].weight, list(m.parameters())
    m(gg.ones(1, 3)).sum().backward()
    m.double()
    assert all(a is b for a, b in zip(before, m.parameters(), strict=True))
    assert m.heads["a"].weight is tied
    assert tied.dtype is gg.float64
    assert tied.grad.dtype is gg.float64
    assert m.count.dtype is gg.int64
    m(gg.ones(1, 3, dtype=gg.float64)).sum().backward()
    for dtype in (gg.float16, gg.bfloat16, gg.float32):
        assert m.to(dtype).layers[0].bias.dtype is dtype
    assert m.to(gg.ones(1, dtype=gg.float64)).layers[0].seen.dtype is gg.float64
    assert m.to("cpu", gg.float32).layers[0].bias.dtype is gg.float32
    assert m.type(gg.float64).count.dtype is gg.float64
    assert m.to(device="meta").layers[0].bias.is_meta
    assert m.to_empty(device="cpu").layers[0].bias.device.type == "cpu"


def test_memory_format_is_for_pictures() -> None:
    """Tensors of four dimensions take it, others do not."""
    m = nn.Module()
    m.w = nn.Parameter(gg.randn(2, 3, 4, 5))
    m.b = nn.Parameter(gg.randn(2))
    m.to(memory_format=gg.channels_last)
    assert m.w.is_contiguous(memory_format=gg.channels_last)


def test_copies_are_independent_and_tied_alike() -> None:
    """``deepcopy`` and ``pickle`` keep shared weights shared, and share nothing with the first."""
    m = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    m["a"].weight = m["b"].weight
    for twin in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert twin["a"].weight is twin["b"].weight
        with gg.no_grad():
            twin["a"].weight.zero_()
        assert m["a"].weight.abs().sum() > 0
        assert repr(twin) == repr(m)
    assert copy.copy(m)["a"] is m["a"]


def test_share_memory_is_refused() -> None:
    """It cannot be done, and silently doing nothing would lose updates."""
    with pytest.raises(NotSupportedError, match="shared memory"):
        nn.Module().share_memory()


# ---- state dicts -------------------------------------------------------------------------------


def test_load_copies_in_place_and_reports() -> None:
    """Values arrive in the same tensors; without ``strict`` differences are returned."""
    m, other = model(gg), model(gg)
    with gg.no_grad():
        for p in other.parameters():
            p.add_(1)
    held = m.layers[0].weight
    result = m.load_state_dict(other.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    assert m.layers[0].weight is held
    assert held.tolist() == other.layers[0].weight.tolist()
    state = other.state_dict()
    del state["layers.0.bias"]
    state["extra"] = gg.ones(1)
    result = m.load_state_dict(state, strict=False)
    assert result == (["layers.0.bias"], ["extra"])
    assert "missing_keys=['layers.0.bias']" in repr(result)


def test_a_state_dict_shares_memory() -> None:
    """Without history, unless the variables themselves are wanted."""
    m = layer(gg)
    state = m.state_dict()
    assert not state["bias"].requires_grad
    with gg.no_grad():
        m.bias.zero_()
    assert state["bias"].tolist() == [0.0, 0.0]
    assert m.state_dict(keep_vars=True)["bias"] is m.bias


def test_every_difference_is_listed_at_once() -> None:
    """Missing, unexpected and mis-shaped names, with the path and both shapes."""
    m = model(gg)
    state = m.state_dict()
    del state["layers.0.bias"], state["heads.a.seen"]
    state["layers.7.bias"] = state["top"] = gg.ones(1)
    state["layers.1.bias"] = gg.ones(5)
    state["layers.0.seen"] = 3
    with pytest.raises(ShapeError) as caught:
        m.load_state_dict(state)
    text = str(caught.value)
    for part in ("Net", "missing", "layers.0.bias", "heads.a.seen", "layers.7.bias", "top",
                 "layers.1.bias (of Dense): shape (5,) in the state dict, (2,) in the module",
                 "layers.0.seen (of Dense): must be a Tensor, got int"):  # fmt: skip
        assert part in text


def test_assign_takes_the_tensors_themselves() -> None:
    """With their dtype; a module on ``meta`` becomes real that way."""
    m = layer(gg).to("meta")
    source = layer(gg).double()
    source.bias.requires_grad_(False)
    state = source.state_dict(keep_vars=True)
    with pytest.raises(ShapeError, match="meta"):
        m.load_state_dict(state)
    m.load_state_dict(state, assign=True)
    assert m.weight is source.weight
    assert m.bias.requires_grad  # as it was here
    assert m.seen.dtype is gg.float64


@pytest.mark.torch
def test_state_dict_hooks_and_extra_state() -> None:
    """Order of the hooks, what they are told, and how extra state travels."""

    def story(lib: ModuleType) -> Any:
        told: list[Any] = []

        class Extra(lib.nn.Module):  # type: ignore[misc, name-defined]
            def get_extra_state(self) -> Any:
                return {"epoch": 3}

            def set_extra_state(self, state: Any) -> None:
                told.append(("extra", state))

        m = lib.nn.Sequential(layer(lib), Extra())
        m.register_state_dict_pre_hook(lambda mod, prefix, keep: told.append((prefix, keep)))
        m.register_state_dict_post_hook(
            lambda mod, state, prefix, meta: told.append((list(state), prefix, meta["version"]))
        )
        m[0].register_load_state_dict_pre_hook(
            lambda mod, state, prefix, *rest: told.append((prefix, sorted(state)))
        )
        m[0]._register_load_state_dict_pre_hook(lambda *a: told.append(len(a)))
        m[0]._register_load_state_dict_pre_hook(lambda *a: told.append(len(a)), with_module=True)
        m.register_load_state_dict_post_hook(
            lambda mod, keys: told.append(list(keys.missing_keys)) or keys.missing_keys.clear()
        )
        state = m.state_dict()
        del state["0.bias"]
        m.load_state_dict(state)
        return told

    both(story)


# ---- hooks -------------------------------------------------------------------------------------


@pytest.mark.torch
def test_forward_hooks_in_pytorchs_order() -> None:
    """Prepended first, keyword arguments where wanted, results replace; handles take them out."""

    def story(lib: ModuleType) -> Any:
        told: list[Any] = []
        m = layer(lib)

        def pre(mod: Any, args: Any) -> Any:
            told.append(("pre", args))
            return args[0] + 1

        def pre_kw(mod: Any, args: Any, kwargs: Any) -> Any:
            told.append(("pre_kw", args, kwargs))
            return args, {"scale": 2.0}

        def post(mod: Any, args: Any, out: Any) -> Any:
            told.append(("post", args, out.detach()))
            return out * 10

        def post_kw(mod: Any, args: Any, kwargs: Any, out: Any) -> None:
            told.append(("post_kw", kwargs, out.detach()))

        def first(mod: Any, args: Any) -> None:
            told.append("first")

        m.register_forward_pre_hook(pre)
        m.register_forward_pre_hook(pre_kw, with_kwargs=True)
        handle = m.register_forward_pre_hook(first, prepend=True)
        m.register_forward_hook(post)
        m.register_forward_hook(post_kw, with_kwargs=True, prepend=True)
        out = m(lib.ones(1, 3), scale=3.0)
        handle.remove()
        return [out, told, m(lib.zeros(1, 3))]

    both(story)


@pytest.mark.torch
def test_always_called_hooks_see_failures() -> None:
    """They run once, also when ``forward`` or an earlier hook raises."""

    def story(lib: ModuleType) -> Any:
        told: list[Any] = []
        m = layer(lib)
        m.register_forward_hook(lambda mod, args, out: told.append("plain"))
        m.register_forward_hook(lambda mod, args, out: told.append(out), always_call=True)
        with pytest.raises(RuntimeError):
            m(lib.ones(1, 4))
        m(lib.zeros(1, 3))
        return [told[0], told[1], told[2].detach()]

    both(story)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("grad_in", [True, False])
def test_full_backward_hooks(grad_in: bool) -> None:
    """What they are told, and that results replace gradients, entering and leaving."""

    def story(lib: ModuleType) -> Any:
        told: list[Any] = []

        class Two(lib.nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.inner = layer(lib)

            def forward(self, x: Any, n: int, y: Any) -> Any:
                return self.inner(x), y * n

        m = Two()

        def pre(mod: Any, grads: Any) -> Any:
            told.append(("pre", grads))
            return tuple(None if g is None else g * 2 for g in grads)

        def post(mod: Any, gin: Any, gout: Any) -> Any:
            told.append(("post", gin, gout))
            return tuple(None if g is None else g + 1 for g in gin) if grad_in else None

        m.register_full_backward_pre_hook(pre)
        m.register_full_backward_hook(post)
        m.inner.register_full_backward_hook(
            lambda mod, gin, gout: told.append(("inner", gin, gout))
        )
        x = lib.ones(1, 3, requires_grad=grad_in)
        y = lib.ones(2, requires_grad=grad_in)
        a, b = m(x, 3, y)
        (a.sum() + (b * b).sum()).backward()
        return [told, x.grad, y.grad, m.inner.weight.grad]

    both(story)


def test_backward_hooks_see_recorded_gradients() -> None:
    """Under ``create_graph`` the gradients they are given can be differentiated again."""
    m = layer(gg)
    seen: list[Any] = []
    m.register_full_backward_hook(lambda mod, gin, gout: seen.append(gin[0]))
    x = gg.ones(1, 3, requires_grad=True)
    (g,) = gg.autograd.grad((m(x) ** 2).sum(), x, create_graph=True)
    assert seen[0].requires_grad
    (second,) = gg.autograd.grad(g.sum(), x)
    expected = 2 * (m.weight.T @ m.weight).sum(0, keepdim=True)
    assert (second - expected).abs().max() < 1e-5


def test_hooks_for_every_module() -> None:
    """Registered once, told of each call."""
    from gpugrad.nn import hooks

    told: list[str] = []
    handles = [
        hooks.register_module_forward_hook(lambda m, a, o: told.append(type(m).__name__)),
        hooks.register_module_forward_pre_hook(lambda m, a: told.append("pre")),
        hooks.register_module_full_backward_hook(lambda m, i, o: told.append("back")),
        hooks.register_module_full_backward_pre_hook(lambda m, o: told.append("backpre")),
    ]
    m = nn.Sequential(layer(gg))
    m(gg.ones(1, 3, requires_grad=True)).sum().backward()
    for handle in handles:
        handle.remove()
    assert told == ["pre", "pre", "Dense", "Sequential", "backpre", "backpre", "back", "back"]
    m(gg.ones(1, 3))
    assert len(told) == 8


def test_backward_hooks_leave_no_cycles() -> None:
    """A graph that was watched is freed by reference counting."""
    m = layer(gg)
    m.register_full_backward_hook(lambda mod, gin, gout: None)
    out = m(gg.ones(1, 3, requires_grad=True))
    node = weakref.ref(out.grad_fn)
    gc.disable()
    try:
        del out
        assert node() is None
    finally:
        gc.enable()


def test_the_older_backward_hook_is_refused() -> None:
    """With the name of the one that is right."""
    with pytest.raises(NotSupportedError, match="register_full_backward_hook"):
        nn.Module().register_backward_hook(print)


# ---- errors ------------------------------------------------------------------------------------


def test_an_error_names_the_path_of_the_module() -> None:
    """Once, from the root, with the class kept and both shapes shown."""
    m = model(gg)
    with pytest.raises(ShapeError) as caught:
        m(gg.ones(1, 7))
    text = str(caught.value)
    assert text.startswith("matmul: (1, 7) @ (3, 3)")
    assert text.endswith("; in Net.layers.0 (Dense)")
    with pytest.raises(ShapeError, match=r"; in Dense$"):
        m.layers[0](gg.ones(1, 7))


def test_errors_of_the_users_own_are_left_alone() -> None:
    """Only gpugrad's errors get a path."""

    class Bad(nn.Module):
        def forward(self) -> None:
            raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        Bad()()


# ---- containers --------------------------------------------------------------------------------


@pytest.mark.torch
def test_sequential_and_lists_as_in_pytorch() -> None:
    """Slices, insertion, removal, joining, and the names that come of it."""

    def story(lib: ModuleType) -> Any:
        a, b, c, d = (lib.nn.Sequential() for _ in range(4))
        told: list[Any] = []
        names = {id(a): "a", id(b): "b", id(c): "c", id(d): "d"}

        def note(m: Any) -> None:
            told.append([(k, names[id(v)]) for k, v in m._modules.items()])

        for kind in ("Sequential", "ModuleList"):
            make = getattr(lib.nn, kind)
            m = make(a, b) if kind == "Sequential" else make([a, b])
            note(m.append(c))
            m.insert(1, d)
            note(m)
            note(m[1:3])
            note(m.extend([a]))
            del m[0]
            note(m)
            told.append(names[id(m.pop(-1))])
            note(m)
            m[0] = a
            note(m)
            m += type(m)(a) if kind == "Sequential" else [b]
            note(m)
            del m[1:3]
            note(m)
            told.append([len(m), names[id(m[-1])], a in m, [names[id(x)] for x in m]])
        named = lib.nn.Sequential(OrderedDict(x=a, y=b, z=c))
        note(named[1:])
        note(lib.nn.Sequential(a, b) * 2)
        return told

    both(story)


@pytest.mark.torch
def test_dicts_as_in_pytorch() -> None:
    """Module and parameter dicts: order, update, pop, joining."""

    def story(lib: ModuleType) -> Any:
        m = lib.nn.ModuleDict({"b": lib.nn.Sequential(), "a": lib.nn.ModuleList()})
        m.update([("c", lib.nn.Sequential())])
        popped = type(m.pop("b")).__name__
        one, two = lib.ones(1), lib.ones(2)
        p = lib.nn.ParameterDict({"b": two, "a": one})
        p.update(OrderedDict(z=one, y=two))
        p["n"] = 3
        told = [list(m), popped, "a" in m, len(m), list(p), list(reversed(p))]
        told += [list(p | {"q": one}), p.get("none", 5), p.setdefault("s", 7), p.popitem()]
        told += [[n for n, _ in p.named_parameters()], list(p.fromkeys(["u"], 1).items())]
        lst = lib.nn.ParameterList([one, two])
        lst.append(lib.zeros(3))
        told += [[n for n, _ in lst.named_parameters()], len(lst[1:]), lst[-1], list(p.copy())]
        m.clear()
        return [*told, len(m)]

    both(story)


def test_every_layer_is_exported() -> None:
    """What a file of ``nn/modules`` defines is a name of ``gpugrad.nn``."""
    for name, cls in nn.modules.LAYERS.items():
        assert getattr(nn, name) is cls
    assert {"Linear", "Conv2d", "Sequential", "ParameterDict"} <= set(nn.modules.LAYERS)
