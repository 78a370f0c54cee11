"""Where a training stands, beside its tensors: steps, this epoch, the best one."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Standing:
    """Numbers from which training goes on; JSON can hold them."""

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Over the steps of this epoch."""
    best: float = -1.0
    best_epoch: int = 0
    confusion: list[list[int]] = field(default_factory=list)
    """Over the windows of this epoch that have one label."""

    def add(self, **values: float) -> None:
        """Add the figures of a step to those of the epoch."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def mean(self, name: str, of: str = "steps") -> float:
        """A sum over the epoch, divided by another."""
        return self.sums.get(name, 0.0) / max(self.sums.get(of, 0.0), 1.0)

    def confuse(self, counts: NDArray[np.int_]) -> None:
        """Add what was taken for what in a step."""
        before = np.array(self.confusion) if self.confusion else np.zeros_like(counts)
        self.confusion = (before + counts).tolist()
