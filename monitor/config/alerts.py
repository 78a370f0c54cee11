"""Settings of the alerts: which sounds and problems are reported where, and when."""

import re
import zoneinfo
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from monitor.config.base import Count, Name, Seconds, Settings, Text
from monitor.config.hooks import CommandSettings, WebhookSettings
from monitor.config.outputs import MqttAlertSettings, NotifySettings
from monitor.records import HealthKind

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOOKS = ("webhook", "command", "notify", "mqtt")
"""Names of the hooks, which are fields of `AlertSettings`."""

_DAY_MINUTES = 24 * 60


def minutes_of(time_of_day: str) -> int:
    """Minutes from midnight to a time as `22:30`; 24:00 is 1440."""
    hours, minutes = time_of_day.split(":")
    return int(hours) * 60 + int(minutes)


def _is_time_of_day(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d|24:00", text):
        raise ValueError('must be a time of day from "00:00" to "24:00"')
    return text


def _is_zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not a time zone; write it as Europe/Berlin") from None
    return name


TimeOfDay = Annotated[Text, AfterValidator(_is_time_of_day)]
Zone = Annotated[Text, AfterValidator(_is_zone)]


class QuietSettings(Settings):
    """A time of the week without alerts."""

    begin: TimeOfDay = "00:00"
    """Time of day at which the quiet time begins."""

    end: TimeOfDay = "24:00"
    """Time of day at which it ends; on the next day if before begin."""

    weekdays: Annotated[tuple[Weekday, ...], Field(strict=False)] = WEEKDAYS
    """Days on which it begins."""

    @model_validator(mode="after")
    def _has_a_duration(self) -> "QuietSettings":
        if self.begin == self.end:
            raise ValueError(
                f"begin and end are both {self.begin}; for a whole day write 00:00 and "
                "24:00"
            )
        if self.begin == "24:00":
            raise ValueError("begin: 24:00 is the next day; write 00:00")
        if not self.weekdays:
            raise ValueError("weekdays: an empty list is never; leave the entry out")
        return self


class AlertSettings(Settings):
    """One rule: which sounds and health problems are reported where, and when not."""

    name: Name
    """Name of the rule in alerts, logs and commands."""

    labels: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    """Labels that the rule reports; empty: all."""

    sources: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    """Sources that the rule applies to; empty: all."""

    min_score: Annotated[float, Field(ge=0, le=1)] = 0.0
    """A sound is reported once its highest score reaches this value."""

    min_level_dbfs: Annotated[float, Field(ge=-200, le=0)] | None = None
    """A sound is reported once its loudest hop reaches this level; null: any level."""

    min_duration_seconds: Seconds = 0.0
    """A sound is reported once it has lasted this long."""

    on: Annotated[
        tuple[Literal["onset", "end", "health"], ...], Field(strict=False)
    ] = ("onset",)
    """onset: when a sound is first reported; end: when it is over; health: see kinds.
    """

    kinds: Annotated[tuple[HealthKind, ...], Field(strict=False)] = ()
    """Kinds of health problems to report when raised and when cleared; empty: all."""

    still_on_seconds: Annotated[float, Field(ge=1, le=86_400)] | None = None
    """A reported sound that continues is reported again at this interval."""

    escalate_after_seconds: Annotated[float, Field(ge=1, le=86_400)] | None = None
    """A sound that lasts this long is reported once more, as an escalation."""

    cooldown_seconds: Seconds = 0.0
    """Time after an alert during which the same label or kind of a source is not
    reported.
    """

    max_per_hour: Count | None = None
    """Further alerts within an hour are held back and sent as one digest; null: no
    limit.
    """

    quiet: Annotated[tuple[QuietSettings, ...], Field(strict=False)] = ()
    """Times without alerts; what still continues afterwards is reported then."""

    time_zone: Zone | None = None
    """Time zone of the quiet times, such as Europe/Berlin; null: the machine's."""

    deadline_seconds: Annotated[float, Field(ge=1, le=2_592_000)] = 86_400.0
    """An alert that cannot be delivered for this long counts as failed."""

    webhook: WebhookSettings | None = None
    command: CommandSettings | None = None
    notify: NotifySettings | None = None
    mqtt: MqttAlertSettings | None = None

    @property
    def hooks(self) -> dict[str, Settings]:
        """The sections of the hooks that the rule has, by name."""
        sections = {name: getattr(self, name) for name in HOOKS}
        return {name: section for name, section in sections.items() if section}

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Names of the endpoints: RULE/HOOK."""
        return tuple(f"{self.name}/{hook}" for hook in self.hooks)

    @model_validator(mode="after")
    def _fits_together(self) -> "AlertSettings":
        after = self.escalate_after_seconds
        if not self.hooks:
            raise ValueError(
                f"rule {self.name!r} has no hook; it needs {' or '.join(HOOKS)}"
            )
        if not self.on and after is None:
            raise ValueError(
                "on: an empty list reports nothing without escalate_after_seconds"
            )
        if self.still_on_seconds is not None and "onset" not in self.on and not after:
            raise ValueError(
                "still_on_seconds needs onset in on, or escalate_after_seconds: there "
                "is no earlier report that could be repeated"
            )
        if self.kinds and "health" not in self.on:
            raise ValueError("kinds needs health in on")
        if self.labels and not ({"onset", "end"} & {*self.on} or after):
            raise ValueError("labels needs onset or end in on; health has kinds")
        if self.notify and self.notify.attach and "end" not in self.on:
            raise ValueError(
                "notify.attach needs end in on: the clip of a sound is complete "
                "after its end"
            )
        if after is not None and after <= self.min_duration_seconds:
            raise ValueError(
                f"escalate_after_seconds: {after:g} must be longer than "
                f"min_duration_seconds: {self.min_duration_seconds:g}"
            )
        return self

    @field_validator("quiet")
    @classmethod
    def _does_not_cover_the_week(
        cls, quiet: tuple[QuietSettings, ...]
    ) -> tuple[QuietSettings, ...]:
        if len(_quiet_minutes(quiet)) == 7 * _DAY_MINUTES:
            raise ValueError("covers the whole week: nothing would ever be reported")
        return quiet


def _quiet_minutes(quiet: Iterable[QuietSettings]) -> set[int]:
    """Minutes of a week without clock changes that are quiet."""
    minutes: set[int] = set()
    for each in quiet:
        begin, end = minutes_of(each.begin), minutes_of(each.end)
        end += _DAY_MINUTES * (end < begin)
        for weekday in each.weekdays:
            first = WEEKDAYS.index(weekday) * _DAY_MINUTES
            minutes.update(
                (first + minute) % (7 * _DAY_MINUTES) for minute in range(begin, end)
            )
    return minutes


def check_rules(rules: tuple[AlertSettings, ...], sources: Iterable[str]) -> None:
    """Check the rules against each other and against the sources.

    Raises:
        ValueError: Two rules share a name, or one names an unknown source.
    """
    names = [rule.name for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two rules have the name {twice[0]!r}")
    known = list(sources)
    for index, rule in enumerate(rules):
        for source in rule.sources:
            if source not in known:
                raise ValueError(
                    f"[{index}].sources: {source!r} is not a source; choose from "
                    f"{', '.join(known)}"
                )
