"""Compile every CUDA kernel for three architectures, no GPU needed; spills to local memory fail.

The list is made by ``gpugrad.testing.kernel_list``: what the registry's samples, the optimisers and
the models ask for; and every file in ``kernels/``.  Each op's kernels are compiled for each
architecture as usual sizes and aligned arrays want them; for the first architecture also in the
forms that broadcast.  ``--all`` compiles every variant of all for each.  A line per architecture
says how many there are and what they use.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gpugrad as gg
from gpugrad import models
from gpugrad.backends.nvidia import channels
from gpugrad.backends.nvidia.compile import Usage, compiled_all
from gpugrad.backends.nvidia.text import names, text
from gpugrad.codegen.device import prelude
from gpugrad.testing import kernel_list
from gpugrad.testing.device_on_host import using
from gpugrad.testing.kernel_list import Listed, Listing, add_records, add_updates

#: All cores, whatever is left to other work.
THREADS = os.cpu_count() or 1
#: Bytes that are no spill: what a thread saves around a division's rare slow path, which is a call.
SAVED = 32
ARCHS = ("sm_90", "sm_80", "sm_100")
#: Kernels per module: parsing the helpers costs as much as compiling a few kernels.
TOGETHER = 48


@dataclass(frozen=True)
class Built:
    """A compiled kernel: what it computes, in which variant, and what it uses."""

    what: str
    usage: Usage


def train_models() -> None:
    """A step of each family of models, at the smallest sizes that have all of its kernels."""
    images, classes = gg.randn(2, 3, 32, 32), gg.tensor([0, 1])
    tokens = gg.randint(0, 11, (2, 8))
    text = {"vocab_size": 11, "n_positions": 8, "n_embd": 16, "n_layer": 1, "n_head": 2}
    vision = {"image_size": 32, "patch_size": 16, "num_layers": 1, "num_heads": 2}
    small = {"hidden_dim": 16, "mlp_dim": 32, "num_classes": 5}
    for dtype in (gg.float32, gg.bfloat16):
        for model, x, y in (
            (models.resnet18(num_classes=5), images, classes),
            (models.ConvNet(5), gg.randn(2, 1, 28, 28), classes),
            (models.VisionTransformer(**vision, **small), images, classes),
            (models.gpt2(**text), tokens, tokens),
            (models.MLP(20, [16], 5), gg.randn(2, 20), classes),
        ):
            model.to(dtype)
            scores = model(x.to(dtype) if x.is_floating_point() else x)
            scores = scores.reshape(-1, scores.shape[-1]).float()
            gg.nn.functional.cross_entropy(scores, y.reshape(-1)).backward()


def generated(listed: Sequence[Listed], arch: str) -> Iterator[Built]:
    """Compile generated kernels, many per module."""
    parts = [listed[i : i + TOGETHER] for i in range(0, len(listed), TOGETHER)]
    modules = [prelude() + "".join(k.text for k in part) for part in parts]
    for part, module in zip(parts, compiled_all(modules, arch, THREADS), strict=True):
        for k in part:
            yield Built(f"{k.what}, {k.variant}", module.usage[k.name])


def written(arch: str) -> Iterator[Built]:
    """Compile the files of ``kernels/``."""
    files = [n for n in names() if n.endswith(".cu") and n != "channels.cu"]
    sources = {n: text(n) for n in files}
    # That one is a template, which its host side fills in.
    sources |= {f"channels.cu, {s.splitlines()[-1]}": s for s in channels.sources()}
    for name, module in zip(sources, compiled_all([*sources.values()], arch, THREADS), strict=True):
        if not module.usage:
            raise SystemExit(f"{name} has no kernels")
        for kernel, usage in module.usage.items():
            yield Built(f"{name}: {kernel}", usage)


def main() -> int:
    """Print a line per architecture; 1 if anything spills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every variant for every architecture")
    parser.add_argument("--arch", action="append", choices=ARCHS, help="only this one")
    given = parser.parse_args()
    start = time.perf_counter()
    found = Listing()
    add_records(found)
    add_updates(found)
    with using(found):
        train_models()
    listed = kernel_list.texts(found)
    usual = [k for k in listed if k.usual]
    plain = [k for k in usual if k.plain]
    print(
        f"{len(found.programs)} expressions; as kernels {len(plain)}, with broadcasting "
        f"{len(usual)}, with all variants {len(listed)}"
    )
    spilling = 0
    archs = given.arch or ARCHS
    for arch in archs:
        chosen = listed if given.all else usual if arch == archs[0] else plain
        built = [*generated(chosen, arch), *written(arch)]
        spills = [b for b in built if b.usage.spill_stores > SAVED]
        most = max(built, key=lambda b: b.usage.registers)
        print(
            f"{arch}: {len(built)} kernels compiled, {len(spills)} spill, at most "
            f"{most.usage.registers} registers ({most.what}), {time.perf_counter() - start:.0f} s"
        )
        for b in spills:
            print(f"  spills {b.usage.spill_stores} bytes: {b.what}, {b.usage.registers} registers")
        spilling += len(spills)
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main())
