"""`sound-monitor collect --webhook`: told once, whatever is killed."""

import re
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen
from time import sleep

import pytest

from tests.support import ROOT
from tests.support.broker import needs_mosquitto, running_broker
from tests.support.clock import wait_until
from tests.support.endpoint import running_endpoint, status
from tests.support.fleet import Script, collector_process, mqtt_monitors
from tests.support.postgres import Postgres, needs_postgres

pytestmark = [
    pytest.mark.fleet,
    needs_postgres,
    needs_mosquitto,
    pytest.mark.timeout(180),
]

IMPATIENT = ("tests.support.impatient_collector", "1")


def documented_webhook(folder: Path, url: str) -> Path:
    """The file for ntfy of docs/fleet.md, whose secret is in `folder`."""
    page = (ROOT / "docs" / "fleet.md").read_text()
    found = re.search(r"^    url_secret: .*\n(?:    .*\n)+", page, re.MULTILINE)
    assert found is not None
    secret, path = folder / "notices-url", folder / "notices.yaml"
    secret.write_text(url + "\n")
    lines = [line.strip() for line in found[0].splitlines()]
    text = "\n".join(lines).replace("/etc/sound-monitor/notices-url", str(secret))
    path.write_text(text)
    return path


def reported(server: Postgres) -> list[tuple[str, bool]]:
    with server.connect() as connection:
        return connection.execute(
            "SELECT state, reported IS NOT NULL FROM changes ORDER BY id"
        ).fetchall()


def test_each_change_is_told_once_though_the_collector_and_database_are_killed(
    own_server: Postgres, tmp_path: Path
) -> None:
    barn, attic = Script("barn"), Script("attic")
    with (
        running_broker(tmp_path) as broker,
        mqtt_monitors(broker.port, barn, attic) as monitors,
        running_endpoint(status(503)) as endpoint,
    ):
        webhook = documented_webhook(tmp_path, endpoint.url)

        def publish(script: Script, *, listening: bool) -> None:
            number = script.add("digest", site="farm", listening=listening)
            monitors.publish(script.monitor, script.messages[number])

        def command(name: str) -> AbstractContextManager[Popen[str]]:
            return collector_process(
                *(own_server, broker.url, tmp_path / name, "--webhook", str(webhook)),
                module=IMPATIENT,
            )

        with command("first") as collector:
            publish(attic, listening=True)
            publish(barn, listening=False)
            endpoint.wait_for(1, 60)
            collector.kill()
            collector.wait()
        refused = len(endpoint.wait_for(1))
        assert reported(own_server) == [("not listening", False)]
        endpoint.will(status(200))
        with command("second") as collector:
            wait_until(lambda: reported(own_server) == [("not listening", True)])
            collector.kill()
            collector.wait()
        with command("third") as collector:
            own_server.kill()
            publish(barn, listening=True)
            own_server.start()
            # The broker may have kept a record for the collector that was killed: the
            # next one of the monitor makes up for it.
            while len(reported(own_server)) < 2:
                assert collector.poll() is None
                publish(barn, listening=True)
                sleep(0.5)
            wait_until(lambda: all(done for _, done in reported(own_server)))
            assert collector.poll() is None
        assert collector.returncode == 0
    requests = endpoint.requests[refused:]
    texts = [request.body.decode() for request in requests]
    assert len(texts) == 2, texts
    assert re.fullmatch(r"barn \(farm\): not listening since [-\d]+ [:\d]+", texts[0])
    assert re.fullmatch(r"barn \(farm\): listens again since [-\d]+ [:\d]+", texts[1])
    # ntfy takes any text as the message, and options from headers such as Title.
    assert {request.headers["content-type"] for request in requests} == {"text/plain"}
    options = {"title", "priority", "tags", "message", "attach", "filename", "delay"}
    assert not options & set(requests[0].headers)
    ids = [request.headers["webhook-id"] for request in endpoint.requests]
    assert len(set(ids)) == 2
