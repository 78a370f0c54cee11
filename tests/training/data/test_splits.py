from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import DatasetError
from training.data.manifest import NO_FOLD, Clip, Manifest
from training.data.splits import assign_folds, split

GROUPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=30, max_size=80
)


def manifest_of(pairs: list[tuple[int, int]]) -> Manifest:
    clips = tuple(
        Clip(Path(f"{number}.wav"), label, f"g{group}", NO_FOLD)
        for number, (label, group) in enumerate(pairs)
    )
    return Manifest(("a", "b", "c", "d"), clips)


@given(GROUPS, st.integers(0, 5))
def test_no_recording_is_on_both_sides(pairs: list[tuple[int, int]], seed: int) -> None:
    manifest = manifest_of(pairs)
    if len({clip.group for clip in manifest.clips}) < 3:
        return
    dealt = assign_folds(manifest, "group", 3, seed)
    parts = split(dealt, [1], [2])
    groups = [
        {dealt.clips[index].group for index in part}
        for part in (parts.train, parts.validation, parts.test)
    ]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    everything = sorted(parts.train + parts.validation + parts.test)
    assert everything == list(range(len(pairs)))


def test_labels_are_spread_over_the_folds() -> None:
    manifest = manifest_of([(group % 4, group) for group in range(40) for _ in "ab"])
    dealt = assign_folds(manifest, "group", 5, 0)
    for fold in range(1, 6):
        labels = [clip.label for clip in dealt.clips if clip.fold == fold]
        assert {label: labels.count(label) for label in range(4)} == dict.fromkeys(
            range(4), 4
        )


def test_the_only_recording_of_a_label_is_trained_on() -> None:
    manifest = manifest_of([(0, n) for n in range(9)] + [(1, 50), (1, 50)])
    dealt = assign_folds(manifest, "group", 3, 0)
    assert [clip.fold for clip in dealt.clips if clip.label == 1] == [NO_FOLD] * 2
    assert {clip.fold for clip in dealt.clips if clip.label == 0} == {1, 2, 3}


def test_a_random_split_does_tear_recordings_apart() -> None:
    """So its figures do not hold for new recordings, and it is not the default."""
    manifest = manifest_of([(0, group) for group in range(10) for _ in range(10)])
    parts = split(assign_folds(manifest, "random", 5, 0), [1])
    trained = {manifest.clips[index].group for index in parts.train}
    assert {manifest.clips[index].group for index in parts.test} <= trained


def test_the_folds_of_the_data_are_kept() -> None:
    clips = tuple(Clip(Path(f"{n}.wav"), 0, str(n), n % 3 + 1) for n in range(9))
    manifest = Manifest(("a",), clips, has_folds=True)
    assert assign_folds(manifest, "fold", 5, 0) is manifest


@pytest.mark.parametrize(
    ("test", "validation", "said"),
    [
        ([7], [], "no fold 7"),
        ([1], [1], "cannot both"),
        ([1, 2, 3], [], "nothing is left"),
    ],
)
def test_impossible_splits_are_one_sentence(
    test: list[int], validation: list[int], said: str
) -> None:
    clips = tuple(Clip(Path(f"{n}.wav"), 0, str(n), n % 3 + 1) for n in range(9))
    with pytest.raises(DatasetError, match=said):
        split(Manifest(("a",), clips, has_folds=True), test, validation)


def test_too_few_recordings_for_the_folds_are_one_sentence() -> None:
    with pytest.raises(DatasetError, match="2 recordings cannot be dealt into 5"):
        assign_folds(manifest_of([(0, 1), (0, 2)]), "group", 5, 0)
