"""A record's C spelling as Python, for Numba: one spelling per leaf serves both targets.

The grammar is that of C expressions over names, numbers and calls; statements, pointers and
assignments do not occur in spellings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from gpugrad.errors import NotSupportedError

_TOKEN = re.compile(r"\s*(\w+(?:\.\w+)?|\|\||&&|[=!<>]=|<<|>>|[-+*/%&|^~!?:<>(),])")
#: Binary operators from loose to tight, with Python's spelling where it differs.
_LEVELS: tuple[dict[str, str], ...] = (
    {"||": "|"}, {"&&": "&"}, {"|": "|"}, {"^": "^"}, {"&": "&"}, {"==": "==", "!=": "!="},
    {"<": "<", "<=": "<=", ">": ">", ">=": ">="}, {"<<": "<<", ">>": ">>"},
    {"+": "+", "-": "-"}, {"*": "*", "/": "/", "%": "%"},
)  # fmt: skip
_TRUTH = ("||", "&&")
#: C's type names, as spellings print them, and Numba's.
TYPES = {"float", "double", "longlong", "int", "short", "signedchar", "unsignedchar", "bool"}


class _Parser:
    """Recursive descent over one spelling; ``called`` collects the functions it names."""

    def __init__(self, text: str, number: Callable[[str], str]) -> None:
        self._tokens = _TOKEN.findall(text)
        self._number = number
        self._at = 0
        self.called: set[str] = set()
        if "".join(self._tokens) != re.sub(r"\s", "", text):
            raise NotSupportedError(f"spelling {text!r} is no C expression that is known here")

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, *tokens: str) -> str:
        token = self._next()
        if tokens and token not in tokens:
            return ""
        self._at += 1
        return token

    def whole(self) -> str:
        """The translation of everything.

        Raises:
            NotSupportedError: if something is left over.
        """
        text = self.choice()
        if self._next():
            raise NotSupportedError(f"spelling with {self._next()!r} cannot be read")
        return text

    def choice(self) -> str:
        condition = self._binary(0)
        if not self._take("?"):
            return condition
        yes = self.choice()
        self._take(":")
        return f"({yes} if {condition} else {self.choice()})"

    def _binary(self, level: int) -> str:
        if level == len(_LEVELS):
            return self._unary()
        text = self._binary(level + 1)
        while operator := self._take(*_LEVELS[level]):
            right = self._binary(level + 1)
            if operator in _TRUTH:
                text, right = f"bool({text})", f"bool({right})"
            text = f"({text} {_LEVELS[level][operator]} {right})"
        return text

    def _unary(self) -> str:
        if operator := self._take("!", "-", "~", "+"):
            inner = self._unary()
            return f"(not {inner})" if operator == "!" else f"({operator}{inner})"
        token = self._take()
        if token == "(":
            if self._next() in TYPES and self._tokens[self._at + 1] == ")":
                name = self._take()
                self._take(")")
                return f"to_{name}({self._unary()})"
            inner = self.choice()
            self._take(")")
            return f"({inner})"
        if token[:1].isdigit():
            return self._number(token)
        if token in ("true", "false"):
            return token.capitalize()
        return self._call(token) if self._take("(") else token

    def _call(self, name: str) -> str:
        self.called.add(name)
        arguments = []
        while not self._take(")"):
            arguments.append(self.choice())
            self._take(",")
        return f"{name}({', '.join(arguments)})"


@lru_cache(maxsize=4096)
def translate(text: str, number: str) -> tuple[str, tuple[str, ...]]:
    """Python of a C expression, and the functions it calls.

    Args:
        text: the expression; types in it are written without spaces.
        number: what a literal becomes, with ``{}`` for its digits.

    Raises:
        NotSupportedError: for what is not in the grammar.
    """
    parser = _Parser(text, number.format)
    return parser.whole(), tuple(sorted(parser.called))
