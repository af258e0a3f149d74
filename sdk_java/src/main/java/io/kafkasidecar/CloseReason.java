package io.kafkasidecar;

/** Why a partition's lambda is closed. */
public enum CloseReason {
    /** The process or the sidecar ends in order, or an operator pauses or moves the partition. */
    STOPPED,
    /** Another process gets the partition. */
    REBALANCED,
    /**
     * The lambda failed, the stream to the sidecar broke or, with {@link Guarantee#EXACTLY_ONCE}, a transaction with what
     * it did was aborted. Checkpoints made in {@code close} are ignored.
     */
    ERROR
}
