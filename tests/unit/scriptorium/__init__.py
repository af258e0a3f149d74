"""scriptorium without a server."""
