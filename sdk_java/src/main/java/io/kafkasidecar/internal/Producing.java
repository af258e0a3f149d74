package io.kafkasidecar.internal;

import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.ProduceException;
import io.kafkasidecar.ProduceException.Kind;
import io.kafkasidecar.Produced;
import io.kafkasidecar.v1.CheckpointEntry;
import io.kafkasidecar.v1.CheckpointResult;
import io.kafkasidecar.v1.ProduceOutcome;
import io.kafkasidecar.v1.ProduceRequest;
import io.kafkasidecar.v1.ProduceResponse;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.Function;

/**
 * What a lambda writes to Kafka. One call of a lease is under way at a time, so the records arrive in the order in which
 * they were produced; what comes meanwhile waits, and travels together.
 *
 * <p>With exactly-once the sidecar holds the records, and a checkpoint makes visible all that is held when it arrives. So
 * records and checkpoints must arrive in the order in which the lambda made them:
 *
 * <ol>
 *   <li>A record is sent only when every checkpoint is answered that was made before it ({@link #mustWait}). Otherwise the
 *       record could arrive first, and become visible with a checkpoint that does not cover it.
 *   <li>A checkpoint that was made while records before it still wait to be sent goes in their call, as its commit. Of
 *       several the last one goes, with all records before it.
 *   <li>Any other checkpoint goes in a Checkpoint call, and not while a Produce call is under way.
 * </ol>
 *
 * <p>Owner: the lease's lock. Outcomes complete on workers, after the lock was given back, since that may run code of
 * the lambda.
 */
final class Producing {
    static final long HIGH_BYTES = 4L << 20;
    static final int HIGH_RECORDS = 20_000;
    private static final long MAX_WAITING_BYTES = 64L << 20;
    private static final int MIN_BUSY_MS = 5;
    private static final int LINGER_MS = 5;

    record Waiting(Wire.Output record, Outcome<Produced> outcome) {}

    private final ReentrantLock lock;
    private final Progress progress;
    private final boolean exactlyOnce;
    private final Function<ProduceRequest, CompletableFuture<ProduceResponse>> call;
    private final Work work;
    private final Outcomes outcomes;
    private final Limits limits;
    private final Consumer<Boolean> onFull;
    private final Consumer<ProduceException> onUnknown;
    private final Deque<Waiting> queue = new ArrayDeque<>();
    private List<Waiting> batch = List.of(); // what was taken from the queue; its outcomes become known together
    private final Deque<List<Waiting>> parts = new ArrayDeque<>(); // of the batch, in order: what is still to be sent
    private boolean lingers; // with exactly-once: records wait for the checkpoint that may follow at once
    private boolean underWay; // a call, or the wait until it is made again
    private boolean failing; // a record of the batch has failed
    private ProduceException unknown; // of a call for the batch that had no answer; null: there is none
    private CheckpointEntry commit; // goes with the last part of the batch; null: none does
    private CheckpointResult committed; // what became of it; null: not made
    private long bytes;
    private int records;
    private boolean full;
    private String over;
    private CompletableFuture<Void> drained = CompletableFuture.completedFuture(null);

    /**
     * {@code onFull} gets whether so much waits that no handler may be called; {@code onUnknown}, with exactly-once, what
     * ends the lambda: a call had no answer, so nobody knows what the sidecar holds, or has committed.
     */
    Producing(
            Progress progress,
            boolean exactlyOnce,
            Function<ProduceRequest, CompletableFuture<ProduceResponse>> call,
            Work work,
            Outcomes outcomes,
            Limits limits,
            Consumer<Boolean> onFull,
            Consumer<ProduceException> onUnknown) {
        this.lock = progress.lock;
        this.progress = progress;
        this.exactlyOnce = exactlyOnce;
        this.onUnknown = onUnknown;
        this.call = call;
        this.work = work;
        this.outcomes = outcomes;
        this.limits = limits;
        this.onFull = onFull;
    }

    /** Completes when the outcome of all that was produced is known. */
    CompletableFuture<Void> drained() {
        return drained;
    }

    /** Produces a record. Called without the lock. */
    CompletableFuture<Produced> put(OutputRecord output) {
        Wire.Output record = Wire.Output.of(output);
        Outcome<Produced> outcome = new Outcome<>(outcomes);
        ProduceException refusal;
        lock.lock();
        try {
            refusal = refusal(record);
            if (refusal != null) {
                outcomes.refused(outcome, refusal);
            } else {
                outcomes.queued(outcome);
                queue.add(new Waiting(record, outcome));
                bytes += record.size();
                records++;
                weigh();
                if (drained.isDone()) {
                    drained = new CompletableFuture<>();
                }
                linger();
                sendNext();
            }
        } finally {
            lock.unlock();
        }
        if (refusal != null) {
            outcome.fail(refusal);
        }
        return outcome;
    }

