"""Tests of what stands around the Kafka client: no broker."""
