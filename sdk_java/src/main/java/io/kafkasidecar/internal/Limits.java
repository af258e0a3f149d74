package io.kafkasidecar.internal;

/** What the sidecar takes in one call, as its Welcome says. 0 there: it does not say, and the default holds. */
public record Limits(
        int requestBytes,
        int checkpointEntries,
        int produceRecords,
        int produceTopics,
        long produceMillis,
        long closeMillis) {
    /** Those of a sidecar that tells none. */
    public static final Limits DEFAULT = new Limits(1024 * 1024, 10_000, 10_000, 100, 60_000, 10_000);

    static Limits told(io.kafkasidecar.v1.Limits limits) {
        return new Limits(
                (int) or(limits.getMaxRequestBytes(), DEFAULT.requestBytes),
                (int) or(limits.getMaxCheckpointEntries(), DEFAULT.checkpointEntries),
                (int) or(limits.getMaxProduceRecords(), DEFAULT.produceRecords),
                (int) or(limits.getMaxProduceTopics(), DEFAULT.produceTopics),
                or(limits.getProduceTimeoutMs(), DEFAULT.produceMillis),
                or(limits.getCloseTimeoutMs(), DEFAULT.closeMillis));
    }

    /** Bytes of one record, with room for the other fields of a request that carries it alone. */
    int recordBytes() {
        return requestBytes - 4096;
    }

    private static long or(int told, long otherwise) {
        return told > 0 ? told : otherwise;
    }
}
