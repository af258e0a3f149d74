package io.kafkasidecar.internal;

import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.ProduceException;
import io.kafkasidecar.ProduceException.Kind;
import io.kafkasidecar.Produced;
import io.kafkasidecar.v1.ProduceOutcome;
import io.kafkasidecar.v1.ProduceRequest;
import io.kafkasidecar.v1.ProduceResponse;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Predicate;

/**
 * What a lambda writes to Kafka. One call of a lease is under way at a time, so the records arrive in the order in which
 * they were produced; what comes meanwhile waits, and travels together.
 *
 * <p>Owner: the lease's lock. Outcomes complete on workers, after the lock was given back, since that may run code of
 * the lambda.
 */
final class Producing {
    static final long HIGH_BYTES = 4L << 20;
    static final int HIGH_RECORDS = 20_000;
    private static final long MAX_WAITING_BYTES = 64L << 20;
    private static final int MIN_BUSY_MS = 5;

    private record Waiting(Wire.Output record, Outcome<Produced> outcome) {}

    private final ReentrantLock lock;
    private final String lease;
    private final Function<ProduceRequest, CompletableFuture<ProduceResponse>> call;
    private final Work work;
    private final Outcomes outcomes;
    private final Limits limits;
    private final Consumer<Boolean> onFull;
    private final Deque<Waiting> queue = new ArrayDeque<>();
    private List<Waiting> batch = List.of(); // what was taken from the queue; its outcomes become known together
    private final Deque<List<Waiting>> parts = new ArrayDeque<>(); // of the batch, in order: what is still to be sent
    private long bytes;
    private int records;
    private boolean full;
    private String over;
    private CompletableFuture<Void> drained = CompletableFuture.completedFuture(null);

    Producing(
            Progress progress,
            Function<ProduceRequest, CompletableFuture<ProduceResponse>> call,
            Work work,
            Outcomes outcomes,
            Limits limits,
            Consumer<Boolean> onFull) {
        this.lock = progress.lock;
        this.lease = progress.lease;
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
                if (batch.isEmpty()) {
                    drained = new CompletableFuture<>();
                    sendNext();
                }
            }
        } finally {
            lock.unlock();
        }
        if (refusal != null) {
            outcome.fail(refusal);
        }
        return outcome;
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
        work.now(() -> left.forEach(one -> one.outcome.fail(failed(one, why))));
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

    private void sendNext() {
        if (parts.isEmpty()) {
            batch = taken();
            if (batch.isEmpty()) {
                drained.complete(null);
                return;
            }
            parts.add(batch);
        }
        send(parts.removeFirst());
    }

    private List<Waiting> taken() {
        List<Waiting> taken = new ArrayList<>();
        Set<String> topics = new HashSet<>();
        long size = 0;
        while (!queue.isEmpty() && taken.size() < limits.produceRecords()) {
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
        ProduceRequest request =
                Wire.request(lease, part.stream().map(Waiting::record).toList());
        call.apply(request).whenComplete((response, error) -> {
            // On a worker, since outcomes complete at the end, and outside of the lock, which `send` is called with.
            work.now(() -> arrived(part, response, error));
        });
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
        if (error == null && all(response, ProduceOutcome.PRODUCE_OUTCOME_BUSY::equals)) {
            long wait = Math.max(MIN_BUSY_MS, response.getRetryAfterMs());
            work.tick(wait, () -> sendAgain(part));
            return;
        }
        Collection<List<Waiting>> smaller = List.of();
        if (error == null && all(response, ProduceOutcome.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED::equals)) {
            smaller = byTopic(part);
        } else if (error instanceof LinkException link && link.tooLarge) {
            smaller = halves(part);
        }
        if (smaller.size() > 1) { // as a whole it would be refused for ever
            List<List<Waiting>> inOrder = new ArrayList<>(smaller);
            for (int at = inOrder.size() - 1; at >= 0; at--) {
                parts.addFirst(inOrder.get(at));
            }
        } else {
            for (int at = 0; at < part.size(); at++) {
                know(part.get(at), outcomeOf(part, at, response, error), told);
            }
        }
        if (parts.isEmpty()) {
            List<Waiting> done = batch;
            done.forEach(one -> bytes -= one.record.size());
            records -= done.size();
            batch = List.of();
            outcomes.knownTo(done.get(done.size() - 1).outcome.number, done.size());
            weigh();
        }
        sendNext();
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
            outcomes.failed(one.outcome, failure);
            told.add(() -> one.outcome.fail(failure));
        } else {
            told.add(() -> one.outcome.complete((Produced) result));
        }
    }

    private static Object outcomeOf(List<Waiting> part, int at, ProduceResponse response, Throwable error) {
        Waiting one = part.get(at);
        if (error != null) {
            boolean large = error instanceof LinkException link && link.tooLarge;
            return new ProduceException(
                    Texts.messageOf(error), one.record.topic(), large ? Kind.TOO_LARGE : Kind.FAILED);
        }
        boolean errors = response.getErrorsCount() > 0;
        boolean fits = response.getOutcomesCount() == part.size()
                && response.getPartitionsCount() == part.size()
                && response.getOffsetsCount() == part.size()
                && (!errors || response.getErrorsCount() == part.size());
        if (!fits) {
            return failed(
                    one, "the sidecar answered for " + response.getOutcomesCount() + " of " + part.size() + " records");
        }
        ProduceOutcome outcome = response.getOutcomes(at);
        if (outcome == ProduceOutcome.PRODUCE_OUTCOME_WRITTEN) {
            return new Produced(one.record.topic(), response.getPartitions(at), response.getOffsets(at));
        }
        String text = errors ? response.getErrors(at) : "";
        Kind kind = switch (outcome) {
            case PRODUCE_OUTCOME_STALE_LEASE -> Kind.STALE_LEASE;
            case PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED -> Kind.NOT_ALLOWED;
            case PRODUCE_OUTCOME_TOO_LARGE -> Kind.TOO_LARGE;
            default -> Kind.FAILED;
        };
        return new ProduceException(
                text.isEmpty() ? "the sidecar's answer is " + outcome : text, one.record.topic(), kind);
    }

    private static ProduceException failed(Waiting one, String why) {
        return new ProduceException(why, one.record.topic(), Kind.FAILED);
    }

    private static boolean all(ProduceResponse response, Predicate<ProduceOutcome> test) {
        return response.getOutcomesCount() > 0
                && response.getOutcomesList().stream().allMatch(test);
    }

    private static Collection<List<Waiting>> byTopic(List<Waiting> part) {
        Map<String, List<Waiting>> topics = new LinkedHashMap<>();
        part.forEach(one -> topics.computeIfAbsent(one.record.topic(), topic -> new ArrayList<>())
                .add(one));
        return topics.values();
    }

    private static Collection<List<Waiting>> halves(List<Waiting> part) {
        int middle = part.size() / 2;
        return middle == 0 ? List.of(part) : List.of(part.subList(0, middle), part.subList(middle, part.size()));
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
