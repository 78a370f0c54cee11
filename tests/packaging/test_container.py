"""The image, built and run: as compose.yaml starts it, on the network of the host."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from monitor.audio.sources.demo import render_scene
from tests.support.broker import Broker, needs_mosquitto, running_broker, subscribed
from tests.support.clock import wait_until
from tests.support.container_files import SERVICES, STATE, extras
from tests.support.debian import UnavailableError
from tests.support.endpoint import unused_port
from tests.support.podman import Podman, find_obstacle
from tests.support.source_programs import LOOP

OBSTACLE = find_obstacle()
pytestmark = [
    pytest.mark.container,
    pytest.mark.timeout(600),
    pytest.mark.skipif(OBSTACLE is not None, reason=f"container test: {OBSTACLE}"),
    needs_mosquitto,
]

IMAGE = "localhost/sound-monitor"
MOST_BYTES = 350e6
RATE = 44_100
PASSWORD = "correct horse battery"
BROKER_PASSWORD = "staple"

CONFIG = """
sources:
  - name: street
    input: "command:python3 /etc/sound-monitor/loop.py /etc/sound-monitor/siren.pcm"
web: {{listen: "0.0.0.0:{page}"}}
mqtt:
  host: 127.0.0.1
  port: {broker}
  username: sound-monitor
  password: env:MQTT_PASSWORD
"""


def confined(name: str) -> list[str]:
    """The options of podman with which compose.yaml confines a service."""
    service = SERVICES[name]
    assert service["read_only"]
    return [
        # Without the writable folders that podman adds and docker does not.
        *("--read-only", "--read-only-tmpfs=false"),
        *(f"--tmpfs={folder}" for folder in service["tmpfs"]),
        *(f"--cap-drop={capability}" for capability in service["cap_drop"]),
        *(f"--security-opt={option}" for option in service["security_opt"]),
        f"--volume={next(v for v in service['volumes'] if v.startswith('state:'))}",
    ]


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    # /tmp may be too small, and pytest would keep three of them.
    podman = Podman(Path(tempfile.mkdtemp(prefix="sound-monitor-", dir="/var/tmp")))
    try:
        podman.prepare()
        podman.build(IMAGE, extras())
        yield podman
    except UnavailableError as error:
        pytest.skip(f"container test: {error}")
    finally:
        podman.close()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("broker")
    passwords = folder / "passwords"
    subprocess.run(
        [
            *("mosquitto_passwd", "-b", "-c"),
            *(passwords, "sound-monitor", BROKER_PASSWORD),
        ],
        check=True,
    )
    lines = ("allow_anonymous false", f"password_file {passwords}")
    with running_broker(folder, *lines) as broker:
        yield broker


class Household:
    """The monitor and its page, in two containers that share the state."""

    def __init__(self, podman: Podman, folder: Path, broker: Broker) -> None:
        self.podman = podman
        self.page = f"http://127.0.0.1:{(port := unused_port())}"
        config = CONFIG.format(page=port, broker=broker.port)
        (folder / "config.yaml").write_text(config)
        (folder / "loop.py").write_text(LOOP)
        # A siren from 6 to 20 s, and what comes before and after it.
        scene = render_scene(RATE)[0, : 26 * RATE]
        (folder / "siren.pcm").write_bytes((scene * 32767).astype("<i2").tobytes())
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)
        self._both = [
            *("--network=host", f"--env=MQTT_PASSWORD={BROKER_PASSWORD}"),
            f"--volume={folder}:/etc/sound-monitor:ro",
        ]

    def options(self, name: str) -> list[str]:
        return [*self._both, *confined(name)]

    def start(self, name: str, *command: str) -> None:
        options = self.options(name)
        self.podman.run("run", "-d", f"--name={name}", *options, IMAGE, *command)

    def inside(self, name: str, *argv: str) -> str:
        return self.podman.run("exec", name, *argv)

    def labels(self) -> set[str]:
        """The labels of the events that the monitor has stored."""
        stored = self.inside("monitor", "sound-monitor", "events", "--json")
        return {json.loads(line)["label"] for line in stored.splitlines()}


@pytest.fixture(scope="module")
def household(
    podman: Podman, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Household:
    running = Household(podman, tmp_path_factory.mktemp("config"), broker)
    command = ["web", "--set-password"]
    options = running.options("monitor")
    podman.run("run", "--rm", "-i", *options, IMAGE, *command, text=PASSWORD + "\n")
    running.start("monitor")
    running.start("web", "web")
    podman.wait_until_healthy("monitor")
    return running


def test_the_image_has_less_than_350_mb(podman: Podman) -> None:
    size = int(podman.run("image", "inspect", "--format={{.Size}}", IMAGE))
    assert 100e6 < size < MOST_BYTES


def test_it_listens_without_root_and_without_a_writable_root(
    household: Household,
) -> None:
    pid = household.podman.inspect("monitor", "State.Pid")
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    told = json.loads(household.inside("monitor", "sound-monitor", "status", "--json"))
    assert told["watchdog"]["limit_seconds"] == 30
    touched = household.podman.try_run("exec", "monitor", "touch", "/opt/x", "/x")
    assert touched.stderr.count("Read-only file system") == 2


def test_an_event_is_stored_and_reaches_the_broker(
    household: Household, broker: Broker
) -> None:
    login = {"username": "sound-monitor", "password": BROKER_PASSWORD}
    with subscribed(broker, **login) as subscriber:
        subscriber.wait_for("sound-monitor/street/availability", "online")
        subscriber.wait_for("sound-monitor/street/label/siren", "ON")
        subscriber.wait_for("sound-monitor/street/label/siren", "OFF")
    wait_until(lambda: "siren" in household.labels())


def test_the_page_shows_the_event_and_the_status_and_writes_nothing(
    household: Household,
) -> None:
    wait_until(lambda: "siren" in household.labels())
    with httpx.Client(base_url=household.page, follow_redirects=True) as browser:
        page = browser.get("/events")
        assert "/login" in str(page.url)
        (token,) = re.findall(r'name="token" value="([^"]+)"', page.text)
        form = {"password": PASSWORD, "token": token}
        headers = {"Origin": household.page}
        browser.post("/login", data=form, headers=headers).raise_for_status()
        assert "siren" in browser.get("/events").text
        assert "listening to street" in browser.get("/system").text
    touched = household.podman.try_run("exec", "web", "touch", f"{STATE}/x")
    assert "Read-only file system" in touched.stderr


def test_the_page_has_a_health_check_of_its_own(household: Household) -> None:
    _, *check = SERVICES["web"]["healthcheck"]["test"]
    port = household.page.rpartition(":")[2]
    household.inside("web", *(word.replace("8480", port) for word in check))


def test_a_new_container_keeps_the_state(household: Household) -> None:
    wait_until(lambda: "siren" in household.labels())
    household.podman.run("stop", "--time=10", "monitor")
    assert household.podman.inspect("monitor", "State.ExitCode") == "0"
    household.podman.run("rm", "monitor")
    household.start("monitor")
    household.podman.wait_until_healthy("monitor")
    assert "siren" in household.labels()
