package io.kafkasidecar;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.List;
import java.util.Objects;

/**
 * One message of a partition.
 *
 * <p>Its fields never change. {@link #key} and {@link #value} give the message's own arrays, without a copy: do not
 * write into them.
 */
public final class Message {
    private final String topic;
    private final int partition;
    private final long offset;
    private final long timestamp;
    private final TimestampType timestampType;
    private final byte[] key;
    private final byte[] value;
    private final List<Header> headers;

    /**
     * Makes a message, such as for a test.
     *
     * @param topic the topic
     * @param partition the number of the partition
     * @param offset the offset
     * @param timestamp milliseconds since the Unix epoch; -1: none
     * @param timestampType what the timestamp means
     * @param key the key, or null
     * @param value the value, or null
     * @param headers the headers, in order
     */
    public Message(
            String topic,
            int partition,
            long offset,
            long timestamp,
            TimestampType timestampType,
            byte[] key,
            byte[] value,
            List<Header> headers) {
        this.topic = Objects.requireNonNull(topic, "topic");
        this.partition = partition;
        this.offset = offset;
        this.timestamp = timestamp;
        this.timestampType = timestampType;
        this.key = key;
        this.value = value;
        this.headers = List.copyOf(headers);
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
     * The partition.
     *
     * @return its number
     */
    public int partition() {
        return partition;
    }

    /**
     * The offset. Offsets have gaps: the next message's may be higher by more than one.
     *
     * @return the offset
     */
    public long offset() {
        return offset;
    }

    /**
     * The timestamp.
     *
     * @return milliseconds since the Unix epoch; -1: the message has none
     */
    public long timestamp() {
        return timestamp;
    }

    /**
     * What the timestamp means.
     *
     * @return who set it
     */
    public TimestampType timestampType() {
        return timestampType;
    }

    /**
     * The key.
     *
     * @return the message's own array, not to be changed; null: no key, which is not the same as an empty one
     */
    public byte[] key() {
        return key;
    }

    /**
     * The value.
     *
     * @return the message's own array, not to be changed; null: a tombstone, which is not the same as an empty one
     */
    public byte[] value() {
        return value;
    }

    /**
     * The key as text in UTF-8.
     *
     * @return the text; null: no key
     */
    public String keyText() {
        return key == null ? null : new String(key, UTF_8);
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
     * The headers in the producer's order, with duplicates.
     *
     * @return an immutable list
     */
    public List<Header> headers() {
        return headers;
    }

    @Override
    public String toString() {
        return topic + "/" + partition + "@" + offset;
    }
}
