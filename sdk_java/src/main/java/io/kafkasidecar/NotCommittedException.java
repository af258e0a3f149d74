package io.kafkasidecar;

/** Nobody will tell whether an offset is committed. What {@link Partition#committed} returns completes with it. */
public class NotCommittedException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** The offset that was waited for. */
    private final long offset;

    /**
     * Makes it.
     *
     * @param offset the offset that was waited for
     * @param reason why, in words
     */
    public NotCommittedException(long offset, String reason) {
        super("offset " + offset + " is not known to be committed: " + reason);
        this.offset = offset;
    }

    /**
     * The offset that was waited for.
     *
     * @return the offset
     */
    public long offset() {
        return offset;
    }
}
