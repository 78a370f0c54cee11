"""Detected events are compared with true ones; scenes are annotated correctly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.errors import DatasetError
from tests.support.recordings import RATE, SMALL_SPEC, write_folders, write_negatives
from training.data.manifest import NO_FOLD, Clip
from training.data.recordings import find_streams
from training.mixtures.material import DataPaths, Material, gather
from training.recipes import training_settings
from training.streams.evaluate import (
    Detected,
    Reference,
    StreamResult,
    read_annotation,
    stream_figures,
)
from training.streams.scenes import (
    Annotation,
    Scene,
    SceneClips,
    SceneMaker,
    SceneSettings,
    audible_part,
    even_weights,
    foreground_clips,
    write_scene,
)


def test_a_hand_made_stream() -> None:
    """One found in time, one too late, one missed, one made up; in half an hour."""
    result = StreamResult(
        1800,
        (
            Reference(10, 14, "siren"),
            Reference(60, 64, "siren"),
            Reference(100, 101, "bark"),
        ),
        (
            Detected(10.5, 14, "siren", reported=11.5),
            Detected(62, 64, "siren", reported=63),
            Detected(500, 502, "bark", reported=501),
        ),
    )
    figures = stream_figures([result], ("siren", "bark", "horn"))
    assert figures["hours"] == 0.5
    assert figures["event_f1"] == pytest.approx(2 * 1 / (3 + 3))
    assert figures["per_class"]["siren"]["recall"] == 0.5
    assert "horn" not in figures["per_class"]
    assert figures["false_alarms_per_hour"] == {"siren": 0, "bark": 2, "horn": 0}
    assert figures["onset_latency_seconds"] == {"p50": 1.5, "p95": 1.5}
    assert figures["start_error_seconds"]["mean"] == 0.5
    assert figures["start_error_of_heard_seconds"]["mean"] == (0.5 + 2) / 2
    assert figures["end_error_seconds"] == {"mean": 0, "p50": 0, "p95": 0}
    siren = figures["per_class"]["siren"]
    assert (siren["found"], siren["missed"], siren["unheard"]) == (2, 1, 0)
    assert figures["per_class"]["bark"]["unheard"] == 1


def test_an_event_that_ends_wrongly_counts_where_ends_do_not() -> None:
    result = StreamResult(
        60, (Reference(10, 12, "siren"),), (Detected(10, 15, "siren", reported=11),)
    )
    figures = stream_figures([result], ("siren",))
    assert figures["event_f1"] == 1
    assert figures["with_offsets"]["f1"] == 0


def test_no_alarm_in_six_hours_allows_one_in_two() -> None:
    """Three divided by the hours, with 95 % confidence."""
    results = [StreamResult(3600, (), ())] * 6
    figures = stream_figures(results, ("siren",))
    assert figures["false_alarms"] == 0
    most = figures["false_alarms_per_hour_all_labels_at_most"]
    assert most == pytest.approx(0.5, rel=0.01)
    assert figures["event_f1"] == 0
    assert figures["onset_latency_seconds"] == {"p50": None, "p95": None}


def test_annotations_in_the_form_of_dcase_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("onset\toffset\tevent_label\n0.5\t2.25\tcar_horn\n")
    assert read_annotation(path) == (Reference(0.5, 2.25, "car_horn"),)
    path.write_text("onset\toffset\tevent_label\n")
    assert read_annotation(path) == ()
    path.write_text("onset\toffset\tevent_label\n3\t2\tcar_horn\n")
    with pytest.raises(DatasetError, match="cannot last from 3 to 2 s"):
        read_annotation(path)
    path.write_text("onset,offset\n1,2\n")
    with pytest.raises(DatasetError, match="must name onset, offset, event_label"):
        read_annotation(path)


def test_a_stream_without_annotation_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no pair of NAME"):
        find_streams(tmp_path)
    (tmp_path / "a.wav").touch()
    with pytest.raises(DatasetError, match=r"its annotation a\.tsv is missing"):
        find_streams(tmp_path)


def test_an_annotation_without_its_stream_is_one_sentence(tmp_path: Path) -> None:
    for name in ("a.FLAC", "a.tsv"):
        (tmp_path / name).touch()
    assert find_streams(tmp_path) == [(tmp_path / "a.FLAC", tmp_path / "a.tsv")]
    (tmp_path / "b.tsv").touch()
    with pytest.raises(DatasetError, match=r"b\.tsv: its recording b\.wav is missing"):
        find_streams(tmp_path)


@pytest.fixture(name="material", scope="module")
def _material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("scenes")
    settings = training_settings(
        {"spec": SMALL_SPEC.model_dump(), "folds": 3}, origin="test"
    )
    paths = DataPaths(
        write_folders(folder / "data"),
        folder / "cache",
        (write_negatives(folder / "noises"),),
    )
    return gather(paths, settings, lambda *_: None)


def maker_of(material: Material, **changes: object) -> SceneMaker:
    settings = SceneSettings.model_validate(
        {"hours": 1 / 60, "stream_minutes": 1.0, "events_per_minute": 10.0, **changes}
    )
    return SceneMaker(
        SceneClips(material.manifest.clips, material.store),
        SceneClips(material.negatives_of((1, 2)), material.negatives_store),
        material.manifest.labels,
        RATE,
        settings,
    )


def test_an_event_stands_above_its_background_where_it_is_said_to(
    material: Material,
) -> None:
    maker = maker_of(material, snr_db=(20.0, 20.0), overlap_share=0.0)
    (scene,) = maker.scenes()
    assert scene.samples.shape == (1, 60 * RATE)
    assert len(scene.annotations) >= 5
    quiet = np.ones(60 * RATE, bool)
    for event in scene.annotations:
        quiet[event.start : event.stop] = False
    rest = np.sqrt(np.mean(scene.samples[0, quiet] ** 2))
    for event in scene.annotations:
        level = np.sqrt(np.mean(scene.samples[0, event.start : event.stop] ** 2))
        assert level > 3 * rest
        assert event.stop > event.start


def test_the_same_seed_makes_the_same_scene(material: Material) -> None:
    (first,), (again,) = (list(maker_of(material).scenes()) for _ in range(2))
    (other,) = maker_of(material, seed=1).scenes()
    assert np.array_equal(first.samples, again.samples)
    assert first.annotations == again.annotations
    assert first.annotations != other.annotations


def test_ambience_holds_no_event(material: Material) -> None:
    (scene,) = maker_of(material, events_per_minute=0.0).scenes()
    assert scene.annotations == ()
    assert scene.samples.any()


def test_a_written_scene_is_a_stream_that_is_found(
    material: Material, tmp_path: Path
) -> None:
    (scene,) = maker_of(material).scenes()
    write_scene(tmp_path, scene, RATE)
    ((audio, table),) = find_streams(tmp_path)
    assert soundfile.info(audio).frames == 60 * RATE
    onsets = [event.onset for event in read_annotation(table)]
    assert onsets == sorted(onsets)
    assert len(onsets) == len(scene.annotations)


def test_a_label_of_any_characters_is_written_and_read(tmp_path: Path) -> None:
    silence = np.zeros((1, RATE), np.float32)
    write_scene(tmp_path, Scene("s", silence, (Annotation(0, RATE, '"a": é'),)), RATE)
    assert read_annotation(tmp_path / "s.tsv") == (Reference(0, 1, '"a": é'),)


def test_clips_of_no_fold_are_in_no_fold_of_the_facts(material: Material) -> None:
    clips = [
        replace(clip, fold=fold)
        for clip, fold in zip(material.manifest.clips, (NO_FOLD, 2), strict=False)
    ]
    assert SceneClips(clips, material.store).facts(RATE)["folds"] == [2]


def test_every_label_and_in_it_every_recording_comes_equally_often() -> None:
    """Three clips of one recording weigh as much as one of another."""
    place = Path("x.wav")
    of = [(0, "a"), (0, "a"), (0, "a"), (0, "b"), (1, "c")]
    clips = [Clip(place, label, group, 1) for label, group in of]
    chances = [1 / 12, 1 / 12, 1 / 12, 1 / 4, 1 / 2]
    assert even_weights(clips) == pytest.approx(chances)


def test_a_sound_behind_others_is_no_event() -> None:
    loud, faint = (Clip(Path("x.wav"), 0, "a", 1, is_loud) for is_loud in (True, False))
    assert foreground_clips([loud, faint]) == (loud,)


def test_only_the_audible_part_of_a_clip_is_an_event() -> None:
    silence = np.zeros(RATE, np.float32)
    tone = np.sin(np.arange(RATE) * 0.3).astype(np.float32)
    audible = audible_part(np.concatenate([silence, tone, silence]), RATE)
    assert len(audible) == pytest.approx(RATE, abs=0.1 * RATE)
