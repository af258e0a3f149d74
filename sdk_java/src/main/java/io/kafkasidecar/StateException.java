package io.kafkasidecar;

/** A state cannot be kept with a checkpoint. Neither of them was taken. */
public class StateException extends IllegalArgumentException {
    private static final long serialVersionUID = 1L;

    /** The state's length in bytes. */
    private final int length;

    /** How many bytes a state may have. */
    private final int most;

    /**
     * Makes it.
     *
     * @param length the state's length in bytes
     * @param most how many bytes a state may have; 0: the sidecar keeps none
     */
    public StateException(int length, int most) {
        super("a state of " + length + " bytes is not kept: "
                + (most == 0
                        ? "the sidecar keeps no state; it needs a newer version"
                        : "this sidecar takes at most " + most + "; keep the rest elsewhere"));
        this.length = length;
        this.most = most;
    }

    /**
     * The state's length.
     *
     * @return bytes
     */
    public int length() {
        return length;
    }

    /**
     * How long a state may be.
     *
     * @return bytes; 0: the sidecar keeps none
     */
    public int most() {
        return most;
    }
}
