/**
 * Lambdas for kafka-sidecar: code that handles the messages of one Kafka partition, in order.
 *
 * <p>{@link io.kafkasidecar.LambdaServer} connects a process to its sidecar. {@link io.kafkasidecar.Lambda} is what you
 * write, {@link io.kafkasidecar.Partition} what it can say. {@link io.kafkasidecar.testing.FakeSidecar} runs it in a
 * unit test. No type of gRPC or protobuf is part of this API.
 */
package io.kafkasidecar;
