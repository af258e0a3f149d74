package io.kafkasidecar.internal;

import io.kafkasidecar.ProduceException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.LongConsumer;

/**
 * What became of the records that a lambda produced, and which of its checkpoints may be sent:
 *
 * <ol>
 *   <li>A checkpoint is sent when the outcome of every record is known that was produced before it.
 *   <li>A failure that nobody took holds back the checkpoints that were made after its record. They are sent when it is
 *       taken. If that takes longer than {@link #PATIENCE_MS}, the lambda fails.
 *   <li>A failure that nobody can take any more (its outcome was cancelled, the wait for it given up) fails the lambda
 *       at once.
 * </ol>
 *
 * Owner: the lease's lock, which each method takes if the caller does not hold it.
 */
final class Outcomes {
    static final long PATIENCE_MS = 1000;
    private static final long LOOK_MS = 50;
    /** How long the code that took a failure has to say what it makes of it, before the checkpoints pass. */
    private static final long REACTION_NANOS = 200_000_000;

    private record Held(long needs, long offset) {}

    private record Failed(Outcome<?> outcome, ProduceException error) {}

    private final ReentrantLock lock;
    private final Work work;
    private final LongConsumer onPass;
    private final Consumer<ProduceException> onFailure;
    private final Deque<Held> held = new ArrayDeque<>(); // both numbers ascend
    private final List<Failed> failed = new ArrayList<>();
    private long put; // how many records were produced
    private long underWay;
    private long known; // so many outcomes, from the first record on, are known
    private boolean over;
    private ScheduledFuture<?> patience;
    private ScheduledFuture<?> looking;
    private Runnable onAsk = () -> {};

    /** {@code onPass} takes a checkpoint that was held back and may be sent; {@code onFailure} ends the lambda. */
    Outcomes(ReentrantLock lock, Work work, LongConsumer onPass, Consumer<ProduceException> onFailure) {
        this.lock = lock;
        this.work = work;
        this.onPass = onPass;
        this.onFailure = onFailure;
    }

    /** Has this called, without the lock, when code waits for an outcome that is not known. */
    void onAsk(Runnable action) {
        onAsk = action;
    }

    void asked() {
        onAsk.run();
    }

    boolean isHolding() {
        return !held.isEmpty();
    }

    /** The highest checkpoint that is held back; -1: none is. */
    long highest() {
        return held.isEmpty() ? -1 : held.getLast().offset;
    }

    /** How many records were produced before the highest checkpoint that is held back; none is: more than there are. */
    long producedBefore() {
        return held.isEmpty() ? Long.MAX_VALUE : held.getLast().needs;
    }

    /** Whether a checkpoint is held back that was made before the record with this number. */
    boolean holdsBefore(long number) {
        return !held.isEmpty() && held.getFirst().needs < number;
    }

    /** Whether a failure may hold back checkpoints. */
    boolean hasFailure() {
        return !failed.isEmpty();
    }

    /** Whether a checkpoint that is made now may be sent now; otherwise it is kept until it may. */
    boolean admits(long offset) {
        if (over) {
            return false;
        }
        if (known == put && held.isEmpty() && failed.isEmpty()) {
            return true;
        }
        if (!held.isEmpty() && held.getLast().needs == put) {
            held.removeLast();
        }
        held.add(new Held(put, offset));
        release(0); // code that makes a checkpoint after it took a failure has made up its mind
        return false;
    }

    /** Numbers a record that is queued. */
    void queued(Outcome<?> outcome) {
        outcome.number = ++put;
        underWay++;
    }

    /** Numbers a record that was refused before it was queued. */
    void refused(Outcome<?> outcome, ProduceException error) {
        outcome.number = ++put;
        known = underWay == 0 ? put : known;
        failed(outcome, error);
    }

    /** Notes a record that was not written; then the caller, without the lock, tells the outcome. */
    void failed(Outcome<?> outcome, ProduceException error) {
        if (!over) {
            failed.add(new Failed(outcome, error));
            looking = looking != null ? looking : work.later(LOOK_MS, this::look);
        }
    }

    /** Notes that the outcomes up to this number are known; {@link #failed} was called for the failures among them. */
    void knownTo(long number, int count) {
        underWay -= count;
        known = underWay == 0 ? put : number;
        release(REACTION_NANOS);
    }

    /** Notes a failure that nobody can take any more. Called without the lock. */
    void lost(ProduceException error) {
        lock.lock();
        try {
            if (!over) {
                fail(error);
            }
        } finally {
            lock.unlock();
        }
    }

    /** Ends with the lambda: no checkpoint is passed on any more. Returns how many were still held back. */
    int end() {
        over = true;
        int count = held.size();
        held.clear();
        cancel(patience);
        cancel(looking);
        List<Failed> hidden = List.copyOf(failed);
        failed.clear();
        if (!hidden.isEmpty()) { // code may wait for them
            work.now(() -> hidden.forEach(one -> one.outcome.reveal()));
        }
        return count;
    }

    private void release(long takenFor) {
        if (over) {
            return;
        }
        failed.removeIf(one -> one.outcome.isTaken(takenFor));
        long firstFailed =
                failed.stream().mapToLong(one -> one.outcome.number).min().orElse(Long.MAX_VALUE);
        long passes = -1;
        while (!held.isEmpty() && held.getFirst().needs <= known && held.getFirst().needs < firstFailed) {
            passes = held.removeFirst().offset;
        }
        boolean blocked = !held.isEmpty() && held.getFirst().needs <= known;
        if (!blocked) {
            cancel(patience);
            patience = null;
        } else if (patience == null) {
            patience = work.later(PATIENCE_MS, this::judge);
        }
        if (passes >= 0) {
            onPass.accept(passes);
        }
    }

    /** Looks, while failures are hidden, whether something depends on their outcomes that told nobody. */
    private void look() {
        List<Failed> hidden;
        lock.lock();
        try {
            looking = null;
            hidden = List.copyOf(failed);
        } finally {
            lock.unlock();
        }
        boolean again = false;
        for (Failed one : hidden) {
            again |= one.outcome.lookForDependents(); // without the lock: it may run the lambda's code
        }
        if (again) {
            lock.lock();
            try {
                if (!over && looking == null) {
                    looking = work.later(LOOK_MS, this::look);
                }
            } finally {
                lock.unlock();
            }
        }
    }

    /** Fails the lambda, unless the failures that hold back a checkpoint were taken in time. */
    private void judge() {
        lock.lock();
        try {
            patience = null;
            release(REACTION_NANOS);
            if (!over && patience != null) { // still blocked
                failed.stream()
                        .filter(one -> !one.outcome.isTaken(0))
                        .min(Comparator.comparingLong(one -> one.outcome.number))
                        .ifPresent(first -> fail(first.error));
            }
        } finally {
            lock.unlock();
        }
    }

    private void fail(ProduceException error) {
        end();
        onFailure.accept(error);
    }

    private static void cancel(ScheduledFuture<?> task) {
        if (task != null) {
            task.cancel(false);
        }
    }
}
