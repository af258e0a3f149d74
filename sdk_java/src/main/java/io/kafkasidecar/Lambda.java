package io.kafkasidecar;

/** The code for the messages of one partition. All its calls come from one thread, which belongs to the partition. */
@FunctionalInterface
public interface Lambda {
    /**
     * Takes one message. That it returns does not mean that the message is processed: only {@link
     * Partition#checkpoint(long)} says so.
     *
     * <p>It may block. Its thread is interrupted when the partition has to be given back and 70 % of the time for that
     * is over, or when the stream to the sidecar broke.
     *
     * @param message the next message, in offset order
     * @throws RestartException to start the partition's lambda again from its checkpoint
     * @throws Exception anything else is critical: nothing at or above the message's offset is checkpointed, and the
     *     lambda's {@code on_critical} policy in the sidecar's config decides
     */
    void handle(Message message) throws Exception;

    /**
     * Is called once when the partition goes away, after the last {@link #handle} returned. A checkpoint made here
     * counts, except with {@link CloseReason#ERROR}.
     *
     * @param reason why
     * @throws Exception is logged
     */
    default void close(CloseReason reason) throws Exception {}
}
