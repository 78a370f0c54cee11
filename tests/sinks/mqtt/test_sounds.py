"""Sounds on a real MQTT broker as they happen, and their number of the day."""

import json
from datetime import timedelta
from pathlib import Path

from monitor.sinks.store.forget import forget
from tests.sinks.mqtt.test_states import ONLINE, publishing
from tests.support.broker import (
    needs_mosquitto,
    running_broker,
    subscribed,
    wait_until,
)
from tests.support.clock import FakeClock
from tests.support.store import make_store
from tests.support.timed import event, onset, statistics


@needs_mosquitto
def test_sounds_are_published_as_they_happen_and_not_retained(tmp_path: Path) -> None:
    began, ended = (f"sound-monitor/street/{it}" for it in ("began", "ended"))
    with (
        running_broker(tmp_path) as broker,
        subscribed(broker) as subscriber,
        publishing(broker) as sink,
    ):
        subscriber.wait_for(ONLINE, "online")
        sink.write([onset()])
        subscriber.wait_for("sound-monitor/street/last", "siren")
        sink.write([event()])
        wait_until(lambda: ended in subscriber.newest())
        with subscribed(broker) as late:
            late.wait_for("sound-monitor/street/last", "siren")
            assert not {began, ended} & set(late.newest())
    (first,), (last,) = map(subscriber.payloads, (began, ended))
    assert json.loads(first) == {
        "event_type": "siren",
        "id": "session-street-1",
        "score": 0.93,
        "level_dbfs": -21.0,
        "laeq_db": 63.2,
        "start": "2026-11-23T05:56:13.400Z",
    }
    assert json.loads(last)["duration"] == 6.7


@needs_mosquitto
def test_sounds_of_an_outage_are_not_published_long_after_it(tmp_path: Path) -> None:
    clock, began = FakeClock(), "sound-monitor/street/began"
    with running_broker(tmp_path) as broker:
        broker.stop()
        with publishing(broker, clock=clock) as sink:
            sink.write([onset()])
            clock.advance(61)
            sink.write([onset(label="dog_bark", number=2)])
            broker.start()
            with subscribed(broker) as subscriber:
                wait_until(lambda: began in subscriber.newest())
                subscriber.wait_for(ONLINE, "online")
            (only,) = subscriber.payloads(began)
    assert json.loads(only)["event_type"] == "dog_bark"


@needs_mosquitto
def test_the_events_of_the_day_are_counted_in_the_database(tmp_path: Path) -> None:
    path, clock = tmp_path / "events.db", FakeClock()
    today = "sound-monitor/street/today"
    midnight = clock.utc().replace(hour=0, minute=0, second=0, microsecond=0)
    hours = (-1.0, 0.5, 1.0, 2.0)
    opened = [midnight + timedelta(hours=hour) for hour in hours]
    events = [event(number=n, opened=at) for n, at in enumerate(opened)]
    store = make_store(path, clock)
    store.write([*events, event(label="dog_bark", number=9, opened=opened[2])])
    store.close()
    with (
        running_broker(tmp_path) as broker,
        subscribed(broker) as subscriber,
        publishing(broker, clock=clock, database=path),
    ):
        wait_until(lambda: today in subscriber.newest())
    counted = {"siren": 3, "dog_bark": 1}
    assert json.loads(subscriber.newest()[today]) == {"events": 4, "labels": counted}


@needs_mosquitto
def test_of_the_pictures_of_an_outage_the_newest_is_published(tmp_path: Path) -> None:
    topic = "sound-monitor/street/picture"
    with running_broker(tmp_path) as broker:
        broker.stop()
        with publishing(broker) as sink:
            for content in ("first", "second"):
                (tmp_path / "clip.png").write_text(content)
                sink.show_picture("street", tmp_path / "clip.png")
            sink.show_picture("street", tmp_path / "deleted.png")
            broker.start()
            with subscribed(broker) as subscriber:
                subscriber.wait_for(topic, "second")
            assert subscriber.payloads(topic) == ["second"]
            with subscribed(broker) as late:
                late.wait_for(ONLINE, "online")
                assert topic not in late.newest()


@needs_mosquitto
def test_the_last_sound_is_gone_from_the_broker_after_forget(tmp_path: Path) -> None:
    path, clock = tmp_path / "events.db", FakeClock()
    last = "sound-monitor/street/last"
    store = make_store(path, clock)
    store.write([event(opened=clock.utc())])
    store.close()
    with (
        running_broker(tmp_path) as broker,
        subscribed(broker) as subscriber,
        publishing(broker, clock=clock, database=path) as sink,
    ):
        subscriber.wait_for(last, "siren")
        forget(path, None, clock.utc() + timedelta(hours=1))
        clock.advance(10)
        sink.write([onset(label="dog_bark")])
        sink.report(statistics("street"))
        subscriber.wait_for(last, "dog_bark")
        sink.write([event(label="dog_bark")])
        clock.advance(10)
        sink.report(statistics("street"))
        subscriber.wait_for(last, "None")
