"""All that touches the Kafka client."""
