package io.kafkasidecar.internal;

import io.kafkasidecar.v1.HostFrame;

/** Takes what comes on a stream. Called by gRPC's thread, one call after the other. */
public interface Receiver {
    /** Takes a frame; the next one comes after {@link Link#request}. */
    void frame(HostFrame frame);

    /** The stream is over: in order (null), or for this reason. */
    void over(RuntimeException why);
}
