"""Alerts on a real MQTT broker."""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import trustme

from monitor.config.outputs import MqttAlertSettings
from monitor.errors import ConfigError
from monitor.extras import install_command
from monitor.sinks.alerts.hooks import Delivered, Hook, Outcome, Retry, build_hook
from tests.support.alerts import alert
from tests.support.broker import needs_mosquitto, running_broker, subscribed
from tests.support.endpoint import unused_port

TOPIC = "sound-monitor/alerts"


def hook(port: int, environ: dict[str, str] | None = None, **settings: Any) -> Hook:
    section = MqttAlertSettings.model_validate(
        {"host": "localhost", "port": port, **settings}
    )
    return build_hook(section, "alerts[0].mqtt", environ or {})


@needs_mosquitto
def test_an_alert_is_published_with_qos_1_and_not_retained(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, subscribed(broker) as subscriber:
        mqtt = hook(broker.port)
        assert mqtt.deliver(alert(1)) == Delivered("acknowledged by the broker")
        assert mqtt.deliver(alert(2)) == Delivered("acknowledged by the broker")
        subscriber.wait_for(TOPIC, json.dumps(dict(alert(2).body)))
    assert [json.loads(p)["number"] for p in subscriber.payloads(TOPIC)] == [1, 2]
    assert not any(retained for _, _, retained in subscriber.messages)
    assert subscriber.qos[TOPIC] == 1


@needs_mosquitto
def test_a_broker_that_is_away_is_tried_again_until_it_is_back(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        mqtt = hook(broker.port)
        broker.stop()
        outcome = mqtt.deliver(alert())
        assert outcome == Retry(
            f"no connection to mqtt://localhost:{broker.port}: Connection refused"
        )
        broker.start()
        assert isinstance(mqtt.deliver(alert()), Delivered)


@needs_mosquitto
def test_a_broker_that_says_nothing_is_left_after_the_time_limit(
    tmp_path: Path,
) -> None:
    with running_broker(tmp_path) as broker:
        broker.freeze()
        outcome = hook(broker.port, total_seconds=0.3).deliver(alert())
    target = f"mqtt://localhost:{broker.port}"
    assert outcome == Retry(f"{target} did not accept in time")


@needs_mosquitto
def test_a_delivery_can_be_cancelled(tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    with running_broker(tmp_path) as broker:
        broker.freeze()
        mqtt = hook(broker.port)
        thread = threading.Thread(target=lambda: outcomes.append(mqtt.deliver(alert())))
        began = monotonic()
        thread.start()
        while thread.is_alive() and monotonic() - began < 10:
            mqtt.cancel()
            thread.join(0.05)
        assert not thread.is_alive()
        broker.stop()
        broker.start()
        assert isinstance(outcomes[0], Retry)
        assert isinstance(mqtt.deliver(alert()), Delivered)


@needs_mosquitto
def test_user_and_password_are_checked_and_the_password_is_never_reported(
    tmp_path: Path,
) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(passwords), "sounds", "swordfish"],
        check=True,
        capture_output=True,
    )
    lines = ("allow_anonymous false", f"password_file {passwords}")
    login = {"username": "sounds", "password": "env:PASSWORD"}
    with running_broker(tmp_path, *lines) as broker:
        right = hook(broker.port, {"PASSWORD": "swordfish"}, **login)
        assert isinstance(right.deliver(alert()), Delivered)
        wrong = hook(broker.port, {"PASSWORD": "sardine"}, **login).deliver(alert())
    assert isinstance(wrong, Retry)
    assert "refuses: Not authorized" in wrong.reason
    assert "sardine" not in wrong.reason


@needs_mosquitto
def test_an_alert_that_the_broker_refuses_is_not_delivered(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic read #\n")
    with running_broker(tmp_path, f"acl_file {tmp_path / 'acl'}") as broker:
        outcome = hook(broker.port).deliver(alert())
        assert isinstance(outcome, Retry)
        assert "refuses a message: Not authorized" in outcome.reason


# paho leaves it to the interpreter to close the socket of a failed handshake.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@needs_mosquitto
def test_tls_connects_only_to_a_trusted_broker(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    own = authority.issue_cert("localhost")
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    lines = (f"certfile {tmp_path}/cert.pem", f"keyfile {tmp_path}/key.pem")
    with running_broker(tmp_path, *lines) as broker:
        secure = hook(broker.port, tls=True, ca_file=str(tmp_path / "ca.pem"))
        assert isinstance(secure.deliver(alert()), Delivered)
        foreign = hook(broker.port, tls=True, ca_file=str(tmp_path / "other.pem"))
        outcome = foreign.deliver(alert())
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith(
        f"no TLS connection to mqtts://localhost:{broker.port}: "
    )


def test_without_a_broker_the_reason_is_reported() -> None:
    port = unused_port()
    outcome = hook(port).deliver(alert())
    target = f"mqtt://localhost:{port}"
    assert outcome == Retry(f"no connection to {target}: Connection refused")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"username": "a", "password": "env:NOTHING"},
            "alerts[0].mqtt.password: the variable NOTHING is not set",
        ),
        (
            {"tls": True, "ca_file": "/nowhere.pem"},
            "alerts[0].mqtt.ca_file: /nowhere.pem cannot be read: No such file or "
            "directory",
        ),
    ],
)
def test_a_missing_secret_or_file_is_reported_with_its_place(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        hook(1883, **settings)
    assert str(caught.value) == message


def test_without_paho_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho", None)
    with pytest.raises(ConfigError, match=re.escape(install_command("mqtt"))):
        hook(1883)


@pytest.mark.parametrize(
    "settings",
    [
        {"topic": "a/#"},
        {"topic": "/a"},
        {"topic": "a//b"},
        {"topic": "$SYS/a"},
        {"password": "env:NAME"},
        {"password": "swordfish", "username": "a"},
        {"ca_file": "ca.pem"},
        {"port": 0},
    ],
)
def test_invalid_settings_are_rejected_without_the_password(
    settings: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        MqttAlertSettings.model_validate({"host": "localhost", **settings})
    assert "swordfish" not in str(caught.value).partition("[type=")[0]


def test_the_port_follows_tls() -> None:
    assert MqttAlertSettings(host="a").place == ("a", 1883)
    assert MqttAlertSettings(host="a", tls=True).place == ("a", 8883)
    assert MqttAlertSettings(host="::1").target == "mqtt://[::1]:1883"
