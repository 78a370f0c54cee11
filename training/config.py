"""The settings of training.

train.yaml beside this file shows every setting with its default.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from monitor.config.base import Count, Settings
from monitor.spec import ModelSpec

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0)]
SplitKind = Literal["fold", "group", "random"]
Precision = Literal["auto", "bfloat16", "float32"]

SETTINGS_FILE = Path(__file__).with_name("train.yaml")
"""Settings file that shows every setting with its explanation and default."""


INCLUDED_MODEL, NOT_PRETRAINED = "urban", "none"
"""Values of `PretrainedSettings.model` beside world and model files."""

WITH_BACKGROUND = ("mobile",)
"""Presets whose network compares a window with the background before it."""


class OptimiserSettings(Settings):
    """Optimiser and schedule."""

    epochs: Count = 30
    """Passes over the training material."""

    batch_size: Count = 32
    """Windows in a step; fewer where the clips are few."""

    learning_rate: Positive = 3e-3
    """Peak of the OneCycle schedule."""

    head_rate_factor: Positive = 1.0
    """Learning rate of the linear head, as a multiple of that of the blocks."""

    weight_decay: NonNegative = 0.01
    """Decoupled weight decay of AdamW."""

    warm_up_share: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Share of the steps in which the learning rate rises; it falls in the others, so
    this is below 1."""

    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.997
    """Decay per step of the moving average of the weights, which is the result."""

    clip_norm: Positive = 3.0
    """Longer gradients are shortened to this norm."""

    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Targets 0 and 1 become this and 1 minus this."""

    column_weight: NonNegative = 0.0
    """Weight of the loss on the scores over time; 0 leaves it out."""

    precision: Precision = "auto"
    """Precision of the multiplications: auto is bfloat16 on a GPU that has it, else
    float32; weights, averages and the loss always have 32 bits."""


class MixtureSettings(Settings):
    """Content of the training windows, before the front end."""

    balance: Share = 0.5
    """0: every clip once an epoch; above: clips of frequent labels and groups are drawn
    less often, by their number to the minus this."""

    ambience_items: Share = 0.0
    """Share of windows without any label: negatives and synthetic sounds."""

    synthetic_share: Share = 0.4
    """Share of synthetic sounds (noise, hum, wind, speech, music, clatter) in these."""

    over_ambience: Share = 0.0
    """Share of clips that are laid over ambience, at 3 to -20 dB."""

    two_sources: Share = 0.0
    """Share of windows with clips of two labels; both are targets."""

    partial: Share = 0.3
    """Share of clips that begin before or end after the window."""

    repeat: Share = 0.25
    """Share of short sounds that are repeated in the window."""

    speed_share: Share = 0.0
    """Share of clips played at another speed."""

    speed_range: Annotated[float, Field(ge=0, le=0.5)] = 0.15
    """Largest change of speed."""

    filter_share: Share = 0.0
    """Share of clips behind a random equaliser, band limit or room."""

    gain_range_db: NonNegative = 32.0
    """Peaks lie between full scale and this below it."""

    microphone_noise: Share = 0.3
    """Share of windows with noise at -85 to -55 dBFS added at the end."""

    quantise_share: Share = 0.5
    """Share of these that are then rounded to 16 bit."""


class FeatureSettings(Settings):
    """Augmentation of the log-mel of a training window."""

    roll: bool = False
    """Roll the window by a random number of frames: time shift, wrapped around."""

    gain_db: NonNegative = 0.0
    """Largest change of level, both ways."""

    filter_db: NonNegative = 0.0
    """Deviation of a random smooth curve over the bands."""

    mix_share: Share = 0.0
    """Share of windows to which the power of another one of the batch is added."""

    mask_share: Share = 1.0
    """Probability of each mask."""

    frequency_masks: Whole = 1
    """Masks of neighbouring mel bands, replaced by the mean."""

    frequency_mask_bands: Count = 6
    """Largest width of a mask, mel bands."""

    time_masks: Whole = 1
    """Masks of neighbouring frames, replaced by the mean."""

    time_mask_frames: Count = 34
    """Longest mask, frames."""


class PretrainedSettings(Settings):
    """The model whose network training begins with; not with a teacher."""

    model: str = NOT_PRETRAINED
    """urban or world, the included models; none; or a model file (--from)."""

    fewest_recordings: Whole = 1000
    """With fewer recordings, all layers before the heads keep the weights of the
    model."""


class TeacherSettings(Settings):
    """Distillation; only with a teacher."""

    sample_rate: Count = 32_000
    """Sample rate of the teacher's input, Hz."""

    embedding_weight: NonNegative = 2.0
    """Weight of the squared distance to the teacher's embedding, standardised."""

    logits_weight: NonNegative = 1.0
    """Weight of the squared distance to the teacher's logits, standardised."""

    soft_share: Share = 0.7
    """Share in the targets of a logistic regression on the teacher's outputs."""

    classes: dict[str, tuple[Whole, ...]] | None = None
    """Numbers of the teacher's classes of the same meaning, by label: the
    regression begins with them; null: those of AudioSet, for a teacher of its 527."""

    label_gradient: Share = 1.0
    """Share of the labels' gradient that goes beyond the heads; at 0 the blocks learn
    from the teacher alone, and cannot memorise recordings."""

    fitted_head: bool = True
    """Fit the head of the windows anew at the end, to the teacher's outputs, where the
    features are the teacher's embedding."""

    frozen_layers: Whole = 7
    """First layers of the blocks that keep the teacher's weights, where the network
    begins with them."""

    bank_items: Count = 20_000
    """Mixtures in the target cache, which stores them with the teacher's outputs."""

    clean_repeats: Whole = 2
    """Times that each unaltered clip comes beside the mixtures in one epoch."""


