"""The report of a run: one HTML page with pictures."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from monitor.model.frontend import LogMel
from monitor.model.model_file import ModelCard
from monitor.spec import ModelSpec
from monitor.text import printable
from training.checkpoint import RunFolder
from training.config import TrainingSettings
from training.data.decoded import ClipStore
from training.data.manifest import Clip
from training.evaluate.out_of_fold import Calibration, OutOfFold, calibrated_scores
from training.losses import prepare_batch
from training.mixtures.dataset import MixtureSource
from training.mixtures.material import Material
from training.report import pictures
from training.report.tables import clip_table, place_table, threshold_table

Array = NDArray[np.float32]
_MISTAKES = 12
_SHOWN_WINDOWS = 12
"""Training windows that are drawn."""
_PLAYER_RATE = 22_050
_MATRIX = "Confusion matrix"
_SMALL_DOTS = 640
"""Pictures as wide as this are not scaled below it: a phone scrolls them."""


class Html(str):
    """Text that is HTML already; `fill` escapes all other."""

    __slots__ = ()


def fill(template: str, **values: str) -> Html:
    """Fill the fields of a template, as in `str.format`; all but `Html` is escaped."""
    return Html(
        template.format_map(
            {
                name: value if isinstance(value, Html) else html.escape(value)
                for name, value in values.items()
            }
        )
    )


class Page(Console):
    """Takes what `tables` prints: its tables become HTML, its text paragraphs."""

    def __init__(self) -> None:
        super().__init__(file=io.StringIO(), record=True)
        self._parts: list[Html] = []

    def print(self, *objects: Any, **_: Any) -> None:
        """Add tables and lines of text."""
        for each in objects:
            if isinstance(each, Table):
                self._parts.append(_table(each))
            else:
                self._parts.append(fill("<p>{text}</p>\n", text=str(each)))

    def html(self) -> Html:
        """Return what was added."""
        return Html("".join(self._parts))


def _table(table: Table) -> Html:
    rows = zip(*(column.cells for column in table.columns), strict=True)
    return fill(
        _TABLE,
        header=_cells("<th scope=col>{cell}</th>", (it.header for it in table.columns)),
        rows=Html("\n".join(f"<tr>{_cells('<td>{cell}</td>', row)}" for row in rows)),
    )


def _cells(template: str, cells: Iterable[object]) -> Html:
    return Html("".join(fill(template, cell=str(cell)) for cell in cells))


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{name}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; color: #222; background: #fff; overflow-wrap: anywhere; }}
.wide {{ overflow-x: auto; }} audio {{ height: 2rem; vertical-align: middle; }}
img {{ max-width: 100%; min-width: 40rem; height: auto; display: block; }}
img.small {{ min-width: 0; }} img.whole {{ max-width: none; min-width: 0; }}
table {{ border-collapse: collapse; margin: 1rem 0; line-height: 1.3; }}
th, td {{ padding: .2rem .7rem; text-align: right; white-space: nowrap;
          border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0; }}
td:first-child {{ white-space: normal; min-width: 10rem; }}
</style><h1>{name}</h1>{licence}
{figures}{images}{mistakes}</html>
"""
_LICENCE = """<p style="white-space: pre-line">{licence}</p>"""
_TABLE = """<div class="wide"><table><tr>{header}</tr>
{rows}</table></div>
"""
_IMAGE = """<h2>{title}</h2><div class="wide"><img alt="{title}" class="{fit}"
width="{width}" height="{height}" src="data:image/png;base64,{data}"></div>
"""
_MISTAKE = """
<p>{name}<br><audio controls src="data:audio/ogg;base64,{data}"></audio></p>"""


@dataclass(frozen=True, slots=True)
class TestedClips:
    """Clips of the test, and their scores."""

    clips: tuple[Clip, ...]
    scores: Array
    """(clips, labels), each by a network that was not trained on the clip."""

    @property
    def truth(self) -> NDArray[np.intp]:
        """(clips,), index of each clip's label."""
        return np.array([clip.label for clip in self.clips], np.intp)


def tested_clips(
    predicted: OutOfFold, calibrations: dict[int, Calibration]
) -> TestedClips:
    """Return the clips that were tested, with calibrated scores."""
    scores = calibrated_scores(predicted.clips, calibrations)
    return TestedClips(predicted.clips.windows.clips, scores)


