package io.kafkasidecar;

/**
 * Where a record was written.
 *
 * @param topic the topic
 * @param partition the number of the partition
 * @param offset the record's offset
 */
public record Produced(String topic, int partition, long offset) {}
