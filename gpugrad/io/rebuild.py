"""Objects from the JSON that ``describe`` makes of them.

The text may come from anywhere: whatever it says, only the kinds listed here are made, nothing of
the user's is called, and nothing is made that is larger than the file.
"""

from __future__ import annotations

import argparse
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

from gpugrad import dtypes
from gpugrad.errors import GpugradError
from gpugrad.io.describe import DEEPEST, FACTORIES, TENSORS, may_be_set
from gpugrad.io.header import Entry, sizes
from gpugrad.io.pickles import checked_keys
from gpugrad.io.source import Source, shown
from gpugrad.io.values import VALUES, dtype_named, numpy_dtype
from gpugrad.io.windows import Blocks, Window
from gpugrad.nn.parameter import Buffer, Parameter
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, wrap

Node = dict[str, Any]
_PENDING = object()


class Rebuilder:
    """Makes the object of a description; ``entries`` and ``blocks`` are the file's arrays."""

    def __init__(self, source: Source, entries: dict[str, Entry], blocks: Blocks) -> None:
        self.source, self.entries, self.blocks = source, entries, blocks
        self.refuse = source.refuse
        self.made: list[Any] = []  # what was counted, in the order in which it began
        self._depth = 0

    def build(self, node: Any) -> Any:
        """The object that a description stands for.

        Raises:
            FileFormatError: if it is none.
        """
        if type(node) is list:
            node = {"list": node}
        if type(node) is not dict:
            return node
        tag = next(iter(node), "")
        if tag in VALUES:
            return self.call(VALUES[tag], self.known(tag, node)[tag])
        if tag == "same":
            return self._again(node[tag])
        if tag not in _COUNTED:
            self.refuse(f"its description names a kind {shown(tag)}, which is not known here")
        number = len(self.made)
        self.made.append(_PENDING)
        self._depth += 1
        if self._depth > DEEPEST + 1:
            self.refuse(f"its description is more than {DEEPEST} deep")
        made = _COUNTED[tag](self, self.known(tag, node), number)
        self._depth -= 1
        self.made[number] = made
        return made

    def known(self, tag: str, node: Node) -> Node:
        """The description, if all that it says of a kind has a meaning."""
        if unknown := node.keys() - {tag} - _DETAILS.get(tag, set()):
            self.refuse(f"its description of a {tag} has {shown(min(unknown))}")
        return node

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a function of Python's, NumPy's or ours gives; its refusal is the file's fault."""
        try:
            return function(*args)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
                GpugradError) as error:  # fmt: skip
            self.refuse(f"its description is damaged: {error!s:.200}")

    def take(self, value: Any, kind: type) -> Any:
        """The value, which must be of that type."""
        if type(value) is not kind:
            self.refuse(f"its description has {shown(value)} in place of a {kind.__name__}")
        return value

    def hashable(self, *keys: Any) -> None:
        """Refuse what cannot be the key of a dict, and what would take too long to hash."""
        for key in checked_keys(self.refuse, list(keys)):
            self.call(hash, key)

    def _again(self, number: Any) -> Any:
        if type(number) is not int or not 0 <= number < len(self.made):
            self.refuse(f"its description refers to object {shown(number)} of {len(self.made)}")
        if self.made[number] is _PENDING:
            self.refuse(f"object {number} of its description holds itself")
        return self.made[number]

    def items(self, nodes: Any) -> list[Any]:
        """The objects of a list of descriptions."""
        return [self.build(n) for n in self.take(nodes, list)]

    def fill(self, mapping: Any, nodes: Any) -> Any:
        """Put the items of a dict into it, from descriptions by name or as pairs."""
        if type(nodes) is dict:
            for name, node in nodes.items():
                mapping[name] = self.build(node)
            return mapping
        for pair in self.take(nodes, list):
            if type(pair) is not list or len(pair) != 2:
                self.refuse(f"its description has {shown(pair)} in place of a key and a value")
            key = self.build(pair[0])
            self.hashable(key)
            if key in mapping:
                self.refuse(f"key {shown(key)} comes twice in its description")
            mapping[key] = self.build(pair[1])
        return mapping

    def attributes(self, holder: Any, node: Node, key: str) -> Any:
        """Set the attributes that a description gives, if they hide nothing of the holder's own."""
        for name, value in self.take(node.get(key, {}), dict).items():
            if not may_be_set(holder, name):
                self.refuse(f"its description sets the attribute {shown(name)}")
            vars(holder)[name] = self.build(value)
        return holder


def _mapping(kind: Callable[[], Any]) -> Callable[[Rebuilder, Node, int], Any]:
    def make(r: Rebuilder, node: Node, number: int) -> Any:
        # It is there before its items, which may refer to it.
        r.made[number] = made = kind()
        return r.fill(made, next(iter(node.values())))

    return make


def _ordered(r: Rebuilder, node: Node, number: int) -> Any:
    made: OrderedDict[Any, Any] = OrderedDict()
    r.made[number] = made
    return r.attributes(r.fill(made, node["OrderedDict"]), node, "attributes")


