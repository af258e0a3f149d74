package io.kafkasidecar;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.List;
import java.util.Objects;
import java.util.OptionalInt;
import java.util.OptionalLong;

/**
 * A record to write to Kafka by {@link Partition#produce(OutputRecord)}. Immutable; each {@code with} makes a new one.
 * The arrays are copied when the record is produced, so they may be used again afterwards.
 */
public final class OutputRecord {
    private static final int MAX_TOPIC_BYTES = 249;

    private final String topic;
    private final byte[] key;
    private final byte[] value;
    private final List<Header> headers;
    private final int partition;
    private final long source;

    private OutputRecord(String topic, byte[] key, byte[] value, List<Header> headers, int partition, long source) {
        this.topic = topic;
        this.key = key;
        this.value = value;
        this.headers = headers;
        this.partition = partition;
        this.source = source;
    }

    /**
     * Makes a record without a key.
     *
     * @param topic the topic; the lambda's {@code produce} in the sidecar's config has to list it
     * @param value the value; null: a tombstone
     * @return the record
     */
    public static OutputRecord of(String topic, byte[] value) {
        int length = Objects.requireNonNull(topic, "topic").getBytes(UTF_8).length;
        if (length == 0 || length > MAX_TOPIC_BYTES) {
            throw new IllegalArgumentException("a topic's name has 1 to " + MAX_TOPIC_BYTES + " bytes, got " + length);
        }
        return new OutputRecord(topic, null, value, List.of(), -1, -1);
    }

    /**
     * Makes a record without a key, whose value is a text.
     *
     * @param topic the topic
     * @param value the value; null: a tombstone
     * @return the record
     */
    public static OutputRecord of(String topic, String value) {
        return of(topic, value == null ? null : value.getBytes(UTF_8));
    }

    /**
     * The same with a key, which chooses the partition as Kafka's Java client does.
     *
     * @param newKey the key; null: none
     * @return a new record
     */
    public OutputRecord withKey(byte[] newKey) {
        return new OutputRecord(topic, newKey, value, headers, partition, source);
    }

    /**
     * The same with a key that is a text.
     *
     * @param newKey the key; null: none
     * @return a new record
     */
    public OutputRecord withKey(String newKey) {
        return withKey(newKey == null ? null : newKey.getBytes(UTF_8));
    }

    /**
     * The same with these headers instead of those that it has.
     *
     * @param newHeaders the headers, in order
     * @return a new record
     */
    public OutputRecord withHeaders(List<Header> newHeaders) {
        return new OutputRecord(topic, key, value, List.copyOf(newHeaders), partition, source);
    }

    /**
     * The same for this partition, whatever the key.
     *
     * @param newPartition the number of the partition
     * @return a new record
     */
    public OutputRecord withPartition(int newPartition) {
        if (newPartition < 0) {
            throw new IllegalArgumentException("a partition's number is not negative, got " + newPartition);
        }
        return new OutputRecord(topic, key, value, headers, newPartition, source);
    }

    /**
     * The same, made from the message with this offset, for handlers that overlap. With {@link Guarantee#EXACTLY_ONCE} it
     * becomes visible with a checkpoint at this offset or above it; without a source, with the next checkpoint.
     * Otherwise it says nothing.
     *
     * @param offset the message's offset
     * @return a new record
     */
    public OutputRecord withSource(long offset) {
        if (offset < 0) {
            throw new IllegalArgumentException("a source is a message's offset, which is not negative, got " + offset);
        }
        return new OutputRecord(topic, key, value, headers, partition, offset);
    }

    /**
     * The topic.
     *
     * @return its name
     */
    public String topic() {
        return topic;
    }

    /**
     * The key.
     *
     * @return the record's own array; null: none
     */
    public byte[] key() {
        return key;
    }

    /**
     * The value.
     *
     * @return the record's own array; null: a tombstone
     */
    public byte[] value() {
        return value;
    }

    /**
     * The value as text in UTF-8.
     *
     * @return the text; null: a tombstone
     */
    public String valueText() {
        return value == null ? null : new String(value, UTF_8);
    }

    /**
     * The headers.
     *
     * @return an immutable list
     */
    public List<Header> headers() {
        return headers;
    }

    /**
     * The partition that was asked for.
     *
     * @return its number; empty: chosen by the key
     */
    public OptionalInt partition() {
        return partition < 0 ? OptionalInt.empty() : OptionalInt.of(partition);
    }

    /**
     * The message that it was made from.
     *
     * @return its offset; empty: not named
     */
    public OptionalLong source() {
        return source < 0 ? OptionalLong.empty() : OptionalLong.of(source);
    }

    @Override
    public String toString() {
        return "a record for " + topic;
    }
}
