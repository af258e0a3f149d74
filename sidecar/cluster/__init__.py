"""Questions to the Kafka cluster that must not block the consumer thread, and the meaning of its errors."""