class HeadSettings(Settings):
    """Heads that know the background; only with places."""

    streams: Annotated[int, Field(ge=8)] = 480
    """Streams for each network, whose windows the heads learn."""

    stream_seconds: Annotated[float, Field(ge=20, le=600)] = 60.0
    """Length of one."""

    steps: Count = 300
    """Steps of a fit."""

    batch_streams: Count = 16
    """Streams in a step."""

    learning_rate: Positive = 2e-3
    """Peak of the OneCycle schedule."""

    weight_decay: NonNegative = 0.05
    """Decoupled weight decay of AdamW."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the inputs that are left out in a step."""

    noise: NonNegative = 1.5
    """Noise on the inputs, in their deviations."""

    teacher_score: Share = 0.3
    """Score of the teacher for a label's class from which a place is no
    counter-example."""

    passes: Count = 3
    """Times that each place is under the events of the test."""

    false_alarms_per_hour: Positive = 1.5
    """Budget of the thresholds in places, over all labels together."""

    lowest_recall: Share = 0.34
    """Share of the events of each label at 12 dB that the threshold lets through at
    least, even if the budget is exceeded."""

    most_false_alarms_per_hour: Positive = 0.5
    """False alarms of a label that this may cost at most."""


class TrainingSettings(Settings):
    """All settings that decide the result of a training, except the recordings."""

    preset: str = "article"
    """Network, with its recipe: article or mobile, which the command takes if the file
    names none."""

    seed: Whole = 0
    """Seed of every random draw of the run."""

    split: SplitKind = "fold"
    """fold: the folds of the data; group: folds made of whole groups; random: folds
    made clip by clip, whose figures do not hold for new recordings."""

    folds: Annotated[int, Field(ge=2, le=100)] = 5
    """Folds to make where the data has none, or by group or clip."""

    test_folds: tuple[int, ...] = ()
    """Folds that are never trained on and tested at the end."""

    validation_folds: tuple[int, ...] = ()
    """Folds that are not trained on but choose the best epoch."""

    negatives_test_folds: tuple[int, ...] = (3,)
    """Folds of the negatives that are never trained on."""

    patience: Whole = 0
    """Epochs without a better validation after which to stop; 0: never."""

    false_alarms_per_hour: Positive = 0.5
    """Budget of the thresholds over all labels together."""

    highest_onset: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Highest onset threshold of a label, even if the budget is exceeded: a label that
    is never detected is worth nothing."""

    ambience_hours: Positive = 2.0
    """Length of the ambience made of each part of the negatives, for thresholds."""

    stream_hours: NonNegative = 1.0
    """Length of the streams on which a cross-validation tests each fold; 0: none."""

    test_ambience_hours: NonNegative = 6.0
    """Length of the ambience on which it counts the false alarms of the final model."""

    licence: str | None = None
    """Licence note of the model file; null: that of UrbanSound8K, where it is used."""

    spec: ModelSpec = ModelSpec()
    optimiser: OptimiserSettings = OptimiserSettings()
    mixtures: MixtureSettings = MixtureSettings()
    features: FeatureSettings = FeatureSettings()
    pretrained: PretrainedSettings = PretrainedSettings()
    teacher: TeacherSettings = TeacherSettings()
    heads: HeadSettings = HeadSettings()

    @model_validator(mode="after")
    def _a_background_comes_from_places(self) -> "TrainingSettings":
        if self.spec.background is not None:
            raise ValueError(
                "spec.background: comes with places (--places), and is no setting"
            )
        return self
