"""Tests of the pure core: no Kafka, no gRPC, no clock."""
