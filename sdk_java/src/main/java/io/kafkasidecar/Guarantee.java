package io.kafkasidecar;

/** What the sidecar promises for what a lambda produces: the lambda's {@code guarantee} in its config. */
public enum Guarantee {
    /**
     * What is produced is written as it comes. After a failure, messages after the last checkpoint are handled again, and
     * what they produced is written again.
     */
    AT_LEAST_ONCE,
    /** What is produced becomes visible together with the first checkpoint that is made after it, or never. */
    EXACTLY_ONCE
}
