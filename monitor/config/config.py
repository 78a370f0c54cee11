"""The configuration of the daemon: its sections, and rules that concern several.

`monitor.config.load` turns text into settings.  Nothing here opens a file.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from monitor.config.alerts import AlertSettings, check_rules
from monitor.config.audio import (
    CanarySettings,
    HealthSettings,
    LevelSettings,
    SourceSettings,
    udp_address,
)
from monitor.config.base import Settings, Text
from monitor.config.detection import DetectionSettings, ModelSettings
from monitor.config.outputs import (
    ClipSettings,
    EventLogSettings,
    HeartbeatSettings,
    MetricsSettings,
    MqttSettings,
    StatusSettings,
    StoreSettings,
)
from monitor.config.publish import PublishSettings
from monitor.config.rollout import RolloutSettings
from monitor.config.web import WebSettings
from monitor.text import WeightedUnits, weighted_unit

_EVERY_ADDRESS = {"", "0.0.0.0", "::"}  # noqa: S104 - nothing is bound here
"""Hosts of a udp: input that stand for all addresses of the machine."""


def check_ports(sources: Sequence[SourceSettings]) -> None:
    """Check that no two sources listen at the same UDP port.

    Raises:
        ValueError: Two of them do.
    """
    ports = [
        (source.name, *udp_address(source.input))
        for source in sources
        if source.input.startswith("udp:")
    ]
    for (first, host, port), (second, other, its_port) in combinations(ports, 2):
        overlaps = host == other or not {host, other}.isdisjoint(_EVERY_ADDRESS)
        if port == its_port and overlaps:
            raise ValueError(
                f"{first!r} and {second!r} both listen at the UDP port {port}; "
                "give each a port of its own"
            )


class Config(Settings):
    """All settings of the daemon; every key has a default."""

    state_dir: Text | None = None
    """Folder for what the monitor writes; null: $STATE_DIRECTORY, else the user's."""

    sources: Annotated[tuple[SourceSettings, ...], Field(strict=False)] = (
        SourceSettings(name="street"),
    )
    """Microphones, recordings and programs to listen to; each has a name."""

    ring_seconds: Annotated[float, Field(ge=5, le=3600)] = 30.0
    """Seconds of recent sound kept in memory, in case the analysis falls behind."""

    model: ModelSettings = ModelSettings()
    models: Annotated[tuple[Text, ...], Field(strict=False)] | None = None
    """Models that listen together, each urban, world or a model file; null: the one of
    model.file, beside which models is an error.  A label that several know is scored by
    the first of them."""

    labels: Annotated[tuple[Text, ...], Field(strict=False)] | None = None
    """Labels that are reported, or groups of them; null: those that the models report
    by default.  `sound-monitor model --labels` lists them.
    """

    detection: DetectionSettings = DetectionSettings()
    level: LevelSettings = LevelSettings()
    health: HealthSettings = HealthSettings()
    event_log: EventLogSettings = EventLogSettings()
    store: StoreSettings = StoreSettings()
    alerts: Annotated[tuple[AlertSettings, ...], Field(strict=False)] = ()
    """Rules for alerts: which sounds are reported where; each has a name."""

    mqtt: MqttSettings = MqttSettings()
    publish: PublishSettings = PublishSettings()
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    status: StatusSettings = StatusSettings()
    metrics: MetricsSettings = MetricsSettings()
    canary: CanarySettings = CanarySettings()
    privacy: Literal["scores-only", "clips"] = "scores-only"
    """scores-only: sound is never stored; clips: the sound of events is, see clips."""

    clips: ClipSettings = ClipSettings()
    web: WebSettings = WebSettings()
    rollout: RolloutSettings = RolloutSettings()

    @property
    def model_files(self) -> tuple[str | None, ...]:
        """The models, as names or files; None is the default one."""
        return self.models or (self.model.file,)

    @field_validator("models")
    @classmethod
    def _models_differ(cls, models: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if models is not None and not models:
            raise ValueError("must name at least one model")
        twice = sorted(
            {name for name in models or () if (models or ()).count(name) > 1}
        )
        if twice:
            raise ValueError(f"{twice[0]!r} is there twice")
        return models

    @model_validator(mode="after")
    def _model_is_named_once(self) -> "Config":
        if self.models is not None and self.model.file is not None:
            raise ValueError(
                f"models: {', '.join(self.models)} and model.file: {self.model.file} "
                "both name models; remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _something_is_reported(self) -> "Config":
        keys = [("labels", self.labels)]
        keys += [
            (f"sources[{index}].labels", source.labels)
            for index, source in enumerate(self.sources)
        ]
        for key, labels in keys:
            if labels is not None and not labels:
                raise ValueError(
                    f"{key}: an empty list reports nothing; name a label, or write null"
                )
        return self

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

    @field_validator("sources")
    @classmethod
    def _ports_differ(
        cls, sources: tuple[SourceSettings, ...]
    ) -> tuple[SourceSettings, ...]:
        check_ports(sources)
        return sources

    @field_validator("sources", mode="before")
    @classmethod
    def _sources_are_given(cls, sources: object) -> object:
        if sources is None:
            raise ValueError(
                "has no entry; add one, as \"- {name: street, input: 'mic:default'}\", "
                "or remove the key"
            )
        return sources

    @property
    def weighted_units(self) -> WeightedUnits:
        """Units of the A-weighted levels of the sources."""
        offsets = {source.name: source.level_offset_db for source in self.sources}
        return WeightedUnits({name: weighted_unit(db) for name, db in offsets.items()})

    @model_validator(mode="after")
    def _clips_fit_into_the_ring(self) -> "Config":
        around = self.clips.before_seconds + self.clips.after_seconds
        if self.privacy == "clips" and around > self.ring_seconds / 2:
            raise ValueError(
                f"clips: before_seconds and after_seconds are {around:g} s together; "
                f"they may be half of ring_seconds: {self.ring_seconds:g} at most"
            )
        return self

    @model_validator(mode="after")
    def _published_records_are_stored(self) -> "Config":
        if self.publish.url is not None and self.store.path is None:
            raise ValueError("publish needs a database, and store.path is null")
        return self

    @model_validator(mode="after")
    def _clips_that_are_attached_are_kept(self) -> "Config":
        for index, rule in enumerate(self.alerts):
            if self.privacy != "clips" and rule.notify and rule.notify.attach:
                raise ValueError(
                    f"alerts[{index}].notify.attach: needs privacy: clips; without it, "
                    "there is no clip to attach"
                )
        return self

    @model_validator(mode="after")
    def _rules_do_not_wait_for_ignored_kinds(self) -> "Config":
        for index, rule in enumerate(self.alerts):
            if rule.kinds and set(rule.kinds) <= set(self.health.ignore):
                raise ValueError(
                    f"alerts[{index}].kinds: {', '.join(rule.kinds)}: health.ignore "
                    "contains all of them, so nothing would ever be reported"
                )
        return self

    @field_validator("alerts")
    @classmethod
    def _rules_fit_together(
        cls, alerts: tuple[AlertSettings, ...], info: ValidationInfo
    ) -> tuple[AlertSettings, ...]:
        # Invalid sources are missing here; they are reported themselves.
        if "sources" in info.data:
            check_rules(alerts, [source.name for source in info.data["sources"]])
        return alerts
