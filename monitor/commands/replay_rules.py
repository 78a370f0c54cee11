"""The rules of a replay: those of a configuration, for the labels of each session."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from monitor.errors import UsageError

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.config.detection import DetectionSettings
    from monitor.detection.rules import LabelRule
    from monitor.runtime.loading import ChosenModels
    from monitor.sinks.store.records import Session


def with_sensitivities(
    configuration: "Configuration", values: Sequence[str]
) -> "Configuration":
    """Set the sensitivities of --sensitivity: VALUE, or LABEL=VALUE.

    Raises:
        UsageError: One has neither form.
    """
    detection = configuration.config.detection
    for text in values:
        label, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise UsageError(
                f"--sensitivity: {text!r} is not of the form VALUE or LABEL=VALUE, "
                "with a value from 0 to 1"
            )
        detection = detection.with_sensitivity(value, label or None)
    config = configuration.config.model_copy(update={"detection": detection})
    return replace(configuration, config=config)


class ReplayRules:
    """The rules that settings have for the scores of a session."""

    def __init__(
        self,
        models: "ChosenModels",
        detection: "DetectionSettings",
        labels: Collection[str] = (),
    ) -> None:
        """Take the models, the settings, and the labels to replay; none: all."""
        self._models, self._detection, self._chosen = models, detection, labels
        self.names = models.names
        self.not_scored: set[str] = set()
        """Labels that are reported now, and had no scores in a session."""

        self.left_out: set[str] = set()
        """Models of sessions none of whose labels is reported now."""

        self.has_any = False

    def __call__(self, session: "Session", source: str) -> Mapping[str, "LabelRule"]:
        """Return those of the labels that the source reports.

        Thresholds of one model do not apply to the scores of another.
        """
        from monitor.detection.rules import resolve_rules

        models = self._models
        scored = {
            label
            for label in session.labels
            if models.names.get(label) in session.model.split("+")
        }
        if not scored:
            self.left_out.add(session.model)
            return {}
        self.has_any = True
        spec = models.leader.spec.model_copy(
            update={"sample_rate": session.sample_rate}
        )
        every = models.labels.all_reported
        reported = models.labels.reported.get(source, every)
        self.not_scored |= {*reported} - scored
        return resolve_rules(
            [
                it
                for it in session.labels
                if it in reported and it in scored and it in (self._chosen or reported)
            ],
            self._detection,
            models.thresholds,
            spec,
            models.presets,
            {*models.known, *session.labels},
        )
