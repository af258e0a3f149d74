package io.kafkasidecar;

/** What a message's timestamp means. */
public enum TimestampType {
    /** The message has no timestamp. */
    NONE,
    /** The producer set it. */
    CREATE_TIME,
    /** The broker set it. */
    LOG_APPEND_TIME
}
