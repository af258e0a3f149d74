"""Records and their encodings: read from the client, buffered, made into frames."""
