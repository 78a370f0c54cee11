"""MQTT: a connection to a broker, and the states of what is heard."""
