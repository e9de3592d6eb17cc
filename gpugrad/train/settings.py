"""What decides the outcome of each job; the defaults are those of the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Digits:
    """Of ``gpugrad train digits``: to the bit."""

    epochs: int = 20
    batch_size: int = 64
    lr: float = 5e-3
    seed: int = 0
    device: str = "cpu"
    weight_decay: float = 1e-2
    dropout: float = 0.4


@dataclass(frozen=True, slots=True)
class Mnist:
    """Of ``gpugrad train mnist``: to the bit.

    Attributes:
        data: a file or a folder.
        threads: of the CPU for each operation.
    """

    data: str
    epochs: int = 3
    batch_size: int = 128
    lr: float = 5e-3
    weight_decay: float = 1e-2
    dropout: float = 0.3
    seed: int = 0
    threads: int = 1
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class CharGPT:
    """Of ``gpugrad train chargpt``: to the bit, unless ``minutes`` is set.

    Attributes:
        text: a file; None for Python's standard library.
        context: characters that the model sees.
        minutes: train for so long instead of ``steps``.
        warmup: steps until the step size is ``lr``.
        evaluate_every: steps between two looks at the held-out end of the text.
        sample: characters to make up at the end.
        threads: of the CPU for each operation.
    """

    text: str | None = None
    layers: int = 4
    width: int = 128
    heads: int = 4
    context: int = 64
    batch_size: int = 16
    steps: int = 3000
    minutes: float | None = None
    lr: float = 4e-3
    warmup: int = 100
    weight_decay: float = 0.1
    dropout: float = 0.0
    evaluate_every: int = 500
    sample: int = 500
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
