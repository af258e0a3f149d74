package io.kafkasidecar;

/**
 * Where a record was written. With {@link Guarantee#EXACTLY_ONCE} that is not known when the record is held: partition and
 * offset are -1.
 *
 * @param topic the topic
 * @param partition the number of the partition
 * @param offset the record's offset
 */
public record Produced(String topic, int partition, long offset) {}
