package io.kafkasidecar.internal;

import io.kafkasidecar.v1.LambdaFrame;

/** Our side of a partition's stream. Any thread may call any method; none of them blocks or throws. */
public interface Link {
    /** Sends a frame after those that were sent before. When the stream is over, nothing happens. */
    void send(LambdaFrame frame);

    /** Asks for one more frame. */
    void request();

    /** Says that nothing more will be sent. */
    void halfClose();

    /** Ends the stream now, whatever its state. The text is for the sidecar's log. */
    void cancel(String why);
}
