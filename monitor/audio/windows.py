"""The grid of windows and hops, on the absolute sample index."""

from dataclasses import dataclass

from monitor.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """Window `i` covers `window_samples` samples from `i * hop_samples`.

    The grid is fixed to the opening of the source: a gap drops the windows that it
    touches and moves none.
    """

    window_samples: int
    hop_samples: int

    @classmethod
    def of(cls, spec: ModelSpec, hop_frames: int) -> "WindowGrid":
        """Grid of a model's windows, `hop_frames` frames apart."""
        return cls(spec.window_samples, hop_frames * spec.hop_length)

    def window(self, index: int) -> tuple[int, int]:
        """Samples [start, stop) of window `index`."""
        start = index * self.hop_samples
        return start, start + self.window_samples

    def first_from(self, sample: int) -> int:
        """Index of the first window that begins at or after `sample`."""
        return -(-sample // self.hop_samples)

    def hop_end_after(self, sample: int) -> int:
        """First end of a window, of any index, that lies after `sample`.

        Levels are measured between such ends, so that the newest hop of a window is
        one measurement.
        """
        phase = self.window_samples % self.hop_samples
        return (sample - phase) // self.hop_samples * self.hop_samples + (
            phase + self.hop_samples
        )
