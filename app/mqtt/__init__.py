"""Events to an MQTT broker, with Home Assistant discovery. A grant is never retained and never late."""
