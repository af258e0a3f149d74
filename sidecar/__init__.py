"""kafka-sidecar: the host. It consumes Kafka and hands partitions to lambdas over gRPC."""