    /**
     * With exactly-once, gives the code that produces a moment to make the checkpoint too: then both go in one call. It
     * ends with that checkpoint, when somebody asks for an outcome, or after {@link #LINGER_MS}.
     */
    private void linger() {
        if (exactlyOnce && !underWay && !lingers) {
            lingers = true;
            work.tick(LINGER_MS, this::hurry);
        }
    }

    /** Sends what waits for a checkpoint: somebody waits for its outcome, or no checkpoint came. */
    void hurry() {
        lock.lock();
        try {
            lingers = false;
            sendNext();
        } finally {
            lock.unlock();
        }
    }

    /** Takes no more records, and fails those whose outcome is not known. */
    void end(String why) {
        if (over != null) {
            return;
        }
        over = why;
        List<Waiting> left = new ArrayList<>(batch);
        left.removeIf(one -> one.outcome.isKnown());
        left.addAll(queue);
        queue.clear();
        parts.clear();
        batch = List.of();
        work.now(() -> left.forEach(one -> one.outcome.fail(Answers.failed(one, why))));
        drained.complete(null);
    }

    private ProduceException refusal(Wire.Output record) {
        String topic = record.topic();
        if (over != null) {
            return new ProduceException(over, topic, Kind.STALE_LEASE);
        }
        if (record.size() > limits.recordBytes()) {
            String text = record.size() + " bytes; a record has at most " + limits.recordBytes()
                    + " on its way through the sidecar";
            return new ProduceException(text, topic, Kind.TOO_LARGE);
        }
        if (bytes + record.size() > MAX_WAITING_BYTES) {
            String text = bytes + " bytes wait already; wait for outcomes before you produce more";
            return new ProduceException(text, topic, Kind.FAILED);
        }
        return null;
    }

    // ------------------------------------------------------------------------------------- to the sidecar

    /** Sends what may be sent now. Called when something has changed that a record waits for. */
    void sendNext() {
        if (underWay || over != null) {
            return;
        }
        if (parts.isEmpty()) {
            if (queue.isEmpty()) {
                drained.complete(null);
                return;
            } else if (exactlyOnce && (mustWait() || (lingers && !outcomes.isHolding()))) {
                return;
            }
            batch = taken();
            commit = exactlyOnce ? commitOf(batch) : null;
            progress.producing(exactlyOnce);
            parts.add(batch);
        }
        send(parts.removeFirst());
    }

    /** Whether the first record has to wait until a checkpoint is answered that was made before it. */
    private boolean mustWait() {
        if (progress.isSealed()) {
            end("the partition does not belong to this lambda any more");
            return true;
        }
        if (progress.isUntold()) {
            progress.hurry();
            return true;
        }
        // It may be held back although all its records are answered: until a failure among them is taken.
        return outcomes.holdsBefore(queue.getFirst().outcome.number);
    }

    /** The checkpoint that goes with these records, which are taken from the queue already; null: none does. */
    private CheckpointEntry commitOf(List<Waiting> taken) {
        long last = outcomes.producedBefore();
        boolean all = queue.isEmpty() || queue.getFirst().outcome.number > last;
        if (outcomes.highest() < 0 || outcomes.hasFailure() || !all) {
            return null;
        }
        CheckpointEntry entry = progress.commit(outcomes.highest());
        long size = taken.stream().mapToLong(one -> one.record.size()).sum();
        if (entry == null || size + entry.getSerializedSize() > limits.recordBytes()) {
            return null; // it goes in a Checkpoint call, when these records are held
        }
        progress.sending(entry);
        return entry;
    }

    /** As many records as one request may have; with exactly-once none that came after the last checkpoint. */
    private List<Waiting> taken() {
        List<Waiting> taken = new ArrayList<>();
        Set<String> topics = new HashSet<>();
        long size = 0;
        long last = exactlyOnce ? outcomes.producedBefore() : Long.MAX_VALUE;
        while (!queue.isEmpty() && taken.size() < limits.produceRecords() && queue.getFirst().outcome.number <= last) {
            Wire.Output record = queue.getFirst().record;
            boolean isNew = topics.add(record.topic());
            size += record.size() + (isNew ? record.topic().length() * 3L + 4 : 0);
            boolean fits = size <= limits.recordBytes() && topics.size() <= limits.produceTopics();
            if (!fits && !taken.isEmpty()) {
                break;
            }
            taken.add(queue.removeFirst());
        }
        return taken;
    }

