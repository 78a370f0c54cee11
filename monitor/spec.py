"""The input format of a model: frame grid, mel bands, window and background.

Stored in the model file, so that monitoring computes the features of the training.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_MAX_WINDOW_VALUES = 2**22
"""Samples of all frames of a window; bounds what a foreign model file can allocate."""


class BackgroundSpec(BaseModel):
    """What a network compares a window with; see `monitor.model.background`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    newest_seconds: Annotated[float, Field(gt=0, le=60)] = 3.0
    """From the start of the newest window of the background to that of the window that
    is compared with it; shorter than a window, so that the two may overlap."""

    oldest_seconds: Annotated[float, Field(gt=0, le=60)] = 7.0
    """The same for the oldest one."""

    hold_score: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A window with such a score or a higher one does not become background."""

    longest_hold_seconds: Annotated[float, Field(ge=0, le=3_600)] = 30.0
    """Sounds that last longer become background."""

    @model_validator(mode="after")
    def _are_ordered(self) -> "BackgroundSpec":
        if self.oldest_seconds < self.newest_seconds:
            raise ValueError(
                f"oldest_seconds: {self.oldest_seconds} lies after newest_seconds "
                f"({self.newest_seconds})"
            )
        return self


class ModelSpec(BaseModel):
    """The front end and the window of one model.

    Frame `k` covers `frame_samples` samples from `hop_length * k`: there is no
    centring and no padding, so a frame does not depend on the window that holds it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sample_rate: Annotated[int, Field(ge=4_000, le=400_000)] = 44_100
    """Samples per second and channel."""

    channels: Literal[1, 2] = 2
    """Channels of the input; a mono recording counts as two equal ones."""

    n_fft: Annotated[int, Field(ge=16, le=16_384)] = 1024
    """Samples of the Fourier transform of a frame."""

    win_length: Annotated[int, Field(ge=16, le=16_384)] | None = None
    """Samples of the Hann window, in the middle of those, with zeros around it; None: a
    periodic Hann window of `n_fft`.  A shorter one is symmetric."""

    pre_emphasis: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Before anything else each sample is replaced by the one after it less this share
    of itself: a frame then takes one more sample."""

    hop_length: Annotated[int, Field(ge=1, le=65_536)] = 512
    """Samples from one frame to the next."""

    n_mels: Annotated[int, Field(ge=1, le=512)] = 64
    """Mel bands of a frame."""

    mel_scale: Literal["slaney", "kaldi"] = "slaney"
    """Triangles of height one, linear in Hz between the bands of Slaney's scale, or
    linear in mel between those of Kaldi's."""

    f_min: Annotated[float, Field(ge=0)] = 50.0
    """Lower edge of the lowest mel band, Hz."""

    f_max: float = 10_000.0
    """Upper edge of the highest mel band, Hz."""

    floor_db: Annotated[float, Field(ge=-300, le=0)] = -100.0
    """Log-mel of silence, dB: powers below 10 ** (floor_db / 10) are raised to it."""

    adds_floor: bool = False
    """True: that power is added to each one, rather than the powers below it raised."""

    window_frames: Annotated[int, Field(ge=1, le=8_192)] = 344
    """Frames of a window."""

    background: BackgroundSpec | None = None
    """Sound before a window that the network takes into account; None: none."""

    @model_validator(mode="after")
    def _bands_lie_below_nyquist(self) -> "ModelSpec":
        if not self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(
                f"f_max: {self.f_max} Hz must lie above f_min ({self.f_min} Hz) and "
                f"not above half the sample rate ({self.sample_rate / 2:.0f} Hz)"
            )
        return self

    @model_validator(mode="after")
    def _hann_window_fits(self) -> "ModelSpec":
        if self.win_length is not None and self.win_length > self.n_fft:
            raise ValueError(
                f"win_length: {self.win_length} samples are longer than n_fft, "
                f"{self.n_fft}"
            )
        return self

    @model_validator(mode="after")
    def _a_window_can_be_computed(self) -> "ModelSpec":
        values = self.window_frames * max(self.n_fft, self.hop_length)
        if values > _MAX_WINDOW_VALUES:
            raise ValueError(
                f"window_frames: {self.window_frames} frames of {self.n_fft} samples, "
                f"{self.hop_length} apart, are too many"
            )
        return self

    def has_windows_of(self, other: "ModelSpec") -> bool:
        """Whether windows are computed alike: one is then an input of both models."""
        without = {"background": None}
        return self.model_copy(update=without) == other.model_copy(update=without)

    @property
    def precedence(self) -> tuple[int, int]:
        """Of several models the one with the highest leads: its windows set the pace.

        With a lower rate, the others would lose treble.
        """
        return self.sample_rate, self.window_samples

    @property
    def window_samples(self) -> int:
        """Samples a window covers, from its first frame's start to its last's end."""
        return self.frame_span(self.window_frames)

    @property
    def frame_samples(self) -> int:
        """Samples a frame covers."""
        return self.n_fft + (self.pre_emphasis > 0)

    def frame_span(self, frames: int) -> int:
        """Samples that `frames` consecutive frames cover; 0 for no frame."""
        covered = (frames - 1) * self.hop_length + self.frame_samples
        return covered if frames > 0 else 0

    def frames_in(self, samples: int) -> int:
        """Number of whole frames in `samples` samples."""
        return max(0, (samples - self.frame_samples) // self.hop_length + 1)

    def frames(self, seconds: float) -> int:
        """Frames from one to another that begins `seconds` later, to the nearest."""
        return round(seconds * self.sample_rate / self.hop_length)

    def seconds(self, samples: int) -> float:
        """Duration of `samples` samples, in seconds."""
        return samples / self.sample_rate

    def samples(self, seconds: float) -> int:
        """Samples in `seconds` seconds, rounded to the nearest."""
        return round(seconds * self.sample_rate)


RESAMPLED_LATER_SAMPLES = 1_600
"""The newest sound that a resampled window leaves out, in samples of its model: the
resampler's filter delays it by up to 1,433 of them between any two usual rates,
depending on the sizes of the blocks, on which no window may depend."""


def grid_fault(
    models: Sequence[tuple[str, ModelSpec, int]], hop_frames: int
) -> str | None:
    """Say why models cannot listen with a hop, or not together; None: they can.

    Args:
        models: Name, input format, and the frames that hops are multiples of.
        hop_frames: Frames of the leading model from one window to the next.
    """
    name, leader, step = max(models, key=lambda each: each[1].precedence)
    if hop_frames % step:
        nearest = max(1, round(hop_frames / step)) * step
        return (
            f"detection.hop_frames: {hop_frames} is not a multiple of the stride of "
            f"the model {name!r}, {step} frames; take {nearest}"
        )
    hop = leader.seconds(hop_frames * leader.hop_length)
    window = leader.seconds(leader.window_samples)
    for other, spec, frames in models:
        if spec.has_windows_of(leader):
            if hop_frames % frames:
                return (
                    f"detection.hop_frames: {hop_frames} is not a multiple of the "
                    f"stride of the model {other!r}, {frames} frames"
                )
            continue
        later = spec.seconds(RESAMPLED_LATER_SAMPLES)
        stride = spec.seconds(frames * spec.hop_length)
        needed = spec.seconds(spec.window_samples) + later + stride
        if stride > hop or needed > window:
            return (
                f"models: {other!r} cannot listen beside {name!r}, whose windows of "
                f"{window:.3f} s it follows every {hop:.3f} s: it needs {needed:.3f} s "
                f"and moves by {stride:.3f} s; let it listen alone"
            )
    return None
