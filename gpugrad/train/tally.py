"""What the steps between two evaluations add up to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Sums over the steps since the last evaluation.

    Attributes:
        count: samples seen.
        sums: over those samples, by name; ``loss`` is always there after a step.
        seconds: spent on the steps.
    """

    count: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 1e-9

    def add(self, count: int, sums: dict[str, float], seconds: float) -> None:
        """Take a step in."""
        self.count += count
        self.seconds += seconds
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def averages(self) -> dict[str, float]:
        """Every sum per sample."""
        return {name: value / self.count for name, value in self.sums.items()}

    @property
    def speed(self) -> float:
        """Samples per second."""
        return self.count / self.seconds
