package io.kafkasidecar.internal;

import io.kafkasidecar.CloseReason;
import io.kafkasidecar.v1.ClosedReason;
import io.kafkasidecar.v1.RevokeReason;

/**
 * Why a lambda's life ends, and when. The first reason counts; a later one only changes what can still be told.
 *
 * @param nanos from the beginning of the end until the lease is dead, by {@link System#nanoTime}
 * @param tellsCheckpoint whether a checkpoint in Closed still counts
 */
record Ending(Kind kind, CloseReason reason, long began, long nanos, boolean tellsCheckpoint, String why) {
    /** What ends a life. */
    enum Kind {
        /** The sidecar takes the partition back. */
        REVOKED,
        /** The process stops in order. */
        STOPPED,
        /** The lambda failed. */
        FAILED,
        /** The stream broke. */
        LOST
    }

    // Shares of the time, after which the next step begins. The last one leaves Closed a tenth for its way.
    static final double INTERRUPT_SHARE = 0.7;
    static final double INTERRUPT_CLOSE_SHARE = 0.85;
    static final double CLOSED_SHARE = 0.9;

    static Ending revoked(RevokeReason reason, long deadlineMillis, long closeMillis) {
        CloseReason told = switch (reason) {
            case REVOKE_REASON_SHUTDOWN, REVOKE_REASON_SEEK, REVOKE_REASON_HALTED, REVOKE_REASON_PAUSED ->
                CloseReason.STOPPED;
            case REVOKE_REASON_ABORTED -> CloseReason.ERROR;
            default -> CloseReason.REBALANCED;
        };
        // Deadline 0: the lease is dead already, and Closed has the time that the limits give it.
        boolean alive = deadlineMillis > 0;
        return of(Kind.REVOKED, told, alive ? deadlineMillis : closeMillis, alive, reason.name());
    }

    static Ending stopped(long drainMillis) {
        return of(Kind.STOPPED, CloseReason.STOPPED, drainMillis, true, "the process stops");
    }

    static Ending failed(long closeMillis) {
        return of(Kind.FAILED, CloseReason.ERROR, closeMillis, false, "the lambda failed");
    }

    static Ending lost(long drainMillis, String why) {
        return of(Kind.LOST, CloseReason.ERROR, drainMillis, false, why);
    }

    private static Ending of(Kind kind, CloseReason reason, long millis, boolean tellsCheckpoint, String why) {
        return new Ending(kind, reason, System.nanoTime(), millis * 1_000_000, tellsCheckpoint, why);
    }

    /** Whether the handler has no time to finish. */
    boolean isAtOnce() {
        return kind == Kind.LOST || (kind == Kind.REVOKED && !tellsCheckpoint);
    }

    /** Milliseconds until this share of the time is over; not below 0. */
    long millisUntil(double share) {
        return Math.max(0, (began + (long) (nanos * share) - System.nanoTime()) / 1_000_000);
    }

    ClosedReason closed(boolean wasReady) {
        return switch (kind) {
            case REVOKED -> ClosedReason.CLOSED_REASON_REVOKED;
            case STOPPED -> wasReady ? ClosedReason.CLOSED_REASON_STOPPED : ClosedReason.CLOSED_REASON_DECLINED;
            case FAILED, LOST -> ClosedReason.CLOSED_REASON_ERROR;
        };
    }
}
