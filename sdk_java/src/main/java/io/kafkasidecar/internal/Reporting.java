package io.kafkasidecar.internal;

import io.kafkasidecar.ProduceException;
import io.kafkasidecar.v1.CheckpointEntry;
import io.kafkasidecar.v1.ErrorAction;
import io.kafkasidecar.v1.ErrorRequest;
import java.lang.System.Logger.Level;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;

/** Tells the sidecar of a lambda's errors and reports, by calls beside the stream. */
final class Reporting {
    private static final long[] PAUSES_MS = {0, 100, 300, 1000}; // before each attempt to send an error
    private static final int MAX_REPORTS = 100; // under way at a time

    /** Why a lambda cannot go on, or what it reported. {@code offset} -1: it is not about one message. */
    record Failure(Throwable error, ErrorAction action, long offset, String code) {
        /** Of a record that is not known to be written, for a reason that is said after the record's own. */
        static Failure of(ProduceException error, String because) {
            ProduceException said = new ProduceException(Texts.messageOf(error) + because, error.topic(), error.kind());
            said.initCause(error);
            return new Failure(said, ErrorAction.ERROR_ACTION_RESTART, -1, "produce_failed");
        }
    }

    private final String lease;
    private final Calls calls;
    private final Work work;
    private final Log log;
    private final AtomicInteger reports = new AtomicInteger();

    Reporting(String lease, Calls calls, Work work, Log log) {
        this.lease = lease;
        this.calls = calls;
        this.work = work;
        this.log = log;
    }

    void log(Failure failure) {
        boolean restarts = failure.action() == ErrorAction.ERROR_ACTION_RESTART;
        log.write(
                restarts ? Level.WARNING : Level.ERROR,
                failure.error(),
                "%s error%s (%s): %s",
                restarts ? "recoverable" : "critical",
                failure.offset() < 0 ? "" : " at offset " + failure.offset(),
                failure.code(),
                Texts.messageOf(failure.error()));
    }

    ErrorRequest request(Failure failure, CheckpointEntry last) {
        ErrorRequest.Builder request = ErrorRequest.newBuilder()
                .setLease(lease)
                .setAction(failure.action)
                .setCode(failure.code)
                .setMessage(Texts.messageOf(failure.error))
                .setType(Texts.typeOf(failure.error))
                .setStack(Texts.stackOf(failure.error));
        if (failure.offset >= 0) {
            request.setOffset(failure.offset);
        }
        if (last != null) {
            request.setLastCheckpoint(last);
        }
        return request.build();
    }

    /** Sends an error, several times if need be; completes with whether the sidecar has it. */
    CompletableFuture<Boolean> send(ErrorRequest request, BooleanSupplier streamIsOver) {
        CompletableFuture<Boolean> arrived = new CompletableFuture<>();
        attempt(request, streamIsOver, 0, arrived);
        return arrived;
    }

    private void attempt(
            ErrorRequest request, BooleanSupplier streamIsOver, int number, CompletableFuture<Boolean> arrived) {
        if (number == PAUSES_MS.length || streamIsOver.getAsBoolean()) { // over: nobody needs the error any more
            work.now(() -> arrived.complete(false));
            return;
        }
        work.tick(
                PAUSES_MS[number],
                () -> calls.error(request).whenComplete((response, error) -> {
                    if (error == null) {
                        log.info("the sidecar's answer: %s", response.getOutcome());
                        work.now(() -> arrived.complete(true));
                    } else {
                        log.warn("the error could not be reported: %s", Texts.messageOf(error));
                        attempt(request, streamIsOver, number + 1, arrived);
                    }
                }));
    }

    void report(Failure failure) {
        log.warn("reported: %s", Texts.messageOf(failure.error));
        if (reports.incrementAndGet() > MAX_REPORTS) {
            reports.decrementAndGet();
            log.warn("the report is not sent: %d are under way", MAX_REPORTS);
            return;
        }
        calls.error(request(failure, null)).whenComplete((response, error) -> {
            reports.decrementAndGet();
            if (error != null) {
                log.warn("the report did not come through: %s", Texts.messageOf(error));
            }
        });
    }
}
