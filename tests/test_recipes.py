"""The files of docs/recipes: what they name exists, and the programs take them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from monitor.config.outputs import MqttAlertSettings, MqttSettings
from monitor.sinks.metrics import COUNTER, FAMILIES, PREFIX
from monitor.sinks.mqtt.topics import Topics
from tests.support import ROOT
from tests.test_docs import RECIPES, blocks

RULES = RECIPES / "prometheus-rules.yml"
PROMTOOL = shutil.which("promtool")

# apprise imports it while it looks for its services.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="needs promtool: apt install prometheus"
)


def dashboard(name: str = "grafana-dashboard.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECIPES / name).read_text())
    return found


def queries() -> Iterator[str]:
    """Every expression of the rules and of the dashboard."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def _served() -> dict[str, set[str]]:
    """Every metric, and its labels with those that Prometheus adds."""
    added = {"instance", "job"}
    found = {"up": added, "process_resident_memory_bytes": added}
    found[f"{PREFIX}_latency_seconds_bucket"] = added | {"le"}
    for kind, name, unit, labels, _ in FAMILIES:
        parts = [PREFIX, name, unit, "total" if kind is COUNTER else ""]
        found["_".join(filter(None, parts))] = {*added, *labels}
    return found


SERVED = _served()


@pytest.mark.parametrize("query", list(queries()), ids=lambda query: query[:50])
def test_every_query_names_metrics_and_labels_that_are_served(
    query: str,
) -> None:
    selected = re.findall(r"\b(up|sound_monitor_\w+|process_\w+)(?:{(.*?)})?", query)
    assert selected, query
    for name, matchers in selected:
        assert name in SERVED, name
        asked = set(re.findall(r"(\w+)=", matchers))
        assert asked <= SERVED[name], (name, asked)
    known = set().union(*(SERVED[name] for name, _ in selected))
    for grouped in re.findall(r"\bby \((.*?)\)", query):
        assert set(grouped.split(", ")) <= known, query


def test_every_annotation_names_labels_of_its_query() -> None:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            text = json.dumps(rule.get("annotations", {}))
            (name, *_) = re.findall(r"\b(?:up|sound_monitor_\w+)", rule["expr"])
            assert set(re.findall(r"\$labels\.(\w+)", text)) <= SERVED[name], rule


def test_every_alert_of_prometheus_is_explained() -> None:
    text = (RECIPES / "grafana.md").read_text()
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert f"`{rule.get('alert') or rule['record']}`" in text


@needs_promtool
def test_promtool_takes_rules_and_configuration_and_the_rules_fire() -> None:
    cases = ROOT / "tests" / "data" / "prometheus-rules-test.yml"
    for words in (
        ("check", "config", RECIPES / "prometheus.yml"),
        ("test", "rules", cases),
    ):
        done = subprocess.run(
            [str(PROMTOOL), *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["grafana-dashboard.json", "fleet-dashboard.json"])
def test_the_panels_of_a_dashboard_are_apart_and_have_what_grafana_reads(
    name: str,
) -> None:
    board = dashboard(name)
    assert {"uid", "title", "schemaVersion", "panels", "templating"} <= set(board)
    assert not {"id", "gnetId"} & set(board), "those of one Grafana"
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board)))
    assert used - {"__all", "__timeFilter"} == variables
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        assert {"id", "type", "title", "datasource", "targets"} <= set(panel)
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(letters) == len(set(letters))
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))


def test_the_flow_of_node_red_is_connected_and_has_topics_of_the_monitor() -> None:
    flow = json.loads((RECIPES / "node-red-flow.json").read_text())
    ids = {node["id"] for node in flow}
    assert len(ids) == len(flow)
    for node in flow:
        assert {target for wire in node.get("wires", ()) for target in wire} <= ids
        assert {node.get("z", "sm-tab"), node.get("broker", "sm-broker")} <= ids | {
            "localhost"
        }
    topics = {node["topic"] for node in flow if node["type"] == "mqtt in"}
    states = Topics(MqttSettings().topic)
    alerts = MqttAlertSettings(host="localhost").topic
    assert topics == {states.label("street", "siren"), alerts}


def apprise_urls() -> Iterator[str]:
    for page in (RECIPES / "ntfy.md", RECIPES / "telegram.md"):
        yield from re.findall(
            r"\b(?:ntfys?|tgram)://[^\s\"'`]+(?=[\"'`])", page.read_text()
        )


@pytest.mark.parametrize("url", [u for u in apprise_urls() if "..." not in u])
def test_every_url_of_a_messenger_is_known_and_takes_pictures(url: str) -> None:
    import apprise

    service = apprise.Apprise.instantiate(url)
    assert service is not None
    assert service.attachment_support


def test_the_configuration_of_vector_is_connected() -> None:
    found = yaml.safe_load((RECIPES / "vector.yaml").read_text())
    names = {*found["sources"], *found["transforms"]}
    for part in (*found["transforms"].values(), *found["sinks"].values()):
        assert set(part["inputs"]) <= names
    (rule,) = yaml.safe_load(blocks(RECIPES / "journal.md", "yaml")[0])["alerts"]
    shipped = found["sources"]["journal"]["include_matches"]["SYSLOG_IDENTIFIER"]
    assert rule["command"][-1] in shipped


def test_the_packets_of_the_esp32_are_what_its_page_says() -> None:
    folder = RECIPES / "esp32_microphone"
    sketch = (folder / "esp32_microphone.ino").read_text()
    numbers = dict(re.findall(r"(\w+) = (\d+)[,;]", sketch))
    rate, samples = int(numbers["RATE"]), int(numbers["SAMPLES"])
    assert (rate, samples) == (44_100, rate // 100)
    page = (RECIPES / "esp32.md").read_text()
    assert f"{int(numbers['HEADER']) + 2 * samples} bytes" in page
    assert f"udp:{numbers['PORT']}" in page
