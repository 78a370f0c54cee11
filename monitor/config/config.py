"""The configuration: what can be set, its defaults and its rules.

Text becomes settings in `monitor.config.load`.  Nothing here opens a file.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from monitor.config.alerts import AlertSettings, check_rules
from monitor.config.base import Count, Name, Score, Seconds, Settings, Text
from monitor.config.outputs import (
    CanarySettings,
    ClipSettings,
    HealthSettings,
    HeartbeatSettings,
    MetricsSettings,
    MqttSettings,
    StatusSettings,
)

__all__ = ["Config", "Count", "Settings"]


def _is_input(text: str) -> str:
    if not re.fullmatch(r"(mic|file|command):.*\S.*|demo:", text, re.DOTALL):
        raise ValueError("must be mic:NAME, file:PATH, command:ARGV or demo:")
    return text


Input = Annotated[Text, AfterValidator(_is_input)]
SampleFormat = Literal["s16le", "s24le", "s32le", "f32le"]


class SourceSettings(Settings):
    """Where one stream of samples comes from."""

    name: Name
    """Name in records, logs and rules."""

    input: Input = "mic:default"
    """mic:NAME, file:PATH, command:ARGV (writes WAV or raw PCM on stdout) or demo:."""

    sample_rate: Annotated[int, Field(ge=8_000, le=192_000)] | None = None
    """Samples a second; null: what a microphone prefers, 44100 for raw PCM."""

    channels: Annotated[int, Field(ge=1, le=64)] | None = None
    """Channels to capture; null: one or two for a microphone, one for raw PCM."""

    sample_format: SampleFormat = "s16le"
    """Raw PCM of a command; a WAV header says it itself."""

    stall_seconds: Annotated[float, Field(ge=0.5, le=3600)] = 2.0
    """A source that delivers nothing for so long is opened again."""

    level_offset_db: Annotated[float, Field(ge=-200, le=200)] = 0.0
    """Added to dB(A): the sound pressure level at which this microphone clips."""


class ModelSettings(Settings):
    """Which network listens, and on what."""

    file: Text | None = None
    """Model file; null: the one that comes with the program."""

    compute_device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Processor of the network; auto takes a GPU where there is one."""

    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Processor threads of the network."""


class LabelSettings(Settings):
    """How the scores of one label become events; null takes what the preset says."""

    preset: Literal["impulsive", "lasting"] | None = None
    """null: impulsive for gun_shot, dog_bark and car_horn, else lasting."""

    onset_threshold: Score | None = None
    """Score at or above which the label may begin; null: what the model file says."""

    offset_threshold: Score | None = None
    """Score below which it may end; null: what the model file says."""

    smoothing_hops: Annotated[int, Field(ge=1, le=100)] | None = None
    """Scores are averaged over so many hops."""

    min_duration_on_seconds: Seconds | None = None
    """Shortest event that is told."""

    min_duration_off_seconds: Seconds | None = None
    """Shortest lull that ends an event."""

    refractory_seconds: Seconds | None = None
    """Time after an event in which the label does not begin again."""

    margin: Annotated[float, Field(ge=0, lt=1)] | None = None
    """How far the score must stand above every other label's to begin an event."""

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
    """From scores to events."""

    hop_frames: Annotated[int, Field(gt=0, le=344)] = 48
    """Frames between windows, a multiple of the network's stride; 48 is 0.557 s."""

    level_gate_dbfs: Annotated[float, Field(ge=-200, le=0)] = -70.0
    """No label begins while the loudest hop of the window is below this level."""

    labels: dict[str, LabelSettings] = Field(default_factory=dict)
    """Settings of single labels, by name."""

    @field_validator("labels", mode="before")
    @classmethod
    def _nothing_is_no_label(cls, labels: Any) -> Any:
        return {} if labels is None else labels


class EventLogSettings(Settings):
    """The log of onsets, events and gaps: JSON Lines."""

    path: Text | None = "events.jsonl"
    """File, relative to state_dir; null: no event log."""

    rotate_mib: Annotated[float, Field(gt=0, le=1_000_000)] = 50.0
    """The file is rotated before it grows beyond this size, in MiB."""

    keep: Annotated[int, Field(ge=0, le=10_000)] = 5
    """Rotated files that are kept."""


