package io.kafkasidecar.internal;

import io.kafkasidecar.Lambda;
import io.kafkasidecar.Partition;
import java.util.concurrent.ThreadFactory;

/** What a life needs of its process beside the stream. */
public record Host(
        String name,
        Maker maker,
        Progress.Sink sink,
        Calls calls,
        Work work,
        ThreadFactory threads,
        Terms terms,
        Limits limits,
        long drainMillis) {
    /** Makes the lambda of a partition. */
    @FunctionalInterface
    public interface Maker {
        /** Makes it. */
        Lambda make(Partition partition) throws Exception;
    }
}
