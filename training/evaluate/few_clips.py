"""Accuracy of a training on few clips: `python -m training.evaluate.few_clips --help`.

Three classes drawn at random, a few clips of each to train on, and all clips of another
fold to test on; again and again.  Each model is trained and tested by the commands that
a user would give.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import numpy as np

from monitor.errors import DatasetError, SoundMonitorError
from training.data.recordings import find_recordings

CLASSES = 3
_FOLD = re.compile(r"(\d+)-")


def clips_by_class(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Find the clips of each class, which is a folder below one of `folders`."""
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for path in find_recordings(folder).files:
            found.setdefault(path.parent.name, []).append(path)
    return {name: sorted(paths) for name, paths in sorted(found.items())}


def fold_of(path: Path) -> int:
    """Fold of a clip: the number before the first dash of its name, as in ESC-50.

    Raises:
        DatasetError: There is none.
    """
    match = _FOLD.match(path.name)
    if match is None:
        raise DatasetError(f"{path}: its name does not begin with a fold and a dash")
    return int(match.group(1))


def draw(
    clips: Mapping[str, Sequence[Path]], count: int, test_fold: int, seed: int
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Draw classes; return the clips to train on, and those to test on, of each.

    Raises:
        DatasetError: Too few classes have clips inside and outside the test fold.
    """
    tested, others = (
        {
            name: [path for path in paths if (fold_of(path) == test_fold) is wanted]
            for name, paths in clips.items()
        }
        for wanted in (True, False)
    )
    names = [it for it in clips if tested[it] and len(others[it]) >= count]
    if len(names) < CLASSES:
        raise DatasetError(
            f"only {len(names)} classes have {count} clips outside fold {test_fold} "
            "and one in it"
        )
    r = np.random.default_rng(seed)
    chosen = [names[i] for i in r.choice(len(names), CLASSES, replace=False)]
    trained = {
        name: [others[name][i] for i in r.permutation(len(others[name]))[:count]]
        for name in chosen
    }
    return trained, {name: tested[name] for name in chosen}


def accuracy(
    trained: Mapping[str, Sequence[Path]],
    tested: Mapping[str, Sequence[Path]],
    begin_from: str,
) -> float:
    """Train on some clips and test on others, with the commands; return the accuracy.

    Raises:
        SoundMonitorError: A command fails.
    """
    with TemporaryDirectory(prefix="few-clips-") as name:
        folder = Path(name)
        for part, clips in (("train", trained), ("test", tested)):
            for label, paths in clips.items():
                (folder / part / label).mkdir(parents=True)
                for path in paths:
                    (folder / part / label / path.name).symlink_to(path.resolve())
        model, cache = str(folder / "model.safetensors"), str(folder / "cache")
        _command(
            *("train", str(folder / "train"), "--from", begin_from, "--out", model),
            *("--cache", cache, "--test-folds", "none"),
        )
        report = _command(
            *("evaluate", str(folder / "test"), "--model", model, "--cache", cache),
            "--json",
        )
        return float(json.loads(report)["accuracy"])


def _command(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - ourselves, without a shell
        [sys.executable, "-m", "monitor", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SoundMonitorError(f"{arguments[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout


def main() -> int:
    """Parse the command line, and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate.few_clips",
        description="Accuracy of a training on few clips of three classes.",
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        help="folders with a sub-folder of clips for each class, named FOLD-*",
    )
    parser.add_argument("--from", dest="begin_from", default="urban", help="see train")
    parser.add_argument("--clips", type=int, default=15, help="of a class, to train on")
    parser.add_argument("--test-fold", type=int, default=3, help="fold to test on")
    parser.add_argument("--draws", type=int, default=20, help="number of trainings")
    given = parser.parse_args()
    found = []
    try:
        clips = clips_by_class(given.folders)
        for seed in range(given.draws):
            trained, tested = draw(clips, given.clips, given.test_fold, seed)
            found.append(accuracy(trained, tested, given.begin_from))
            sys.stdout.write(f"{found[-1]:.3f}  {', '.join(trained)}\n")
            sys.stdout.flush()
    except SoundMonitorError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"mean of {len(found)}: {mean(found):.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