class StoreSettings(Settings):
    """The database of what was heard, without sound."""

    path: Text | None = "monitor.db"
    """File, relative to state_dir; null: no database, and so no alerts."""

    keep_days: Annotated[float, Field(gt=0, le=36_500)] = 365.0
    """Events, gaps and alerts are deleted after so many days."""

    keep_scores_days: Annotated[float, Field(gt=0, le=36_500)] = 30.0
    """So long scores can be replayed; a source writes about 4 MB of them a day."""

    max_mib: Annotated[float, Field(ge=1, le=1_000_000)] = 1024.0
    """Above this size the oldest scores are deleted, then the oldest events."""


class Config(Settings):
    """Everything that can be configured; every key has a default."""

    state_dir: Text | None = None
    """Folder for what the monitor writes; null: $STATE_DIRECTORY, else the user's."""

    sources: Annotated[tuple[SourceSettings, ...], Field(strict=False)] = (
        SourceSettings(name="street"),
    )
    """What is listened to; each source has a name."""

    ring_seconds: Annotated[float, Field(ge=5, le=3600)] = 30.0
    """Seconds of sound kept in memory for a worker that is late."""

    model: ModelSettings = ModelSettings()
    """Which network listens, and on what."""

    detection: DetectionSettings = DetectionSettings()
    """From scores to events."""

    health: HealthSettings = HealthSettings()
    """When a microphone counts as ill, and as well again."""

    event_log: EventLogSettings = EventLogSettings()
    """The log of onsets, events and gaps: JSON Lines."""

    store: StoreSettings = StoreSettings()
    """The database of what was heard, without sound."""

    alerts: Annotated[tuple[AlertSettings, ...], Field(strict=False)] = ()
    """Rules: which sounds are told to whom; each has a name."""

    mqtt: MqttSettings = MqttSettings()
    """States on an MQTT broker, also for Home Assistant; needs paho-mqtt."""

    heartbeat: HeartbeatSettings = HeartbeatSettings()
    """A URL called while the monitor truly listens; others notice when it does not."""

    status: StatusSettings = StatusSettings()
    """Where the command `status` asks the running monitor how it is doing."""

    metrics: MetricsSettings = MetricsSettings()
    """An HTTP server with /healthz and /metrics; needs prometheus-client."""

    canary: CanarySettings = CanarySettings()
    """A known sound, mixed in apart from what is heard: it must be recognised."""

    privacy: Literal["scores-only", "clips"] = "scores-only"
    """scores-only: no sound is ever stored; clips: that of events, see clips."""

    clips: ClipSettings = ClipSettings()
    """The sound of events as FLAC, with a picture; only with `privacy: clips`."""

    training: dict[str, Any] = Field(default_factory=dict)
    """Settings of the training subcommands, over the recipe of the network preset."""

    @field_validator("training", mode="before")
    @classmethod
    def _nothing_is_the_defaults(cls, training: Any) -> Any:
        return {} if training is None else training

    @field_validator("sources")
    @classmethod
    def _names_are_unique(
        cls, sources: tuple[SourceSettings, ...]
    ) -> tuple[SourceSettings, ...]:
        # Not min_length: that counts only the entries without a fault of their own.
        if not sources:
            raise ValueError("must have at least one source")
        names = [source.name for source in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources have the name {twice[0]!r}")
        return sources

    @model_validator(mode="after")
    def _clips_fit_into_the_ring(self) -> "Config":
        around = self.clips.before_seconds + self.clips.after_seconds
        if self.privacy == "clips" and around > self.ring_seconds / 2:
            raise ValueError(
                f"clips: before_seconds and after_seconds are {around:g} s together; "
                f"at most half of ring_seconds: {self.ring_seconds:g} can be had"
            )
        return self

    @model_validator(mode="after")
    def _what_is_ignored_is_not_waited_for(self) -> "Config":
        for index, rule in enumerate(self.alerts):
            if rule.kinds and set(rule.kinds) <= set(self.health.ignore):
                raise ValueError(
                    f"alerts[{index}].kinds: {', '.join(rule.kinds)}: health.ignore "
                    "has all of them, so that nothing would ever be told"
                )
        return self

    @field_validator("alerts", mode="before")
    @classmethod
    def _nothing_is_no_rule(cls, alerts: Any) -> Any:
        return () if alerts is None else alerts

    @field_validator("alerts")
    @classmethod
    def _rules_fit_together(
        cls, alerts: tuple[AlertSettings, ...], info: ValidationInfo
    ) -> tuple[AlertSettings, ...]:
        # Sources with a fault of their own are not there, and are told themselves.
        if "sources" in info.data:
            check_rules(alerts, [source.name for source in info.data["sources"]])
        return alerts
