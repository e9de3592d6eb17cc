"""``torch.func``: maps and derivatives of functions are PyTorch's, also nested."""

import numpy as np
import pytest

import gpugrad as gg

torch = pytest.importorskip("torch")

# PyTorch's own forward mode calls what it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
RNG = np.random.default_rng(1)
X, Y, W = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=(4, 2))
LIBS = (gg, torch)


def leaves(tree):
    if isinstance(tree, tuple | list):
        return [v for t in tree for v in leaves(t)]
    if isinstance(tree, dict):
        return [v for k in sorted(tree) for v in leaves(tree[k])]
    return [tree]


def same(run):
    """``run(lib)`` gives equal trees of tensors that agree on whether they want gradients."""
    ours, theirs = run(gg), run(torch)
    assert len(leaves(ours)) == len(leaves(theirs)) > 0
    for a, b in zip(leaves(ours), leaves(theirs), strict=True):
        assert tuple(a.shape) == tuple(b.shape)
        assert a.requires_grad <= b.requires_grad  # theirs has history of constants, too
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), 1e-10, 1e-12)


MAPS = {
    "rows": lambda t, v, x, y, w: v(lambda a: (a * a).sum())(x),
    "matrix": lambda t, v, x, y, w: v(lambda a: a @ w)(x),
    "two": lambda t, v, x, y, w: v(lambda a, b: a * b, in_dims=(0, 1))(x, y),
    "negative": lambda t, v, x, y, w: v(lambda a, b: a + b, in_dims=(0, -1), out_dims=-1)(x, y),
    "whole": lambda t, v, x, y, w: v(lambda a, b: a @ b, in_dims=(0, None))(x, w),
    "all by 1": lambda t, v, x, y, w: v(lambda a: a.exp(), 1)(x),
    "out": lambda t, v, x, y, w: v(lambda a: t.outer(a, a), out_dims=2)(x),
    "keyword of a mapped one": lambda t, v, x, y, w: v(lambda a, b: (a * b).sum())(x, x),
    "several": lambda t, v, x, y, w: v(lambda a: (a.sum(), {"b": a * 2}), out_dims=(0, 1))(x),
    "nested input": lambda t, v, x, y, w: v(lambda d, p: d["a"] @ p[0] + p[1],
                                            in_dims=({"a": 0}, (None, 0)))({"a": x}, (w, x[:, :2])),
    "keyword": lambda t, v, x, y, w: v(lambda a, b=None: a + b)(x, b=x),
    "of a map": lambda t, v, x, y, w: v(v(lambda a, b: a.dot(b), in_dims=(None, 1)),
                                        in_dims=(0, None))(x, y),
    "list": lambda t, v, x, y, w: v(lambda a: [a, a + 1])(x),
    "condition": lambda t, v, x, y, w: v(lambda a: t.where(a > 0, a, -a).cumsum(0))(x),
    "chunks": lambda t, v, x, y, w: v(lambda a: a.sin(), chunk_size=2)(x),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_vmap(name):
    def run(lib):
        x, y, w = (lib.tensor(a, requires_grad=True) for a in (X, Y, W))
        out = MAPS[name](lib, lib.vmap, x, y, w)
        total = sum((o.sin() * o).sum() for o in leaves(out))
        total.backward()
        zero = lib.zeros(1)
        return [out, *(zero if p.grad is None else p.grad for p in (x, y, w))]

    same(run)


def loss(p, x, y=1.0):
    return ((p["w"] @ x).tanh() * p["b"]).sum() * y


def parameters(lib):
    return {"w": lib.tensor(W.T), "b": lib.tensor(Y[:2, 0])}


DERIVATIVES = {
    "grad": lambda f, t, p, x: f.grad(loss)(p, x),
    "grad of two": lambda f, t, p, x: f.grad(loss, argnums=(0, 1))(p, x),
    "grad by last": lambda f, t, p, x: f.grad(loss, argnums=-1)(p, x),
    "grad with aux": lambda f, t, p, x: f.grad(lambda a: ((a * a).sum(), a + 1), has_aux=True)(x),
    "grad and value": lambda f, t, p, x: f.grad_and_value(loss)(p, x, y=2.0),
    "grad, value, aux": lambda f, t, p, x: f.grad_and_value(
        lambda a: ((a * a).sum(), {"k": a}), has_aux=True)(x),
    "grad of grad": lambda f, t, p, x: f.grad(lambda a: f.grad(lambda b: (b**3 * a).sum())(a)[0])(
        x),
    "grad of another's": lambda f, t, p, x: f.grad(lambda a: f.grad(lambda b: (b * a * b).sum())(
        x).sum())(x),
    "per example": lambda f, t, p, x: f.vmap(f.grad(loss), in_dims=(None, 0))(p, t.stack([x, -x])),
    "vjp": lambda f, t, p, x: f.vjp(lambda a: (a.sin(), a @ a), x)[1]((t.ones_like(x), x[0])),
    "vjp of two": lambda f, t, p, x: f.vjp(lambda a, b: a * b, x, x + 1)[1](x),
    "vjp with aux": lambda f, t, p, x: [f.vjp(lambda a: (a.sin(), a), x, has_aux=True)[i]
                                        for i in (0, 2)],
    "vjp of a dict": lambda f, t, p, x: f.vjp(lambda q: {"o": q["w"] @ x}, p)[1](
        {"o": x[:2]}),
    "jvp": lambda f, t, p, x: f.jvp(lambda a: a.sin() * a[0], (x,), (t.ones_like(x),)),
    "jvp of two": lambda f, t, p, x: f.jvp(lambda a, b: (a * b, a + b), (x, x + 1), (x, -x)),
    "jacrev": lambda f, t, p, x: f.jacrev(lambda a: t.outer(a, a.exp()))(x),
    "jacrev of two": lambda f, t, p, x: f.jacrev(lambda a, b: (a * b, {"s": a.sum()}), (0, 1))(
        x, x + 1),
    "jacrev with aux": lambda f, t, p, x: f.jacrev(lambda a: (a.sin(), a), has_aux=True)(x),
    "jacfwd": lambda f, t, p, x: f.jacfwd(lambda a: t.outer(a, a.exp()))(x),
    "hessian": lambda f, t, p, x: f.hessian(lambda a: (a**3).sum() * a[0])(x),
    "hessian of two": lambda f, t, p, x: f.hessian(lambda a, b: (a * b * b).sum(), (0, 1))(
        x, x + 1),
    "mapped jacobians": lambda f, t, p, x: f.vmap(f.jacrev(lambda a: a.sin() * a[0]))(
        t.stack([x, 2 * x])),
    "unused": lambda f, t, p, x: f.grad(lambda a, b: (b * b).sum())(x, x),
}  # fmt: skip


@pytest.mark.parametrize("name", DERIVATIVES)
@pytest.mark.parametrize("tracked", [False, True], ids=["plain", "tracked"])
def test_derivatives(name, tracked):
    """Values; whether they are recorded; and, where they are, the gradient of a sum of them."""

    def run(lib):
        x = lib.tensor(X[0], requires_grad=tracked)
        out = DERIVATIVES[name](lib.func, lib, parameters(lib), x)
        wanted = [o for o in leaves(out) if o.requires_grad]
        if not wanted:
            return out
        sum((o * o).sum() for o in wanted).backward()
        return [out, x.grad]

    same(run)


def test_what_a_closure_holds_is_differentiated():
    def run(lib):
        w = lib.tensor(W[:, 0], requires_grad=True)
        x = lib.tensor(X[0])
        g = lib.func.grad(lambda a: (a * a * w).sum())(x)
        (g * g).sum().backward()
        with lib.no_grad():
            quiet = lib.func.grad(lambda a: (a * a * w).sum())(x)
        return [g, w.grad, quiet]

    same(run)


def test_modules_as_functions():
    """Also over an ensemble: stacked state, mapped."""

    def run(lib):
        models = [lib.nn.Linear(4, 2, dtype=lib.float64) for _ in range(3)]
        for i, m in enumerate(models):
            with lib.no_grad():
                m.weight.copy_(lib.tensor(W.T * (i + 1)))
                m.bias.copy_(lib.tensor(Y[:2, i]))
        params, buffers = lib.func.stack_module_state(models)

        def call(p, b, x):
            return lib.func.functional_call(models[0], (p, b), (x,))

        out = lib.func.vmap(call, in_dims=(0, 0, None))(params, buffers, lib.tensor(X))
        g = lib.func.grad(lambda p: call(p, {}, lib.tensor(X)).sum())(
            {k: v[0].detach() for k, v in params.items()})  # fmt: skip
        return [out, g, list(models[0].parameters())]

    same(run)


def test_draws_inside():
    """The three kinds of randomness, by what holds for any generator."""
    for lib in LIBS:
        x = lib.zeros(3)
        for kind, distinct in (("same", 1), ("different", 3)):
            out = lib.vmap(lambda a, lib=lib: a + lib.rand(()), randomness=kind)(x)
            assert len(set(out.tolist())) == distinct
        with pytest.raises(RuntimeError):
            lib.vmap(lambda a, lib=lib: a + lib.rand(()))(x)


REFUSED = {
    "sizes": lambda t: t.vmap(lambda a, b: a)(t.ones(2), t.ones(3)),
    "nothing": lambda t: t.vmap(lambda a: a, in_dims=None)(t.ones(2)),
    "dim": lambda t: t.vmap(lambda a: a, in_dims=1)(t.ones(2)),
    "no tensor": lambda t: t.vmap(lambda a: a)(2),
    "result": lambda t: t.vmap(lambda a: 2)(t.ones(2)),
    "form": lambda t: t.vmap(lambda a, b: a, in_dims=(0,))(t.ones(2), t.ones(2)),
    "randomness": lambda t: t.vmap(lambda a: a, randomness="some")(t.ones(2)),
    "chunks": lambda t: t.vmap(lambda a: a, chunk_size=0)(t.ones(2)),
    "dims": lambda t: t.func.grad(lambda a: a)(t.ones(1)),
    "argnums": lambda t: t.func.grad(lambda a: a.sum(), argnums=1)(t.ones(1)),
    "integers": lambda t: t.func.grad(lambda a: a.sum())(t.ones(1, dtype=t.int64)),
    "aux": lambda t: t.func.grad(lambda a: a.sum(), has_aux=True)(t.ones(1)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    for lib in LIBS:
        with pytest.raises((RuntimeError, ValueError, TypeError, IndexError)):
            REFUSED[name](lib)
