"""MQTT: a connection to a broker, and the states of labels and sources."""
