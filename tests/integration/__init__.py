"""One suite of behaviour tests on two brokers: the embedded one and real Kafka."""