def write_report(
    folder: RunFolder,
    card: ModelCard,
    material: Material,
    settings: TrainingSettings,
    tested: TestedClips | None,
) -> Path:
    """Draw the pictures into the folder of a run, and write report.html beside them.

    Args:
        folder: Of the run; networks of folds have folders in it.
        card: Of the model that the run made.
        material: Its recordings.
        settings: Of its training.
        tested: Clips that were tested; None: there were none.

    Returns:
        Path of the page.
    """
    page = Page()
    clip_table(page, card.report, card.labels)
    place_table(page, card.report)
    threshold_table(page, card)
    store, spec = material.store, settings.spec
    metrics = {
        path.parent.name: RunFolder(path.parent).metrics()
        for path in sorted(folder.path.rglob("metrics.jsonl"))
    }
    drawn = {"Learning": pictures.learning_curves(metrics)}
    if tested is not None:
        drawn |= _draw_test(tested, card, store, spec)
    if curves := {name: it.curve for name, it in card.thresholds.items() if it.curve}:
        drawn["Detected against false alarms"] = pictures.detection_curves(curves)
    drawn["Training windows with their masks"] = _draw_batch(material, settings)
    place = folder.path / "pictures"
    images = [_image(title, each, place) for title, each in drawn.items()]
    mistakes = Html() if tested is None else _mistakes(tested, card.labels, store, spec)
    text = fill(
        _PAGE,
        name=card.name,
        licence=fill(_LICENCE, licence=card.licence) if card.licence else Html(),
        figures=page.html(),
        images=Html("".join(images)),
        mistakes=mistakes,
    )
    path = folder.path / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def _draw_batch(material: Material, settings: TrainingSettings) -> Figure:
    labels, clips = material.manifest.labels, range(len(material.manifest.clips))
    source = MixtureSource(material.maker(clips, (), settings), _SHOWN_WINDOWS, 0, 0)
    shown = next(source.batches(0, 1))
    prepared = prepare_batch(np.random.default_rng(0), shown, settings)
    titles = [
        ", ".join(labels[index] for index in np.flatnonzero(present)) or "no label"
        for present in prepared.present
    ]
    return pictures.training_batch(prepared.log_mel, titles)


def _draw_test(
    tested: TestedClips, card: ModelCard, store: ClipStore, spec: ModelSpec
) -> dict[str, Figure]:
    scores, truth, labels = tested.scores, tested.truth, card.labels
    samples = store.read(tested.clips[0].path)[:1]
    shorter = max(0, spec.frame_samples - samples.shape[1])
    samples = np.pad(samples, ((0, 0), (0, shorter)))  # to one frame
    (log_mel,) = LogMel(spec)(samples)
    return {
        _MATRIX: pictures.confusion_matrix(card.report["confusion"], labels),
        "Precision and recall": pictures.precision_recall(scores, truth, labels),
        "Reliability of the scores": pictures.reliability(scores, truth, labels),
        "A recording": pictures.waveform_and_log_mel(samples[0], log_mel, spec),
    }


def _image(title: str, figure: Figure, folder: Path) -> Html:
    path = folder / f"{title.lower().replace(' ', '-')}.png"
    pictures.save(figure, path)
    wide, high = (
        round(inches * pictures.DOTS_PER_INCH) for inches in figure.get_size_inches()
    )
    # The names in a matrix of many labels are read at its full size.
    fit = "whole" if title == _MATRIX else "small" if wide < _SMALL_DOTS else ""
    return fill(
        _IMAGE,
        title=title,
        fit=fit,
        width=str(wide),
        height=str(high),
        data=_base64(path.read_bytes()),
    )


def _mistakes(
    tested: TestedClips, labels: Sequence[str], store: ClipStore, spec: ModelSpec
) -> Html:
    """List the clips whose own score is furthest below the highest one."""
    truth = tested.truth
    own = tested.scores[np.arange(len(truth)), truth]
    worst = np.argsort(own - tested.scores.max(axis=1))[:_MISTAKES]
    found = ""
    for index in worst:
        chosen = int(tested.scores[index].argmax())
        clip = tested.clips[index]
        if chosen != truth[index]:
            scores = (
                f"{labels[truth[index]]} ({own[index]:.2f}) taken for "
                f"{labels[chosen]} ({tested.scores[index, chosen]:.2f})"
            )
            name = f"{printable(clip.path.name)}: {scores}"
            sound = _ogg(store.read(clip.path), spec.sample_rate)
            found += fill(_MISTAKE, name=name, data=_base64(sound))
    return Html(f"<h2>The worst mistakes</h2>{found}" if found else "")


def _ogg(samples: Array, rate: int) -> bytes:
    """Encode the first seconds of a sound for the page."""
    step = max(1, rate // _PLAYER_RATE)
    mono = samples.mean(axis=0)
    usable = len(mono) // step * step
    thinned = mono[:usable].reshape(-1, step).mean(axis=1)[: 10 * rate // step]
    thinned = thinned / max(1.0, float(np.abs(thinned).max(initial=0)))
    file = io.BytesIO()
    soundfile.write(file, thinned, rate // step, format="OGG", subtype="VORBIS")
    return file.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
