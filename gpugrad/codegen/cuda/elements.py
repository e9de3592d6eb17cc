"""Elementwise CUDA kernels: over one frame of arrays, and over a table of many."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gpugrad.codegen.cuda.spelling import BLOCK, Spelling, Variant, memory_type


class Elements(Spelling):
    """Prints elementwise kernels."""

    def _element(self, name: str) -> tuple[list[str], Callable[[Sequence[str], str], str]]:
        """The work on one element as a function, and how it is called."""
        layout = self.layout
        inputs = [f"const {memory_type(d)} m{i}" for i, d in enumerate(layout.held)]
        outputs = [f"{memory_type(d)}& y{i}" for i, d in enumerate(layout.stored)]
        body = [self._assign(n) for n in self.order]
        places = self.counts
        extra = ["const long long j", "const long long whole"] if places else []
        lines = [f"static __device__ __forceinline__ void {name}_element("
                 + ", ".join([*extra, *self._numbers(), *inputs, *outputs]) + ") {"]  # fmt: skip
        lines += ["    " + self._input(i, f"m{i}") for i in range(len(inputs))]
        lines += ["    " + x for x in body]
        lines += [f"    gg_put(y{i}, {self.name(o)});" for i, o in enumerate(self.outputs)]
        numbers = [f"n{i}_{d.name}" for i, d in self.parameters]

        def call(arguments: Sequence[str], j: str) -> str:
            given = [j, "columns" if self.layout.table else "whole"] if places else []
            return f"{name}_element({', '.join([*given, *numbers, *arguments])});"

        return [*lines, "}"], call

    def flat(self, name: str, variant: Variant) -> str:
        """An elementwise kernel.

        Its parameters: ``I size, I columns, [I whole], [dims], numbers, inputs, outputs``.
        """
        layout, v = self.layout, variant.width
        element, call = self._element(name)
        strided = [i for i, k in enumerate(layout.reads) if k == "strided"]
        parameters = [f"const {'long long' if variant.wide else 'int'} {n}"
                      for n in ("size", "columns", "whole")[: 3 if self.counts else 2]]  # fmt: skip
        if strided:
            parameters.append(f"const {name}_dims dims")
        lines = self._head(name, variant, [*parameters, *self._numbers(), *self._pointers()])
        if strided:
            index = "long long" if variant.wide else "int"
            sizes = f"{index} size[{variant.dims}]"
            strides = f"{index} stride[{len(strided)}][{variant.dims}]"
            element = [f"struct {name}_dims {{ {sizes}; {strides}; }};", *element]
        lines.append(f"    const I i = ((I)blockIdx.x * {BLOCK} + threadIdx.x) * {v};")
        lines.append("    if (i >= size) return;")
        by_place = {"full": "i", "column": "i % columns", "row": "i / columns", "one": "0"}
        places = {i: by_place[k] for i, k in enumerate(layout.reads) if k in by_place}
        if strided:
            lines += self._strides(strided, variant.dims)
            places |= {i: f"o{i}" for i in strided}
        single = [f"x{i}[{places[i]}]" for i in range(len(layout.reads))]
        targets = [f"y{i}[i]" for i in range(len(layout.stored))]
        if v == 1:
            lines.append("    " + call([*single, *targets], "i % columns"))
            return "\n".join([*element, *lines, "}", ""])
        lines.append(f"    if (i + {v} <= size) {{")
        packed: list[str] = []
        for i, (k, d) in enumerate(zip(layout.reads, layout.held)):
            if k in ("full", "column"):
                lines.append(f"        const GGPack<{memory_type(d)}, {v}> p{i} = "
                             f"gg_read<{v}>(x{i} + {places[i]});")  # fmt: skip
                packed.append(f"p{i}.v[e]")
            else:
                lines.append(f"        const {memory_type(d)} p{i} = x{i}[{places[i]}];")
                packed.append(f"p{i}")
        outs = range(len(layout.stored))
        lines += [f"        GGPack<{memory_type(layout.stored[i])}, {v}> q{i};" for i in outs]
        lines += [
            "        #pragma unroll",
            f"        for (int e = 0; e < {v}; ++e)",
            "            " + call([*packed, *(f"q{i}.v[e]" for i in outs)], "i % columns + e"),
            *(f"        gg_write<{v}>(y{i} + i, q{i});" for i in outs),
            "        return;",
            "    }",
            "    for (I k = i; k < size; ++k)",
            "        " + call([re.sub(r"\bi\b", "k", x) for x in [*single, *targets]],
                              "k % columns"),
        ]  # fmt: skip
        return "\n".join([*element, *lines, "}", ""])

    def _strides(self, strided: Sequence[int], dims: int) -> list[str]:
        lines = [
            "    I rest = i;",
            f"    I {', '.join(f'o{i} = 0' for i in strided)};",
            "    #pragma unroll",
            f"    for (int d = {dims - 1}; d >= 0; --d) {{",
            "        const I next = rest / dims.size[d], at = rest - next * dims.size[d];",
        ]
        lines += [f"        o{i} += at * dims.stride[{k}][d];" for k, i in enumerate(strided)]
        return [*lines, "        rest = next;", "    }"]

    def table(self, name: str, variant: Variant) -> str:
        """Elementwise over arrays of their own: ``(numbers, table, lengths)``, a block per row."""
        layout, v = self.layout, variant.width
        element, call = self._element(name)
        (kind,) = {memory_type(d) for d in (*layout.held, *layout.stored)}
        count, outs = len(layout.reads), range(len(layout.stored))
        parameters = [*self._numbers(), f"{kind}* const* __restrict__ x",
                      "const long long* __restrict__ lengths"]  # fmt: skip
        lines = self._head(name, variant, parameters)
        lines += ["    const int columns = (int)lengths[blockIdx.x];"]
        lines += [f"    {kind}* const x{i} = x[(long long)blockIdx.x * {count} + {i}];"
                  for i in range(count)]  # fmt: skip
        target = [f"x{layout.into[i]}" for i in outs]
        lines += [f"    for (int i = threadIdx.x * {v}; i < columns; i += {BLOCK * v}) {{"]
        place = ["0" if k == "one" else "k" for k in layout.reads]
        single = [f"x{i}[{place[i]}]" for i in range(count)] + [f"q{i}" for i in outs]
        scalar = [*(f"{kind} q{i};" for i in outs), call(single, "k"),
                  *(f"{target[i]}[k] = q{i};" for i in outs)]  # fmt: skip
        if v > 1:
            whole = [i for i, k in enumerate(layout.reads) if k == "full"]
            packed = [f"p{i}.v[e]" if i in whole else f"x{i}[0]" for i in range(count)]
            packed += [f"q{i}.v[e]" for i in outs]
            lines += [
                f"        if (i + {v} <= columns) {{",
                *(f"            const GGPack<{kind}, {v}> p{i} = gg_read<{v}>((const {kind}*)x{i}"
                  " + i);" for i in whole),
                *(f"            GGPack<{kind}, {v}> q{i};" for i in outs),
                "            #pragma unroll",
                f"            for (int e = 0; e < {v}; ++e) {call(packed, 'i + e')}",
                *(f"            gg_write<{v}>({target[i]} + i, q{i});" for i in outs),
                "            continue;",
                "        }",
            ]  # fmt: skip
        lines += [f"        for (int k = i; k < i + {v} && k < columns; ++k) {{",
                  *("            " + x for x in scalar), "        }", "    }"]  # fmt: skip
        return "\n".join([*element, *lines, "}", ""])
