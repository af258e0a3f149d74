package io.kafkasidecar.internal;

/** A stream or call broke, or a frame breaks the contract. The text is what gRPC or the sidecar says about it. */
public final class LinkException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** Whether gRPC refuses the message for its size, and will refuse it again: nothing was done. */
    final boolean tooLarge;

    /** Makes it with a text. */
    public LinkException(String message) {
        this(message, null, false);
    }

    LinkException(String message, Throwable cause, boolean tooLarge) {
        super(message, cause);
        this.tooLarge = tooLarge;
    }
}
