"""One behaviour suite over two brokers: the embedded one and real Kafka."""
