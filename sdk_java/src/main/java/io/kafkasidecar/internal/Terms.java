package io.kafkasidecar.internal;

import io.kafkasidecar.v1.Guarantee;
import io.kafkasidecar.v1.Welcome;

/**
 * What a Welcome says of its stream.
 *
 * @param window in messages
 * @param maxState how many bytes a state may have; 0: none is kept
 * @param tellsCommitted whether Committed frames come
 */
public record Terms(int window, int maxState, boolean exactlyOnce, boolean tellsCommitted) {
    /** The capability of Committed frames. */
    static final String COMMITTED = "committed";

    /** The capability of {@code ProduceRequest.commit}. */
    static final String EXACTLY_ONCE = "exactly-once";

    private static final int DEFAULT_WINDOW = 1000;

    static Terms told(Welcome welcome) {
        int window = welcome.getWindowMessages();
        return new Terms(
                window > 0 ? window : DEFAULT_WINDOW,
                Math.max(0, welcome.getMaxStateBytes()),
                welcome.getGuarantee() == Guarantee.GUARANTEE_EXACTLY_ONCE,
                welcome.getCapabilitiesList().contains(COMMITTED));
    }
}
