package io.kafkasidecar;

/** The sidecar refuses this process: unknown lambda, contract too old, wrong token. Asking again does not help. */
public class RefusedException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes it.
     *
     * @param code the name of the gRPC status, such as {@code NOT_FOUND}
     * @param details the sidecar's text, which says what to do
     */
    public RefusedException(String code, String details) {
        super("the sidecar refused this process (" + code + "): " + details);
    }
}
