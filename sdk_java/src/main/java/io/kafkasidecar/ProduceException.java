package io.kafkasidecar;

/** A record was not written, or is not known to be. The outcome of {@link Partition#produce} completes with it. */
public class ProduceException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** What kind of failure it is. */
    public enum Kind {
        /** Kafka did not accept the record, or the outcome is unknown, and it may have been written. */
        FAILED,
        /** The record is too large, and will be refused again. */
        TOO_LARGE,
        /** The lambda's {@code produce} in the sidecar's config does not list the topic. */
        NOT_ALLOWED,
        /** The partition does not belong to this lambda any more. */
        STALE_LEASE,
        /**
         * With {@link Guarantee#EXACTLY_ONCE}: more would wait for a checkpoint than the sidecar holds for a lambda. To
         * produce the record again is of no use before a checkpoint.
         */
        TOO_MUCH_HELD
    }

    /** The kind of failure. */
    private final Kind kind;

    /** The record's topic. */
    private final String topic;

    /**
     * Makes it.
     *
     * @param reason why, in words
     * @param topic the record's topic
     * @param kind the kind of failure
     */
    public ProduceException(String reason, String topic, Kind kind) {
        super("not written to " + topic + " (" + kind + "): " + reason);
        this.kind = kind;
        this.topic = topic;
    }

    /**
     * The kind of failure.
     *
     * @return the kind
     */
    public Kind kind() {
        return kind;
    }

    /**
     * The topic of the record.
     *
     * @return its name
     */
    public String topic() {
        return topic;
    }
}
