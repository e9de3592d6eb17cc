"""Where PyTorch tells a signature, gpugrad's takes the same arguments: names, order, defaults."""

import inspect
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from itertools import zip_longest
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from gpugrad.compat.names import Missing, resolve  # noqa: E402

HOMES = (
    "torch", "torch.amp", "torch.autograd", "torch.autograd.functional", "torch.autograd.graph",
    "torch.cuda", "torch.cuda.amp", "torch.distributions", "torch.linalg", "torch.nn",
    "torch.nn.functional", "torch.nn.init", "torch.nn.modules.loss", "torch.nn.utils",
    "torch.nn.utils.parametrizations", "torch.nn.utils.parametrize", "torch.nn.utils.rnn",
    "torch.optim", "torch.optim.lr_scheduler", "torch.optim.swa_utils", "torch.random",
    "torch.special", "torch.testing", "torch.utils.checkpoint", "torch.utils.data",
)  # fmt: skip

REFUSED = "refused with one clear error"
RENAMED = "positional in every use; PyTorch's own name for it is not telling"
#: What differs, and why it may.
REASONS = {
    "torch.from_dlpack": "device= and copy= are not there",
    "torch.enable_grad": RENAMED,
    "torch.set_default_dtype": RENAMED,
    "torch.norm": "no out=",
    "torch.tensordot": "no out=",
    "torch.split": "takes split_size and split_size_or_sections: PyTorch's two spellings",
    "torch.Tensor.split": "takes split_size and split_size_or_sections: PyTorch's two spellings",
    "torch.nn.FractionalMaxPool2d": REFUSED,
    "torch.nn.FractionalMaxPool3d": REFUSED,
    "torch.nn.SyncBatchNorm": REFUSED,
    "torch.nn.RMSNorm.forward": "input, as in every other layer",
    "torch.nn.Module.modules": "remove_duplicate= is new in PyTorch 2.13",
    "torch.nn.ModuleDict.update": RENAMED,
    "torch.nn.ModuleList.append": RENAMED,
    "torch.nn.ModuleList.extend": RENAMED,
    "torch.nn.ParameterDict.update": RENAMED,
    "torch.nn.Sequential.append": RENAMED,
    "torch.nn.Sequential.extend": RENAMED,
    "torch.nn.utils.clip_grad_norm": "deprecated; hands everything to clip_grad_norm_",
    "torch.autograd.backward": "grad_variables= was deprecated before 1.0",
    "torch.autograd.gradcheck": "undefined, batched forward and masked gradients are not checked",
    "torch.autograd.gradgradcheck": "nor are batched gradients, and those by forward mode",
    "torch.autograd.graph.Node.register_hook": RENAMED,
    "torch.autograd.graph.Node.register_prehook": RENAMED,
    "torch.cuda.amp.custom_bwd": "bwd=None, as custom_fwd has it",
    "torch.cuda.memory_snapshot": "one picture of what is held; pools are not told apart",
    "torch.random.fork_rng": "device_type= by keyword only: PyTorch has private ones before it",
}
#: Parameters that carry PyTorch's insides.
PRIVATE = ("self", "_")
#: Defaults that are objects, of which only the meaning can agree.
OBJECTS = (ModuleType, torch.Generator, torch.Size, type(lambda: 0))


def calls() -> Iterator[tuple[str, Any, Any]]:
    """(name, gpugrad's, PyTorch's) for every public function, class and method of both."""
    seen: set[int] = set()
    for home in HOMES:
        ours, theirs = resolve(home), import_module(home)
        for name in sorted(set(dir(ours)) & set(dir(theirs))):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch's old names say so when looked at
                mine, original = getattr(ours, name), getattr(theirs, name)
            if name[0] == "_" or not callable(original) or id(original) in seen:
                continue
            seen.add(id(original))
            yield f"{home}.{name}", mine, original
            if isinstance(mine, type) and isinstance(original, type):
                for method in vars(original):
                    if method[0] != "_" and callable(getattr(mine, method, None)):
                        found = getattr(original, method)
                        yield f"{home}.{name}.{method}", getattr(mine, method), found


