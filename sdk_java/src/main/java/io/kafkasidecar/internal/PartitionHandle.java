package io.kafkasidecar.internal;

import io.kafkasidecar.Guarantee;
import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.Partition;
import io.kafkasidecar.Produced;
import io.kafkasidecar.Restart;
import io.kafkasidecar.StateException;
import io.kafkasidecar.internal.Reporting.Failure;
import io.kafkasidecar.v1.ErrorAction;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;

/** What a lambda sees of its life: checks the arguments, and takes the lease's lock. */
final class PartitionHandle implements Partition {
    private final Life life;

    PartitionHandle(Life life) {
        this.life = life;
    }

    @Override
    public String topic() {
        return life.topic;
    }

    @Override
    public int number() {
        return life.partition;
    }

    @Override
    public OptionalLong startOffset() {
        boolean known = life.assigned().hasStartOffset();
        return known ? OptionalLong.of(life.assigned().getStartOffset()) : OptionalLong.empty();
    }

    @Override
    public int attempt() {
        return life.assigned().getAttempt();
    }

    @Override
    public int lane() {
        return life.assigned().getLane();
    }

    @Override
    public int lanes() {
        return life.lanes;
    }

    @Override
    public byte[] state() {
        return life.assigned().getState().toByteArray();
    }

    @Override
    public Guarantee guarantee() {
        return life.terms().exactlyOnce() ? Guarantee.EXACTLY_ONCE : Guarantee.AT_LEAST_ONCE;
    }

    @Override
    public void checkpoint(long offset) {
        checkpoint(offset, null);
    }

    @Override
    public void checkpoint(long offset, byte[] state) {
        notNegative("checkpoint(offset)", offset);
        int most = life.terms().maxState();
        if (state != null && (state.length > most || most == 0)) {
            throw new StateException(state.length, most);
        }
        Progress progress = life.progress;
        life.lock.lock();
        try {
            if (progress.isSealed() || offset <= progress.offset() || offset <= life.outcomes.highest()) {
                return;
            }
            if (state != null) {
                progress.state(offset, state);
            }
            if (life.outcomes.admits(offset)) {
                progress.checkpoint(offset);
            } else if (life.terms().exactlyOnce()) {
                life.producing.sendNext(); // both in one call
            }
        } finally {
            life.lock.unlock();
        }
    }

    @Override
    public CompletableFuture<Void> committed(long offset) {
        notNegative("committed(offset)", offset);
        life.lock.lock();
        try {
            return life.commits.await(offset);
        } finally {
            life.lock.unlock();
        }
    }

    @Override
    public void progress(String text) {
        Objects.requireNonNull(text, "text");
        locked(() -> life.signs.tell(text));
    }

    @Override
    public void completedBeyond(int count, long bytes) {
        notNegative("completedBeyond(count)", count);
        notNegative("completedBeyond(bytes)", bytes);
        locked(() -> life.progress.completedBeyond(count, bytes));
    }

    @Override
    public void skipped(long count, List<String> names) {
        notNegative("skipped(count)", count);
        List<String> copy = List.copyOf(names);
        locked(() -> life.progress.skipped(count, copy));
    }

    @Override
    public void error(Throwable error, Restart restart, long offset) {
        notNegative("error(offset)", offset);
        fail(error, restart, offset);
    }

    @Override
    public void error(Throwable error, Restart restart) {
        fail(error, restart, -1);
    }

    private void fail(Throwable error, Restart restart, long offset) {
        Objects.requireNonNull(error, "error");
        boolean restarts = Objects.requireNonNull(restart, "restart") == Restart.YES;
        ErrorAction action = restarts ? ErrorAction.ERROR_ACTION_RESTART : ErrorAction.ERROR_ACTION_CRITICAL;
        life.fail(new Failure(error, action, offset, "lambda_error"));
    }

    @Override
    public void report(Throwable error, long offset) {
        notNegative("report(offset)", offset);
        tell(error, offset);
    }

    @Override
    public void report(Throwable error) {
        tell(error, -1);
    }

    private void tell(Throwable error, long offset) {
        Objects.requireNonNull(error, "error");
        life.report(new Failure(error, ErrorAction.ERROR_ACTION_REPORT, offset, "lambda_error"));
    }

    @Override
    public void pause(String reason, Duration retryAfter) {
        Objects.requireNonNull(reason, "reason");
        locked(() -> life.inbox.pause(reason, retryAfter, -1));
    }

    @Override
    public void pause(String reason, Duration retryAfter, long offset) {
        Objects.requireNonNull(reason, "reason");
        notNegative("pause(offset)", offset);
        locked(() -> life.inbox.pause(reason, retryAfter, offset));
    }

    @Override
    public void resume() {
        locked(life.inbox::resume);
    }

    @Override
    public CompletableFuture<Produced> produce(OutputRecord record) {
        return life.producing.put(record);
    }

    private void locked(Runnable action) {
        life.lock.lock();
        try {
            action.run();
        } finally {
            life.lock.unlock();
        }
    }

    private static void notNegative(String what, long value) {
        if (value < 0) {
            throw new IllegalArgumentException(what + ": not negative, got " + value);
        }
    }
}
