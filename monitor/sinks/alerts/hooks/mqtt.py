"""The MQTT hook: publishes alerts to a topic."""

import json
import time
from collections.abc import Mapping

from monitor.config.outputs import MqttAlertSettings
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.hooks import Delivered, Outcome, Refused, Retry
from monitor.sinks.mqtt.connection import BrokerConnection, BrokerError, Message


class Mqtt:
    """Publishes alerts with QoS 1, each over a connection of its own.

    Alerts are few, and a connection that is kept would need a thread of its own.  An
    alert is delivered once the broker has acknowledged it.
    """

    def __init__(
        self, settings: MqttAlertSettings, place: str, environ: Mapping[str, str]
    ) -> None:
        """Read secrets and certificates; connect to nothing: see `build_hook`."""
        self._topic = settings.topic
        self._connection = BrokerConnection(settings, place, environ)
        self.target = f"{self._connection.target}/{settings.topic}"
        self.total_seconds = settings.total_seconds

    def deliver(self, alert: Alert) -> Outcome:
        """Publish one alert.  Blocks; `cancel` ends it."""
        until = time.monotonic() + self.total_seconds
        payload = json.dumps(dict(alert.body), allow_nan=False)
        try:
            self._connection.open(self.total_seconds)
            if not self._connection.publish([Message(self._topic, payload)]):
                return Refused("the broker takes no message of this size")
            self._connection.wait_acknowledged(until - time.monotonic())
        except BrokerError as error:
            return Retry(str(error))
        finally:
            self._connection.close()
        return Delivered("acknowledged by the broker")

    def cancel(self) -> None:
        """End the delivery under way."""
        self._connection.cancel()

    def close(self) -> None:
        """Do nothing: between deliveries there is no connection."""
