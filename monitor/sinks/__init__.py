"""The sinks: console, event log, store, alerts, MQTT, clips, status and metrics."""
