package io.kafkasidecar.internal;

import io.kafkasidecar.v1.Guarantee;
import io.kafkasidecar.v1.Welcome;

/**
 * What a Welcome says of its stream.
 *
 * @param window in messages
 * @param windowBytes the same in bytes
 * @param maxState how many bytes a state may have; 0: none is kept
 * @param tellsCommitted whether Committed frames come
 */
public record Terms(int window, long windowBytes, int maxState, boolean exactlyOnce, boolean tellsCommitted) {
    /** The capability of Committed frames. */
    static final String COMMITTED = "committed";

    /** The capability of {@code ProduceRequest.commit}. */
    static final String EXACTLY_ONCE = "exactly-once";

    /** A window in bytes, where the sidecar does not say. */
    public static final long DEFAULT_WINDOW_BYTES = 16 << 20;

    private static final int DEFAULT_WINDOW = 1000;

    static Terms told(Welcome welcome) {
        int window = welcome.getWindowMessages();
        long bytes = welcome.getWindowBytes(); // a uint64: negative from 2^63 on
        return new Terms(
                window > 0 ? window : DEFAULT_WINDOW,
                bytes == 0 ? DEFAULT_WINDOW_BYTES : bytes < 0 ? Long.MAX_VALUE : bytes,
                Math.max(0, welcome.getMaxStateBytes()),
                welcome.getGuarantee() == Guarantee.GUARANTEE_EXACTLY_ONCE,
                welcome.getCapabilitiesList().contains(COMMITTED));
    }
}
