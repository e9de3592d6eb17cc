"""Which names of PyTorch's a source file uses, read from its syntax tree and never run.

Followed are imports under any alias (``import torch.nn as nn``, ``from torch.nn import functional
as F``), inside functions too, where they shadow what is outside.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpugrad.compat.names import THEIRS, is_theirs

#: What catches the error of a name that is not there.
_CATCHES = {"ImportError", "ModuleNotFoundError", "AttributeError", "Exception", "BaseException"}
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """One place where a name is used; ``guarded`` if the script can do without it."""

    name: str
    line: int
    guarded: bool


@dataclass(slots=True)
class Uses:
    """What one file uses.

    Attributes:
        names: PyTorch's, dotted: ``torch.nn.Linear``.
        attributes: what stands behind a dot of anything else, e.g. of a variable.
        stars: lines of ``from torch... import *``, whose names cannot be told from others.
        companions: other packages that are imported and whose name begins with ``torch``.
    """

    names: list[Use] = field(default_factory=list)
    attributes: list[Use] = field(default_factory=list)
    stars: list[Use] = field(default_factory=list)
    companions: list[Use] = field(default_factory=list)


def source_of(path: Path) -> str | bytes:
    """A file as it is (it may name its encoding); a notebook's code cells without their magics.

    Raises:
        ValueError: a notebook is none.
    """
    if path.suffix != ".ipynb":
        return path.read_bytes()
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a notebook: {error!r} in its JSON") from None
    return re.sub(r"^(\s*)[%!].*", r"\1pass", "\n".join(code), flags=re.MULTILINE)


def read(source: str | bytes) -> Uses:
    """The names that a program uses.

    Raises:
        SyntaxError: it is not Python.
    """
    reader = _Reader()
    reader.run(ast.parse(source))
    return reader.uses


class _Reader(ast.NodeVisitor):
    """Walks the tree with what each alias means in the scopes around the node."""

    def __init__(self) -> None:
        self.uses = Uses()
        self._scopes: list[dict[str, str]] = []  # "" for a name that means something else
        self._guards = 0
        self._probed: set[str] = set()
        self._optional: set[str] = set()

    def run(self, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _is_call_of(node, "hasattr"):
                self._probed.add(ast.unparse(node.args[0]) + "." + _text(node.args[1]))
        self._enter(tree.body)
        self.generic_visit(tree)

    # ---- scopes

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        body = node.body if isinstance(node.body, list) else [node.body]
        for outside in (*getattr(node, "decorator_list", ()), node.args):
            self.visit(outside)  # defaults and annotations
        if returns := getattr(node, "returns", None):
            self.visit(returns)
        arguments = {a.arg: "" for a in ast.walk(node.args) if isinstance(a, ast.arg)}
        self._enter(body, arguments)
        for part in body:
            self.visit(part)
        self._scopes.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function

    def _enter(self, body: Sequence[ast.AST], arguments: dict[str, str] | None = None) -> None:
        scope = {**(arguments or {}), **_bindings(body)}
        self._scopes.append(scope)
        # `F = nn.functional` is an alias like any other, if that is all that F is ever given.
        given = Counter(
            n.id for n in _of_scope(body)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        )  # fmt: skip
        for node in _of_scope(body):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if given[name] == 1:
                    if scope.get(name) == "":
                        scope[name] = self._meaning(value)

    def _meaning(self, node: ast.expr) -> str:
        """The dotted PyTorch name of an expression such as ``nn.functional.relu``, or ""."""
        match node:
            case ast.Name(id=name):
                return next((s[name] for s in reversed(self._scopes) if name in s), "")
            case ast.Attribute(value=value, attr=attr):
                owner = self._meaning(value)
                return f"{owner}.{attr}" if owner else ""
        return ""

    # ---- what scripts do when a name is not there

    def visit_Try(self, node: ast.Try) -> None:
        caught = {n.id for h in node.handlers for n in ast.walk(h.type or ast.Name("Exception"))
                  if isinstance(n, ast.Name)}  # fmt: skip
        guard = bool(caught & _CATCHES)
        self._guards += guard
        for part in node.body:
            self.visit(part)
        self._guards -= guard
        for after in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(after)

    def visit_If(self, node: ast.If) -> None:
        """What only type checkers see is not used."""
        if ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
            for part in node.orelse:
                self.visit(part)
        else:
            self.generic_visit(node)

    # ---- uses

    def _use(self, name: str, node: ast.expr | ast.stmt, written: str = "") -> None:
        guarded = self._guards > 0 or written in self._probed
        guarded = guarded or any(f"{name}.".startswith(f"{o}.") for o in self._optional)
        self.uses.names.append(Use(name, node.lineno, guarded))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if is_theirs(alias.name):
                self._import(alias.name, node)
            self._companion(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level:
            return
        self._companion(module, node)
        for alias in node.names:
            if is_theirs(module) and alias.name == "*":
                self.uses.stars.append(Use(module, node.lineno, False))
            elif is_theirs(module):
                self._import(f"{module}.{alias.name}", node)

    def _import(self, name: str, node: ast.stmt) -> None:
        if self._guards and name != THEIRS:
            self._optional.add(name)  # what hangs on it is used where it was found
        self._use(name, node)

    def _companion(self, module: str, node: ast.stmt) -> None:
        top = module.partition(".")[0]
        if top.startswith(THEIRS) and top != THEIRS:
            self.uses.companions.append(Use(top, node.lineno, self._guards > 0))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._meaning(node)
        if name:
            self._use(name, node, ast.unparse(node))
            return
        self.uses.attributes.append(Use(node.attr, node.lineno, self._guards > 0))
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        if _is_call_of(node, "getattr") and len(node.args) == 2:
            owner = self._meaning(node.args[0])
            if owner and (text := _text(node.args[1])):
                self._use(f"{owner}.{text}", node)
        self.generic_visit(node)


def _is_call_of(node: ast.Call, name: str) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == name and len(node.args) >= 2


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _bindings(body: Sequence[ast.AST]) -> dict[str, str]:
    """Names that a scope binds itself: imports of torch's with their meaning, others with ""."""
    imported: dict[str, str] = {}
    others: dict[str, str] = {}
    outer: set[str] = set()
    for node in _of_scope(body):
        match node:
            case ast.Import(names=names):
                for a in names:
                    top = a.name.partition(".")[0]
                    meaning = a.name if a.asname else top
                    imported[a.asname or top] = meaning if is_theirs(meaning) else ""
            case ast.ImportFrom(module=module, names=names, level=level):
                ours = level == 0 and is_theirs(module or "")
                for a in names:
                    imported[a.asname or a.name] = f"{module}.{a.name}" if ours else ""
            case ast.Name(id=name, ctx=ast.Store()):
                others[name] = ""
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                others[node.name] = ""
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                outer.update(names)
    # `try: import torch.x as y ... except ImportError: y = None`: the import is what is meant.
    found = {**others, **imported}
    return {name: meaning for name, meaning in found.items() if name not in outer}


def _of_scope(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Every node of a scope, in the order of the text, without the insides of what it defines."""
    waiting: list[ast.AST] = list(body)
    waiting.reverse()
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _SCOPES):
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))