def _defaultdict(r: Rebuilder, node: Node, number: int) -> Any:
    name = node.get("factory")
    if name is not None and (type(name) is not str or name not in FACTORIES):
        r.refuse(f"its description has a defaultdict of {shown(name)}")
    made: Any = defaultdict(None if name is None else FACTORIES[name])
    r.made[number] = made
    return r.fill(made, node["defaultdict"])


def _list(r: Rebuilder, node: Node, number: int) -> Any:
    made: list[Any] = []
    r.made[number] = made  # before its items, which may refer to it
    made.extend(map(r.build, node["list"]))
    return made


def _deque(r: Rebuilder, node: Node, number: int) -> Any:
    r.made[number] = made = r.call(deque, (), node.get("maxlen"))
    made.extend(r.items(node["deque"]))
    return made


def _set(kind: Callable[[Any], Any]) -> Callable[[Rebuilder, Node, int], Any]:
    def make(r: Rebuilder, node: Node, number: int) -> Any:
        found = []
        for element in r.take(next(iter(node.values())), list):
            outer, r.made = r.made, []  # each element counts on its own
            found.append(r.build(element))
            r.made = outer
        r.hashable(*found)
        return kind(found)

    return make


def _namespace(kind: Callable[[], Any]) -> Callable[[Rebuilder, Node, int], Any]:
    def make(r: Rebuilder, node: Node, number: int) -> Any:
        r.made[number] = made = kind()
        return r.attributes(made, node, next(iter(node)))

    return make


def _slice(r: Rebuilder, node: Node, number: int) -> Any:
    return r.call(slice, *r.items(node["slice"]))


def _window(r: Rebuilder, node: Node, tag: str) -> Window:
    """How an array lies in the entry that its description names."""
    entry = r.entries.get(r.take(node[tag], str))
    if entry is None:
        r.refuse(f"its description wants a tensor {shown(node[tag])}, which it does not have")
    if "dtype" not in node:
        return Window(r.call(numpy_dtype, entry.code), entry.shape)
    dtype = r.call(numpy_dtype, node["dtype"])
    shape, strides, offset = (r.take(node.get(k), t) for k, t in _PLACE.items())
    if not sizes(shape) or not {type(n) for n in strides} <= {int}:
        r.refuse(f"its description has an array of shape {shown(shape)}, strides {shown(strides)}")
    return Window(dtype, tuple(shape), tuple(strides), offset)


def _array(r: Rebuilder, node: Node, number: int) -> Any:
    return r.blocks.array(node["array"], _name(node, "array"), _window(r, node, "array"))


def _name(node: Node, tag: str) -> str:
    return f"{tag} {shown(node[tag])}"


def _tensor(tag: str) -> Callable[[Rebuilder, Node, int], Any]:
    def make(r: Rebuilder, node: Node, number: int) -> Any:
        device = r.take(node.get("device", "cpu"), str)
        if device == "meta":
            shape = r.take(node.get("shape"), list)
            if not sizes(shape):
                r.refuse(f"its description has a tensor of shape {shown(shape)}")
            found = wrap(Spec(tuple(shape), r.call(dtype_named, node.get("dtype"))))
        else:
            window, name = _window(r, node, tag), _name(node, tag)
            dtype = r.call(dtypes.from_numpy, window.dtype)
            found = r.blocks.tensor(node[tag], name, dtype, window, device)
        r.made[number] = made = _owned(r, tag, found, node)
        return r.attributes(made, node, "attributes")

    return make


def _owned(r: Rebuilder, tag: str, found: Tensor, node: Node) -> Tensor:
    wanted = r.take(node.get("requires_grad", False), bool)
    if tag == "parameter":
        return r.call(Parameter, found, wanted)  # type: ignore[no-any-return]
    if tag == "buffer":
        found = Buffer(found)
    return r.call(found.requires_grad_) if wanted else found


_COUNTED: dict[str, Callable[[Rebuilder, Node, int], Any]] = {
    "list": _list,
    "tuple": lambda r, node, _: tuple(r.items(node["tuple"])),
    "dict": _mapping(dict),
    "OrderedDict": _ordered,
    "Counter": _mapping(Counter),
    "defaultdict": _defaultdict,
    "set": _set(set),
    "frozenset": _set(frozenset),
    "deque": _deque,
    "slice": _slice,
    "bytearray": lambda r, node, _: bytearray(r.call(VALUES["bytes"], node["bytearray"])),
    "SimpleNamespace": _namespace(types.SimpleNamespace),
    "Namespace": _namespace(argparse.Namespace),
    "array": _array,
    **{tag: _tensor(tag) for tag in TENSORS.values()},
}

#: What says how an array lies in its block.
_PLACE = {"shape": list, "strides": list, "offset": int}
#: What a description may say beside its first key.
_WINDOW = {"dtype", *_PLACE}
_DETAILS = {
    "OrderedDict": {"attributes"}, "defaultdict": {"factory"}, "deque": {"maxlen"},
    "array": _WINDOW,
    **{tag: _WINDOW | {"device", "requires_grad", "attributes"} for tag in TENSORS.values()},
}  # fmt: skip
