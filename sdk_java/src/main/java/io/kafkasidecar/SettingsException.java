package io.kafkasidecar;

/** A setting, an address, or a file of TLS cannot be used. The text names it and says what to do. */
public class SettingsException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes it.
     *
     * @param message what is wrong, and the remedy
     */
    public SettingsException(String message) {
        super(message);
    }
}
