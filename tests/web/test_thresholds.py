"""The page Thresholds: curves and replays come from children that end in time."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime
from typing import Any

import pytest

from monitor.config.load import parse_config
from monitor.records import Event, ScoreFrame
from monitor.sinks.store.database import transaction
from monitor.sinks.store.reviews import Verdict, write_verdict
from monitor.web.app import build_app
from monitor.web.child_commands import (
    MOST_AT_ONCE,
    MOST_WAITING,
    BusyError,
    ChildError,
    Children,
    Owner,
)
from monitor.web.context import WebContext
from tests.support.store import make_store, open_database, score_frames
from tests.support.timed import LABELS, timed
from tests.support.web import WebClient, make_context

BEGAN = datetime.now(UTC) - timedelta(days=1)
SOUNDS = {"low": (100, 0.80), "high": (200, 0.99)}
"""First frame and score of two sirens; the first is below the threshold."""


def fill(folder: Path, second: Verdict = "wrong") -> None:
    """Write the scores of two sirens, and three events, two of them with verdicts."""
    frames = score_frames(300)
    for first, score in SOUNDS.values():
        for number in range(first, first + 10):
            record = frames[number].record
            assert isinstance(record, ScoreFrame)
            scores = [0.02] * len(LABELS)
            scores[LABELS.index("siren")] = score
            changed = replace(record, scores=tuple(scores))
            frames[number] = replace(frames[number], record=changed)
    store = make_store(folder / "monitor.db")
    events = [
        event(f"event-{number}", first, 10)
        for number, first in enumerate((20, 60, SOUNDS["high"][0]))
    ]
    store.write([timed(frame.record, BEGAN) for frame in frames])
    store.write([timed(each, BEGAN) for each in events])
    store.close()
    database = open_database(folder / "monitor.db")
    connection = database.connect()
    with transaction(connection):
        now = datetime.now(UTC)
        write_verdict(connection, ["event-0"], "right", None, now=now)
        label = "dog_bark" if second == "label" else None
        write_verdict(connection, ["event-1"], second, label, now=now)
    connection.close()


def event(name: str, first: int, hops: int) -> Event:
    start = first * 24_576 + 100_000
    return Event(
        id=name,
        source="street",
        label="siren",
        start=start,
        stop=start + hops * 24_576,
        peak_score=0.99,
        mean_score=0.9,
        level_dbfs=-20.0,
        laeq_db=60.0,
        top=(("siren", 0.99),),
        model="urban",
        end_reason="offset",
    )


def context_of(folder: Path, text: str = "labels: [siren, dog_bark]\n") -> WebContext:
    file = folder / "config.yaml"
    file.write_text(f"state_dir: {folder}\n{text}")
    config = parse_config(file.read_text(), str(file))
    return make_context(folder, config=config, config_file=file)


def client_of(folder: Path, text: str = "labels: [siren, dog_bark]\n") -> WebClient:
    return WebClient(build_app(context_of(folder, text)))


def asked(client: WebClient, path: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = client.get(path).json()
    return found


def test_the_page_offers_to_apply_only_what_the_operator_allows(tmp_path: Path) -> None:
    assert 'id="apply"' not in client_of(tmp_path).get("/thresholds").text
    allowed = client_of(tmp_path, "web: {may_change: [sensitivity]}\n")
    assert 'id="apply"' in allowed.get("/thresholds").text


def test_a_label_in_the_address_is_text(tmp_path: Path) -> None:
    page = client_of(tmp_path).get("/thresholds?label=%22%3E%3Cscript%3Ex%3C/script%3E")
    assert "<script>x" not in page.text


def test_the_curves_are_those_of_the_model_and_of_the_place(tmp_path: Path) -> None:
    fill(tmp_path)
    client = client_of(tmp_path)
    model = asked(client, "/thresholds/curves?of=model")["labels"]["siren"]
    place = asked(client, "/thresholds/curves")["labels"]["siren"]
    assert len(model["curve"]) == 11
    assert {point["events"] for point in model["curve"]} == {None}
    counts = [point["events"] for point in place["curve"]]
    assert counts == sorted(counts)
    assert (counts[5], counts[-1]) == (1, 2)


@pytest.mark.parametrize("second", ["wrong", "label"])
def test_a_replay_says_what_comes_and_goes_and_what_people_said_of_it(
    tmp_path: Path, second: Verdict
) -> None:
    """A siren that was a dog was wrong for its label."""
    fill(tmp_path, second)
    found = asked(client_of(tmp_path), "/thresholds/replay?label=siren&value=1")
    assert (found["stays"], found["comes"], found["goes"]) == (1, 1, 2)
    (comes,) = found["lists"]["comes"]
    assert comes["label"] == "siren"
    assert comes["peak_score"] == pytest.approx(0.8, abs=0.001)
    verdicts = {each["id"]: each["verdict"] for each in found["lists"]["goes"]}
    assert verdicts == {"event-0": "right", "event-1": second}
    assert found["verdicts"] == {
        "right": 1,
        "wrong": 1,
        "right_lost": 1,
        "wrong_gone": 1,
    }


@pytest.mark.parametrize("value", ["", "x", "-1", "1.1", "nan"])
def test_a_value_that_is_no_sensitivity_is_rejected(tmp_path: Path, value: str) -> None:
    response = client_of(tmp_path).get(f"/thresholds/replay?value={value}")
    assert response.status_code == 400
    assert "from 0 to 1" in response.json()["sentence"]


@pytest.mark.parametrize(
    "label", ["--until=1970-01-02", "-x", "a%00", "a%0Ab", "=1", "x" * 64]
)
def test_a_text_that_can_name_no_label_reaches_no_command(
    programs: "Programs", label: str
) -> None:
    client = WebClient(build_app(make_context(programs.folder)))
    for path in ("replay?value=1", "proposal?"):
        response = client.get(f"/thresholds/{path}&label={label}")
        assert response.status_code == 400
        assert response.json()["sentence"] == "No sound has that name."
    assert [each.name for each in programs.folder.iterdir()] == ["program.py"]


def test_a_command_that_cannot_be_written_down_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match="null byte"):
        asyncio.run(
            Children(make_context(tmp_path)).run(ME, ["a\0b"], lambda _: None, 9)
        )


def test_a_visitor_has_two_questions_and_too_many_of_all_are_refused(
    programs: "Programs",
) -> None:
    async def ask() -> None:
        children = Children(make_context(programs.folder))

        def begin(visitor: str, question: str) -> asyncio.Task[None]:
            run = children.run(Owner(visitor, question), [question], lines.append, 30)
            return asyncio.create_task(run)

        lines: list[bytes] = []
        own = [begin("me", f"{number}") for number in range(20)]
        while sum(each.done() for each in own) < 18:
            await asyncio.sleep(0.01)
        assert [each.done() for each in own] == [True] * 18 + [False] * 2
        most = MOST_AT_ONCE + MOST_WAITING - 2
        others = [begin(f"{number}", f"of-{number}") for number in range(most)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await begin("late", "late")
        again = begin("me", "again")
        await asyncio.wait([own[-2]])
        for task in (*own, *others, again):
            task.cancel()
        await asyncio.wait([*own, *others, again])

    asyncio.run(asyncio.wait_for(ask(), 60))


def test_a_proposal_is_that_of_the_scores_and_the_verdicts(tmp_path: Path) -> None:
    fill(tmp_path)
    found = asked(client_of(tmp_path), "/thresholds/proposal?label=siren")
    (siren,) = found["labels"]
    assert 0 < siren["threshold"]["onset"] < 1
    (verdicts,) = found["verdicts"]
    assert (verdicts["confirmed"], verdicts["rejected"]) == (1, 1)
    assert not verdicts["is_used"]


def test_what_the_page_says_of_a_child_is_in_its_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.web.pages.thresholds.REPLAY_SECONDS", 0.0)
    german = {"accept-language": "de"}
    found = client_of(tmp_path).get("/thresholds/replay?value=1", headers=german)
    assert found.json()["sentence"] == "Es dauerte länger als 0 s."


def test_a_child_that_fails_says_why(tmp_path: Path) -> None:
    fill(tmp_path)
    found = asked(client_of(tmp_path), "/thresholds/replay?label=no-such&value=1")
    assert "no-such" in found["sentence"]
    assert "Traceback" not in found["sentence"]


ME = Owner("me")


class Programs:
    """Scripts that run in place of the commands of the program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "program.py"
        self.file.write_text(
            "import os, sys, time\n"
            "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
            "time.sleep(0.1)\n"
            'print(\'{"change": "stays", "nice": %d}\' % os.nice(0), flush=True)\n'
            "time.sleep(60)\n"
        )

    async def started(self, name: str) -> int:
        """Wait until the child of a file has started; return its id."""
        path = self.folder / name
        while not (path.exists() and path.read_text()):
            await asyncio.sleep(0.01)
        return int(path.read_text())


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def begin_of(process: int) -> float:
    """The time at which a process began, in seconds since the start of the machine."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.chdir(tmp_path)
    programs = Programs(tmp_path)
    monkeypatch.setattr(
        "monitor.web.child_commands.own_command",
        lambda *arguments: (
            [sys.executable, str(programs.file), *arguments],
            dict(os.environ),
        ),
    )
    return programs


def test_the_newest_question_of_an_owner_ends_the_one_before(
    programs: Programs,
) -> None:
    async def ask() -> None:
        children = Children(make_context(programs.folder))
        lines: list[bytes] = []
        first = asyncio.create_task(children.run(ME, ["first"], lines.append, 30))
        process = await programs.started("first")
        second = asyncio.create_task(children.run(ME, ["second"], lines.append, 30))
        with pytest.raises(ChildError, match="newer"):
            await first
        newer = await programs.started("second")
        assert not is_running(process)
        second.cancel()
        await asyncio.wait({second})
        while is_running(newer):
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(ask(), 60))


def test_a_child_that_takes_too_long_is_ended(programs: Programs) -> None:
    async def ask() -> None:
        children = Children(make_context(programs.folder))
        with pytest.raises(ChildError, match="longer than 4 s"):
            await children.run(ME, ["first"], lambda _: None, 4)
        assert not is_running(await programs.started("first"))

    asyncio.run(asyncio.wait_for(ask(), 60))


def test_no_more_than_two_run_at_once_and_all_give_way(programs: Programs) -> None:
    async def ask() -> None:
        children = Children(make_context(programs.folder))
        lines: list[bytes] = []
        tasks = [
            asyncio.create_task(children.run(Owner(name), [name], lines.append, 30))
            for name in ("a", "b", "c")
        ]
        await programs.started("a")
        await programs.started("b")
        cancelled = clock_gettime(CLOCK_BOOTTIME)
        tasks[0].cancel()
        assert begin_of(await programs.started("c")) >= cancelled - 0.01
        while not lines:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(json.loads(line)["nice"] >= 15 for line in lines)

    asyncio.run(asyncio.wait_for(ask(), 60))


class Leaver:
    """A viewer who leaves as soon as the replay runs."""

    def __init__(self) -> None:
        self.status = 0

    async def ask(self, context: WebContext, started: Path) -> None:
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": b"", "more_body": False}
            while not started.exists():
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.status = message.get("status", self.status)

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/thresholds/replay",
            "raw_path": b"/thresholds/replay",
            "root_path": "",
            "query_string": b"value=1",
            "headers": [(b"host", b"127.0.0.1")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
            "http_version": "1.1",
        }
        await build_app(context)(scope, receive, send)


def test_a_replay_ends_when_its_viewer_leaves(programs: Programs) -> None:
    async def ask() -> None:
        context = make_context(programs.folder)
        await Leaver().ask(context, programs.folder / "replay")
        process = await programs.started("replay")
        while is_running(process):
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(ask(), 60))


def test_the_process_of_the_page_loads_no_numpy() -> None:
    code = (
        "import sys, monitor.web.app; "
        "print({'numpy', 'safetensors', 'onnxruntime'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert found.stdout.strip() == b"set()"
