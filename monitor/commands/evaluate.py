"""`sound-monitor evaluate`: accuracy and false alarms of a model."""

from pathlib import Path
from typing import Annotated

from monitor.commands.arguments import (
    CacheOption,
    ConfigOption,
    DataArgument,
    FoldsOption,
    GroupPatternOption,
    JsonOption,
    LabelPatternOption,
    ModelOption,
    NegativesFoldsOption,
    NegativesOption,
    TrainingDeviceOption,
    cache_folder,
    flag,
    fold_numbers,
    option,
)
from monitor.extras import require_extra

HELP = """Test a model on labelled recordings.

DATA has the form of 'train'.  Only recordings that the model was not trained
on show its quality on new ones: choose them with --folds.  A warning counts
the clips that it was trained on, where the model file names them.  With --run
the networks of a cross-validation are tested together, each on the fold that
it was not trained on.  Intervals are resampled by recording.  Nothing is
augmented or drawn at random.  --negatives counts false alarms.  With
--streams the monitor analyses long recordings, and its events are compared
with the true ones; 'scenes' makes such streams.

Examples:
  sound-monitor evaluate UrbanSound8K --model model.safetensors --folds 1
  sound-monitor evaluate UrbanSound8K --run model-run     cross-validated
  sound-monitor evaluate recordings --json                one folder per label
  sound-monitor evaluate scenes --streams                 events, not clips
"""


def evaluate(
    data: DataArgument,
    model: ModelOption = None,
    run: Annotated[
        Path | None,
        option("DIR", "Run folder of a cross-validation, instead of a model."),
    ] = None,
    streams: Annotated[
        bool,
        flag(
            "--streams",
            "DATA is a folder of pairs NAME.wav and NAME.tsv (onset, offset, "
            "event_label: tab-separated seconds), which the whole monitor analyses.",
        ),
    ] = False,
    config: ConfigOption = None,
    folds: FoldsOption = None,
    negatives: NegativesOption = None,
    negatives_folds: NegativesFoldsOption = None,
    label_pattern: LabelPatternOption = None,
    group_pattern: GroupPatternOption = None,
    cache: CacheOption = None,
    compute_device: TrainingDeviceOption = "cpu",
    as_json: JsonOption = False,
) -> int:
    """Print the figures of a model."""
    require_extra("train", "scipy" if streams else "torch", "evaluate")
    from monitor.commands.process import limit_threads, log_to_stderr

    log_to_stderr()
    limit_threads(1)
    # What can be rejected is, before torch is imported.
    from training.data.discovery import reject_unusable
    from training.data.recordings import find_fold_models, find_streams

    if streams:
        find_streams(data)
    else:
        reject_unusable(data, negatives or ())
        if run is not None:
            find_fold_models(run)
    from training.cli import run_evaluation, run_stream_evaluation
    from training.mixtures.material import DataPaths
    from training.streams.scenes import Folds

    if streams:
        from monitor.commands.configuration import load
        from monitor.runtime.loading import labels_of

        configuration = load(config).fitting()
        labels = labels_of(configuration.config, model, configuration.state_dir)
        detection = configuration.config.detection
        run_stream_evaluation(data, model, detection, labels, compute_device, as_json)
        return 0

    paths = DataPaths(
        data,
        cache_folder(cache),
        tuple(negatives or ()),
        (),
        label_pattern,
        group_pattern,
    )
    run_evaluation(
        paths,
        model,
        run,
        Folds(fold_numbers(folds), fold_numbers(negatives_folds)),
        compute_device,
        as_json,
    )
    return 0