def difference(ours: Any, theirs: Any) -> str:
    """What differs between two calls; "" if nothing does, or either tells no signature."""
    try:
        mine, original = (inspect.signature(f).parameters for f in (ours, theirs))
    except (ValueError, TypeError):
        return ""
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in original.values()):
        return ""
    if [*mine] in (["self", "inputs", "named"], ["self", "args", "kwargs"]):
        return ""  # forward of a layer that is one function: that function is compared itself
    wanted = {n: p for n, p in original.items() if not n.startswith(PRIVATE)}
    mine_placed, placed = _placed(mine), _placed(original)
    if placed[:1] == ["self"]:  # a method's first parameter may have a better name
        mine_placed[:1], placed[:1] = [], []
    pairs = zip_longest(placed, mine_placed[: len(placed)])
    if any(a != b and not a.startswith(PRIVATE) for a, b in pairs):
        lacking = [n for n in wanted if n not in mine]
        return f"takes no {', '.join(lacking)}" if lacking else f"order {placed}, not {mine_placed}"
    wanted = {n: p for n, p in wanted.items() if n in mine or p.kind == p.KEYWORD_ONLY}
    if lacking := [n for n in wanted if n not in mine]:
        return f"takes no {', '.join(lacking)}"
    unlike = [n for n, p in wanted.items() if not _alike(mine[n].default, p.default)]
    return "".join(f"{n}={wanted[n].default}, here {mine[n].default}; " for n in unlike)


def _placed(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Names of what may be given by place, in order."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [n for n, p in parameters.items() if p.kind in kinds]


def _alike(ours: Any, theirs: Any) -> bool:
    if repr(ours) == "<required>":
        ours = inspect.Parameter.empty
    if isinstance(theirs, OBJECTS):
        return True
    same = type(ours) is type(theirs) or {type(ours), type(theirs)} <= {int, float}
    return (same and ours == theirs) or repr(ours).replace("gpugrad", "torch") == repr(theirs)


def test_signatures_are_pytorchs() -> None:
    """Every argument of PyTorch's is taken under its name, in its place, with its default."""
    found = {name: difference(ours, theirs) for name, ours, theirs in calls()}
    assert len(found) > 1000
    wrong = {name: text for name, text in found.items() if text and name not in REASONS}
    assert not wrong, "\n".join(f"{name}: {text}" for name, text in sorted(wrong.items()))
    if torch.__version__.startswith("2.13."):  # other releases differ in other places
        assert not [n for n in REASONS if not found.get(n)], "these differ no longer"


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (lambda a: 0, lambda a, b: 0, "takes no b"),
        (lambda b, a: 0, lambda a, b: 0, "order"),
        (lambda a, b=1: 0, lambda a, b=2: 0, "b=2, here 1"),
        (lambda a, b=1: 0, lambda a, b=True: 0, "b=True, here 1"),
        (lambda a, b=1: 0, lambda a, b=1.0: 0, ""),
        (lambda a, *, b: 0, lambda a, b: 0, "order"),
        (lambda a, more=0, b=0: 0, lambda a, b=0: 0, "order"),
        (lambda a, b=0, more=0: 0, lambda a, b=0: 0, ""),
    ],
)
def test_a_difference_is_seen(ours: Any, theirs: Any, words: str) -> None:
    """The comparison itself."""
    assert words in difference(ours, theirs)
    assert bool(words) == bool(difference(ours, theirs))


def test_all_names_of_the_list_that_pytorch_knows_are_pytorchs() -> None:
    """Homes that are compared exist on both sides."""
    for home in HOMES:
        try:
            resolve(home)
        except Missing as missing:
            pytest.fail(str(missing))
