"""Puts the canary together: what it tries is what is in use."""

from monitor.config.config import Config
from monitor.model.classifier import Classifier
from monitor.runtime.assembly import rules_of
from monitor.runtime.canary import Canary
from monitor.runtime.canary_trial import GOLDEN, MIXED, Ears
from monitor.runtime.clock import Clock
from monitor.runtime.health_desk import HealthDesk
from monitor.runtime.past import Past
from monitor.runtime.pipeline import Pipeline


def build_canary(
    config: Config, classifier: Classifier, past: Past, desk: HealthDesk, clock: Clock
) -> Canary | None:
    """Build what `config` asks for; None: nothing, or there is no live source.

    Args:
        config: The configuration.
        classifier: The very one that is in use.
        past: The sound of the sources.
        desk: Where failures are told.
        clock: Of the machine.
    """
    # A recording ends, and may be fed faster than it sounds.
    live = [
        source.name
        for source in config.sources
        if source.input.partition(":")[0] in ("mic", "command")
    ]
    if config.canary.every_seconds is None or not live:
        return None
    ears = ears_of(config, classifier)
    return Canary(config.canary, live, ears, past, desk, clock)


def ears_of(config: Config, classifier: Classifier) -> Ears:
    """What there is to try: `classifier` with the rules of `config`."""
    rules, detection = rules_of(config, classifier), config.detection

    def make_pipeline() -> Pipeline:
        return Pipeline(
            classifier,
            rules,
            hop_frames=detection.hop_frames,
            level_gate_dbfs=detection.level_gate_dbfs,
            level_offsets_db={GOLDEN: 0.0, MIXED: 0.0},
            session="canary",
        )

    return Ears(
        classifier,
        rules,
        detection.hop_frames * classifier.spec.hop_length,
        detection.level_gate_dbfs,
        make_pipeline,
    )
