"""Records and their encodings: read from Kafka's client, buffered, encoded into frames."""
