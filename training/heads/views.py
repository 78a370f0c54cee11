"""Views of the windows of streams: what a head compares, computed once and kept.

A network takes an hour to train and a head half a minute to fit; so the embeddings of
all windows are stored beside the network, with their targets.
"""

import io
import json
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from monitor.errors import UsageError
from monitor.model.classifier import Classifier
from monitor.model.engines import WindowHistory, WindowPlace
from monitor.model.frontend import LogMel
from monitor.model.networks.mobile import RECENT_COLUMNS
from monitor.spec import ModelSpec
from training.checkpoint import InterruptedTrainingError
from training.data.decoded import Advance
from training.data.manifest import NO_FOLD
from training.files import replace_file, replace_text
from training.heads.beds import BedMaker
from training.heads.masks import TeacherMask
from training.heads.streams import StreamMaker
from training.heads.targets import WindowColumns, window_targets
from training.mixtures.dataset import in_threads
from training.streams.evaluate import detection_for

Array = NDArray[np.float32]
_PER_FILE = 16


@dataclass(frozen=True, slots=True)
class Views:
    """The windows of streams, as a head takes them, and their targets."""

    embedding: NDArray[np.float16]
    """(streams, windows, features)."""
    recent: NDArray[np.float16]
    """(streams, windows, features)."""
    present: NDArray[np.float16]
    """(streams, windows, labels), see `Targets`."""
    weights: NDArray[np.float16]
    """(streams, windows, labels)."""
    part: NDArray[np.int16]
    """(streams,), part of the places that are in it; NO_FOLD: there is none."""

    def without(self, part: int | None) -> Self:
        """Return the streams without the places of a part; all for None."""
        kept = self.part != part
        return type(self)(*(getattr(self, each.name)[kept] for each in fields(self)))


class ViewMaker:
    """Makes the streams of a network, and the views of their windows."""

    def __init__(
        self,
        streams: StreamMaker,
        beds: Sequence[BedMaker],
        classifier: Classifier,
        mask: TeacherMask | None,
        seconds: float,
        seed: int,
    ) -> None:
        """Prepare.

        Args:
            streams: Of the clips that the network was trained on.
            beds: Beds with the places of each part.
            classifier: The network with a background, on the CPU.
            mask: None: what sounds in a place is unknown.
            seconds: Length of a stream.
            seed: Of all draws.
        """
        self._streams, self._beds, self._seed = streams, beds, seed
        self._classifier, self._mask = classifier, mask
        spec = classifier.spec
        self._length = spec.samples(seconds)
        self._log_mel = LogMel(spec)
        self._hop = hop_frames(classifier.total_stride)
        self._columns = columns_of(spec, classifier.total_stride)

    def prepare(self, number: int) -> tuple[Array, dict[str, NDArray[Any]]]:
        """Make a stream; on any thread.

        Returns:
            Its log-mel (1, n_mels, frames), and the fields of `Views` but for the views
            themselves.
        """
        r = np.random.default_rng([self._seed, 7, number])
        part = number % len(self._beds)
        stream = self._streams.make(r, self._beds[part], self._length)
        log_mel: Array = self._log_mel(stream.samples)
        windows = len(self._starts(log_mel))
        targets = window_targets(
            stream.snr_db, self._classifier.labels, self._columns, windows
        )
        weights = targets.weights
        if self._mask is not None and stream.bed.has_place:
            spec = self._classifier.spec
            masked = self._mask.windows(stream.samples, spec, self._hop, windows)
            weights = np.where(masked, weights * targets.present, weights)
        of = part if stream.bed.has_place else NO_FOLD
        return log_mel, {
            "present": targets.present.astype(np.float16),
            "weights": weights.astype(np.float16),
            "part": np.array(of, np.int16),
        }

    def views(self, log_mel: Array) -> tuple[Array, Array]:
        """Embedding and recent view of the windows, both (windows, features)."""
        spec, history = self._classifier.spec, WindowHistory()
        starts = self._starts(log_mel)
        windows = [log_mel[..., at : at + spec.window_frames] for at in starts]
        places = [WindowPlace(history, at) for at in starts]
        return self._classifier.views(np.stack(windows), places)

    def _starts(self, log_mel: Array) -> range:
        frames = self._classifier.spec.window_frames
        return range(0, log_mel.shape[-1] - frames + 1, self._hop)


def hop_frames(total_stride: int) -> int:
    """Frames from one window to the next, as the monitor cuts them."""
    return detection_for(total_stride).hop_frames


def columns_of(spec: ModelSpec, total_stride: int) -> WindowColumns:
    """Return the columns of the windows of a network with a background."""
    columns = -(-spec.window_frames // total_stride)
    hop = hop_frames(total_stride) // total_stride
    return WindowColumns(columns, RECENT_COLUMNS, hop)


def stored_views(
    folder: Path,
    key: dict[str, Any],
    maker: ViewMaker,
    count: int,
    workers: int,
    stop: threading.Event,
    advance: Advance,
) -> Views:
    """Make the views of `count` streams, or complete them, or find them complete.

    What is there with another `key` is made anew.

    Raises:
        UsageError: A file is damaged.
        InterruptedTrainingError: `stop` was set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "views.json"
    text = json.dumps({**key, "streams": count}, indent=2)
    if not (index.is_file() and index.read_text(encoding="utf-8") == text):
        for file in folder.glob("*.npz"):
            file.unlink()
        replace_text(index, text)
    firsts = range(0, count, _PER_FILE)
    files = {first: folder / f"{first:05d}.npz" for first in firsts}
    missing = [first for first, file in files.items() if not file.is_file()]
    numbers = [
        number
        for first in missing
        for number in range(first, min(first + _PER_FILE, count))
    ]
    rows: list[dict[str, NDArray[Any]]] = []
    done = count - len(numbers)
    with closing(in_threads(maker.prepare, numbers, workers)) as prepared:
        for number, (log_mel, row) in zip(numbers, prepared, strict=True):
            embedding, recent = maker.views(log_mel)
            row["embedding"] = embedding.astype(np.float16)
            row["recent"] = recent.astype(np.float16)
            rows.append(row)
            done += 1
            advance("making streams", done, count)
            if (number + 1) % _PER_FILE == 0 or number + 1 == count:
                _write(files[number // _PER_FILE * _PER_FILE], rows)
                rows = []
            if stop.is_set():
                raise InterruptedTrainingError(
                    f"stopped with {done} of {count} streams made; --resume continues"
                )
    return _read(list(files.values()))


def _write(path: Path, rows: Sequence[dict[str, NDArray[Any]]]) -> None:
    content = io.BytesIO()
    arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    np.savez(content, allow_pickle=False, **arrays)
    beside = path.with_suffix(".partial")
    beside.write_bytes(content.getvalue())
    replace_file(beside, path)


def _read(files: Sequence[Path]) -> Views:
    names = [each.name for each in fields(Views)]
    parts = []
    for path in files:
        try:
            with (
                path.open("rb") as file,
                np.load(file, allow_pickle=False) as stored,
            ):
                parts.append({name: stored[name] for name in names})
        except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
            raise UsageError(
                f"{path}: is damaged ({error}); remove it, and --resume makes it anew"
            ) from None
    return Views(**{name: np.concatenate([p[name] for p in parts]) for name in names})
