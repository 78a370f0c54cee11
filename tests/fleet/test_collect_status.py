"""The status of a fleet: who listens, how much, and whose clock is wrong."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from monitor.errors import StoreError
from monitor.fleet.collect.database import Arrival, FleetDatabase
from monitor.fleet.collect.missing import look_for_missing
from monitor.fleet.collect.status import read_status, status_lines
from tests.support.fleet import Script, now
from tests.support.postgres import Postgres, needs_postgres

pytestmark = [pytest.mark.fleet, needs_postgres]


def hours_ago(hours: float) -> str:
    return f"{now() - timedelta(hours=hours):%FT%T}.000Z"


def listened_by(server: Postgres, database: FleetDatabase, script: Script) -> float:
    """The share of the last day of a monitor that is known for long."""
    database.write(script.arrivals())
    database.connection().execute(
        "UPDATE monitors SET since = now() - interval '40 days'"
    )
    (monitor,) = read_status(server.url)["monitors"]
    return float(monitor["listened_24h"])


def test_a_monitor_is_deaf_when_it_says_so_or_says_nothing(
    server: Postgres, database: FleetDatabase
) -> None:
    scripts = [Script(name) for name in ("attic", "barn", "cellar", "dock")]
    for script in scripts:
        script.add("session", site="farm")
    scripts[0].add("digest", site="farm")
    trouble = {"source": "street", "kind": "deaf", "since": hours_ago(2)}
    trouble["detail"] = "no sound\x1b[2J"
    scripts[1].add("digest", listening=False, health=[trouble], site="farm")
    scripts[2].add("digest")
    for script in scripts:
        database.write(script.arrivals())
    connection = database.connection()
    connection.execute("UPDATE monitors SET since = now() - interval '3 days'")
    connection.execute(
        "UPDATE epochs SET last_seen = now() - interval '5 hours' "
        "WHERE monitor IN ('cellar', 'dock')"
    )
    connection.execute(
        "UPDATE monitors SET ran = tstzmultirange(tstzrange(now() - interval '4 days', "
        "now())) WHERE monitor IN ('attic', 'barn')"
    )
    connection.execute(
        "UPDATE monitors SET ran = tstzmultirange(tstzrange(now() - interval '4 days', "
        "now() - interval '5 hours')) WHERE monitor = 'cellar'"
    )
    document = read_status(server.url)
    found = {it["monitor"]: it for it in document["monitors"]}
    assert list(found) == ["cellar", "dock", "barn", "attic"]
    assert [it["deaf"] for it in found.values()] == [
        "silent",
        "silent",
        "not listening",
        None,
    ]
    assert found["attic"]["listened_24h"] == pytest.approx(1, abs=1e-4)
    assert found["barn"]["listened_24h"] == pytest.approx(22 / 24, abs=1e-3)
    assert found["cellar"]["listened_24h"] == pytest.approx(19 / 24, abs=1e-3)
    assert found["dock"]["listened_24h"] == 0
    share = (1 + 22 / 24 + 19 / 24) / 4
    assert document["listened_24h"] == pytest.approx(share, abs=1e-3)
    at = (now() - timedelta(hours=5)).astimezone()
    assert document["sentence"].startswith("fleet listened 67.7")
    assert " % of the last day, 3 of 4 deaf since " in document["sentence"]
    assert document["sentence"].endswith(f"{at:%H:%M}")
    lines = list(status_lines(document))
    assert any(line.startswith("barn (farm): not listening since") for line in lines)
    assert "barn: street: deaf: no sound?[2J" in lines


def test_what_a_monitor_missed_counts_against_the_fleet(
    server: Postgres, database: FleetDatabase
) -> None:
    script = Script()
    script.add("digest", uptime_seconds=200_000.0)
    script.started = now() - timedelta(hours=3)
    gap = {"start": hours_ago(3), "end": hours_ago(2)}
    script.add("gap", **gap)
    script.add("gap", **gap, left_out_seconds=864.0, id="another")
    # Of one that began before the day, no more than its part in the day.
    before = {"start": hours_ago(48), "end": hours_ago(23.5)}
    script.add("gap", **before, left_out_seconds=80_000.0, id="before")
    lost = (3600 + 864 + 1800) / 86_400
    found = listened_by(server, database, script)
    assert found == pytest.approx(1 - lost, abs=1e-3)


@pytest.mark.parametrize("days", [3, 4, 30])
def test_a_gap_counts_however_long_ago_it_began(
    server: Postgres, database: FleetDatabase, days: int
) -> None:
    script = Script()
    script.add("digest", uptime_seconds=60 * 86_400.0)
    script.add("gap", start=hours_ago(24 * days), end=hours_ago(6))
    found = listened_by(server, database, script)
    assert found == pytest.approx(1 / 4, abs=1e-3)


def test_an_outage_that_goes_on_counts_once_beside_its_parts(
    server: Postgres, database: FleetDatabase
) -> None:
    script = Script()
    trouble = {"source": "street", "kind": "deaf", "since": hours_ago(6)}
    script.add("gap", start=hours_ago(6), end=hours_ago(2))
    script.add("digest", uptime_seconds=200_000.0, listening=False, health=[trouble])
    found = listened_by(server, database, script)
    assert found == pytest.approx(18 / 24, abs=1e-3)


def test_a_time_that_only_python_reads_harms_no_view(
    server: Postgres, database: FleetDatabase
) -> None:
    for name, text in (
        ("attic", "2026-W48-1T00:00:00+00:00"),
        ("barn", "2026-W48-1T00:00:00Z"),
        ("cellar", "2026-11-30T21:00:00,5Z"),
    ):
        script = Script(name)
        trouble = {"source": "street", "kind": "deaf", "since": text}
        script.add("digest", health=[trouble])
        database.write(script.arrivals())
    monitors = read_status(server.url)["monitors"]
    assert [it["refused"] for it in monitors] == [1, 1, 1]


def test_numbers_of_any_size_harm_no_view(
    server: Postgres, database: FleetDatabase
) -> None:
    for number in range(3):
        script = Script(epoch=f"{number:08x}")
        script.add("digest", last=2**53)
        for _ in range(2):
            end = f"{now() + timedelta(hours=12):%FT%T}.000Z"
            script.add("gap", end=end, left_out_seconds=1.7e308)
        database.write(script.arrivals())
    look_for_missing(database.connection(), timedelta(0), ["yard"], 6)
    (monitor,) = read_status(server.url)["monitors"]
    assert monitor["missing"] == 3 * (2**53 - 3)


def test_the_digests_of_a_database_that_was_copied_back_count(
    server: Postgres, database: FleetDatabase
) -> None:
    old, new = Script(epoch="0a" * 4), Script(epoch="0b" * 4)
    for script, listening in ((old, True), (new, True), (old, False)):
        script.started = now()
        script.add("digest", listening=listening)
        database.write([script.arrival(len(script.messages))])
    (monitor,) = read_status(server.url)["monitors"]
    assert monitor["deaf"] == "not listening"


@pytest.mark.parametrize(
    ("ahead", "sentence"),
    [
        (40, "yard: the clock is 40.0 s ahead"),
        (-40, "yard: the clock is 40.1 s behind, or its records come late"),
        (0, None),
    ],
)
def test_the_clock_of_a_monitor_is_judged_by_the_shortest_way_of_its_digests(
    ahead: int, sentence: str | None, server: Postgres, database: FleetDatabase
) -> None:
    script = Script(ahead=timedelta(seconds=ahead))
    for delay in (3.0, 0.1, 7.0):
        number = script.add("digest")
        sent = datetime.fromisoformat(json.loads(script.messages[number])["sent"])
        at = sent.astimezone(UTC) - script.ahead + timedelta(seconds=delay)
        database.write([Arrival("yard", script.messages[number], at)])
    lines = list(status_lines(read_status(server.url)))
    shown = [line.replace("39.9", "40.0") for line in lines if "clock" in line]
    assert shown == ([] if sentence is None else [sentence])


def test_an_empty_database_and_a_newer_one_are_said_in_a_sentence(
    server: Postgres, database: FleetDatabase
) -> None:
    with pytest.raises(StoreError, match="holds no fleet yet"):
        read_status(server.url)
    database.connection().execute("UPDATE schema_version SET version = 999")
    with pytest.raises(StoreError, match="newer one updates it"):
        read_status(server.url)
    other = FleetDatabase(server.url)
    with pytest.raises(StoreError, match="newer than this program"):
        other.connection()
