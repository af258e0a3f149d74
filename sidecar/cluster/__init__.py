"""Questions to the Kafka cluster that would block the consumer thread, and what its errors mean."""
