package io.kafkasidecar;

/**
 * A handler throws it to say that its failure is recoverable: the partition's lambda starts again after its checkpoint,
 * as with {@link Partition#error(Throwable, Restart, long)}. Any other exception is critical.
 */
public class RestartException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes it with a text.
     *
     * @param message what operators see
     */
    public RestartException(String message) {
        super(message);
    }

    /**
     * Makes it with a text and a cause.
     *
     * @param message what operators see
     * @param cause the failure
     */
    public RestartException(String message, Throwable cause) {
        super(message, cause);
    }
}
