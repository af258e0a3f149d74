"""kafka-sidecar's host process. It consumes Kafka and gives partitions to lambdas over gRPC."""
