"""The first command of the README: the demo is analysed without a sound card."""

from monitor.audio.sources.demo import SCENE, render_scene
from tests.support.daemon import RunningMonitor


def test_the_demo_reports_each_sound_of_the_scene_at_its_time_and_no_other(tmp_path):
    with RunningMonitor(tmp_path, "--input", "demo:", "--speed", "max") as monitor:
        assert monitor.process.wait(60) == 0, monitor.log
        events = monitor.records("event")
        onsets = monitor.records("onset")
    labels = [event["label"] for event in events]
    assert labels == [sound.label for sound in SCENE]
    assert labels == ["siren", "drilling", "car_horn", "dog_bark"]
    for event, sound in zip(events, SCENE, strict=True):
        assert abs(event["start_seconds"] - sound.start_seconds) <= 0.75, event
        assert abs(event["end_seconds"] - sound.end_seconds) <= 0.75, event
    assert [onset["id"] for onset in onsets] == [event["id"] for event in events]
    printed = " ".join(monitor.lines)
    for sound in SCENE:
        assert f"{sound.label}  began" in printed
        assert f"{sound.label}  ended" in printed


def test_the_scene_is_the_same_every_time_and_fits_into_full_scale():
    first, second = render_scene(44_100), render_scene(44_100)
    assert (first == second).all()
    assert 0.05 < abs(first).max() < 1