    private void send(List<Waiting> part) {
        List<Wire.Output> outputs = part.stream().map(Waiting::record).toList();
        ProduceRequest.Builder request = Wire.request(progress.lease, outputs);
        if (exactlyOnce) {
            Wire.addSources(request, outputs);
        }
        if (hasCommit()) {
            request.setCommit(commit);
        }
        underWay = true;
        call.apply(request.build()).whenComplete((response, error) -> {
            // On a worker, since outcomes complete at the end, and outside of the lock, which `send` is called with.
            work.now(() -> arrived(part, response, error));
        });
    }

    /** Whether the commit goes with the part that was taken last: it is the last one, and nothing failed before it. */
    private boolean hasCommit() {
        return commit != null && parts.isEmpty() && !failing;
    }

    private void arrived(List<Waiting> part, ProduceResponse response, Throwable error) {
        List<Runnable> told = new ArrayList<>();
        lock.lock();
        try {
            if (over != null) {
                return; // `end` has failed them
            }
            settle(part, response, error, told);
        } finally {
            lock.unlock();
        }
        told.forEach(Runnable::run);
    }

    /** Decides what an answer means: send again, in other parts, or know the outcomes. */
    private void settle(List<Waiting> part, ProduceResponse response, Throwable error, List<Runnable> told) {
        if (error == null && Answers.all(response, ProduceOutcome.PRODUCE_OUTCOME_BUSY::equals)) {
            long wait = Math.max(MIN_BUSY_MS, response.getRetryAfterMs());
            work.tick(wait, () -> sendAgain(part));
            return;
        }
        boolean tooLarge = error instanceof LinkException link && link.tooLarge;
        if (tooLarge && part.size() == 1 && hasCommit()) { // the record may fit without it
            progress.failed();
            commit = null;
            parts.addFirst(part);
            goOn();
            return;
        }
        Collection<List<Waiting>> smaller = List.of();
        if (error == null && Answers.all(response, ProduceOutcome.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED::equals)) {
            smaller = Answers.byTopic(part);
        } else if (tooLarge) {
            smaller = Answers.halves(part);
        }
        if (smaller.size() > 1) { // as a whole it would be refused for ever
            List<List<Waiting>> inOrder = new ArrayList<>(smaller);
            for (int at = inOrder.size() - 1; at >= 0; at--) {
                parts.addFirst(inOrder.get(at));
            }
        } else {
            committed = error == null && hasCommit() && response.hasCommit() ? response.getCommit() : null;
            boolean answered = tooLarge || (error == null && Answers.fits(part, response));
            for (int at = 0; at < part.size(); at++) {
                know(part.get(at), Answers.outcomeOf(part, at, response, error, exactlyOnce), told);
            }
            if (!answered && exactlyOnce) {
                unknown = Answers.failed(
                        part.get(0), error == null ? "the sidecar's answer does not fit" : Texts.messageOf(error));
                parts.forEach(left ->
                        left.forEach(one -> know(one, Answers.failed(one, "the call before it had no answer"), told)));
                parts.clear();
            }
        }
        if (parts.isEmpty()) {
            batchIsKnown();
        }
        goOn();
    }

    private void goOn() {
        underWay = false; // not before: what becomes known calls sendNext, and has to be complete then
        sendNext();
    }

    private void batchIsKnown() {
        List<Waiting> done = batch;
        done.forEach(one -> bytes -= one.record.size());
        records -= done.size();
        batch = List.of();
        failing = false;
        settleCommit();
        outcomes.knownTo(done.get(done.size() - 1).outcome.number, done.size());
        weigh();
        if (unknown != null) {
            onUnknown.accept(unknown);
            unknown = null;
        }
    }

    private void settleCommit() {
        if (commit != null && committed != null) {
            progress.answered(commit, committed);
        } else if (commit != null) {
            progress.failed();
        }
        commit = null;
        committed = null;
        progress.producing(false);
    }

    private void sendAgain(List<Waiting> part) {
        lock.lock();
        try {
            if (over == null) {
                send(part);
            }
        } finally {
            lock.unlock();
        }
    }

    private void know(Waiting one, Object result, List<Runnable> told) {
        one.outcome.known();
        if (result instanceof ProduceException failure) {
            failing = true;
            outcomes.failed(one.outcome, failure);
            told.add(() -> one.outcome.fail(failure));
        } else {
            told.add(() -> one.outcome.complete((Produced) result));
        }
    }

    /** Tells when so many records wait that no handler may be called, and when half of them are gone. */
    private void weigh() {
        double share = full ? 0.5 : 1;
        boolean now = bytes > HIGH_BYTES * share || records > HIGH_RECORDS * share;
        if (now != full) {
            full = now;
            onFull.accept(now);
        }
    }
}
