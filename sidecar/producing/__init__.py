"""Writes to Kafka: the records that lambdas produce, and dead letters."""
