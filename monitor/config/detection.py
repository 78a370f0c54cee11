"""Settings of the network, and of how its scores become events."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from monitor.config.base import Score, Seconds, Settings, Text

Sensitivity = Annotated[float, Field(ge=0, le=1)]
DEFAULT_SENSITIVITY = 0.5
"""With it, thresholds are those of the model file."""


class ModelSettings(Settings):
    """The network, and the processor that runs it."""

    file: Text | None = None
    """urban or world, which are included in the program, or a model file; null: urban.
    "model: world" is short for a section with this key alone.  With models as well it
    is an error."""

    compute_device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Processor of the network; auto uses a GPU if there is one."""

    engine: Literal["onnx", "torch"] = "onnx"
    """Library that runs the network on the CPU: ONNX Runtime, or torch, which is slower
    and needs the extra train; a GPU always takes torch."""

    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """CPU threads for the network."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone_is_a_file(cls, section: object) -> object:
        return {"file": section} if isinstance(section, str) else section


class LabelSettings(Settings):
    """Rules by which the scores of one label become events; null: as the preset."""

    preset: Literal["impulsive", "lasting"] | None = None
    """impulsive or lasting; null: impulsive for gun_shot, dog_bark and car_horn, else
    lasting.
    """

    sensitivity: Sensitivity | None = None
    """Sensitivity of this label; null: that of all labels."""

    onset_threshold: Score | None = None
    """Score at or above which an event may begin, instead of a sensitivity; null: from
    the model file."""

    offset_threshold: Score | None = None
    """Score below which it may end; null: from the model file."""

    smoothing_hops: Annotated[int, Field(ge=1, le=100)] | None = None
    """Number of hops that scores are averaged over."""

    min_duration_on_seconds: Seconds | None = None
    """Shortest event that is reported."""

    min_duration_off_seconds: Seconds | None = None
    """Shortest pause that ends an event."""

    refractory_seconds: Seconds | None = None
    """Time after an event during which the label cannot begin again."""

    margin: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Minimum distance above every other label's score for an event to begin."""

    @model_validator(mode="after")
    def _onset_threshold_is_given_once(self) -> "LabelSettings":
        if self.sensitivity is not None and self.onset_threshold is not None:
            raise ValueError(
                f"sensitivity: {self.sensitivity} must not be given together with "
                f"onset_threshold: {self.onset_threshold}, for both set the same "
                "threshold; remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _thresholds_are_ordered(self) -> "LabelSettings":
        onset, offset = self.onset_threshold, self.offset_threshold
        if onset is not None and offset is not None and offset > onset:
            raise ValueError(
                f"offset_threshold: {offset} must not be above onset_threshold: "
                f"{onset}, or the label could never stay on"
            )
        return self


class DetectionSettings(Settings):
    """Rules by which scores become events."""

    hop_frames: Annotated[int, Field(gt=0, le=344)] = 48
    """Frames from one window to the next, a multiple of the network's stride; 48 frames
    are 0.557 s.
    """

    level_gate_dbfs: Annotated[float, Field(ge=-200, le=0)] = -70.0
    """No event begins while the loudest hop of the window is below this level."""

    sensitivity: Sensitivity = DEFAULT_SENSITIVITY
    """From 0, fewest false alarms, to 1, most sounds detected; 0.5: the thresholds of
    the model file.  `sound-monitor check` prints the figures to expect.
    """

    labels: dict[str, LabelSettings] = Field(default_factory=dict)
    """Settings for individual labels, by name."""

    def sensitivity_of(self, label: str) -> float:
        """The sensitivity of a label: its own, else the common one."""
        own = self.labels.get(label, LabelSettings()).sensitivity
        return self.sensitivity if own is None else own

    def with_sensitivity(
        self, value: float, label: str | None = None
    ) -> "DetectionSettings":
        """Return the same rules with another sensitivity, of one label or of all.

        That of a label replaces its onset threshold; labels with either of their own do
        not follow the common one.
        """
        if label is None:
            return self.model_copy(update={"sensitivity": value})
        own = self.labels.get(label, LabelSettings())
        changed = own.model_copy(update={"sensitivity": value, "onset_threshold": None})
        return self.model_copy(update={"labels": {**self.labels, label: changed}})

    def without_thresholds(self) -> "DetectionSettings":
        """Return the same rules with the thresholds of the model file."""
        none = dict.fromkeys(("sensitivity", "onset_threshold", "offset_threshold"))
        labels = {it: each.model_copy(update=none) for it, each in self.labels.items()}
        return self.model_copy(
            update={"sensitivity": DEFAULT_SENSITIVITY, "labels": labels}
        )
