package io.kafkasidecar.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.ProduceException;
import io.kafkasidecar.Produced;
import io.kafkasidecar.v1.ProduceOutcome;
import io.kafkasidecar.v1.ProduceRequest;
import io.kafkasidecar.v1.ProduceResponse;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The calls of one lease, answered by the test. */
@Timeout(60)
class ProducingTest {
    private record Call(ProduceRequest request, CompletableFuture<ProduceResponse> answer) {
        void is(ProduceOutcome outcome) {
            ProduceResponse.Builder response = ProduceResponse.newBuilder().setRetryAfterMs(1);
            for (int at = 0; at < request.getValuesCount(); at++) {
                response.addOutcomes(outcome).addPartitions(0).addOffsets(at);
            }
            answer.complete(response.build());
        }

        List<String> values() {
            return request.getValuesList().stream()
                    .map(value -> value.toStringUtf8())
                    .toList();
        }
    }

    private final BlockingQueue<Call> calls = new LinkedBlockingQueue<>();
    private final Work work = new Work();
    private final ReentrantLock lock = new ReentrantLock();
    private final Outcomes outcomes = new Outcomes(lock, work, offset -> {}, error -> {});
    private final Producing producing = producing(Limits.DEFAULT);

    private Producing producing(Limits limits) {
        Progress progress = new Progress(lock, "lease", 10, 1L << 40, 0, new NoSink(), new Log("test"));
        return new Producing(
                progress,
                false,
                request -> {
                    Call call = new Call(request, new CompletableFuture<>());
                    calls.add(call);
                    return call.answer;
                },
                work,
                outcomes,
                limits,
                full -> {},
                error -> {});
    }

    private static final class NoSink implements Progress.Sink {
        @Override
        public void changed(Progress progress, boolean urgent) {
            // Nothing is checkpointed here.
        }

        @Override
        public void hurry() {
            // Likewise.
        }

        @Override
        public void forget(Progress progress) {
            // Likewise.
        }
    }

    @AfterEach
    void close() {
        work.close();
    }

    private Call next() throws InterruptedException {
        Call call = calls.poll(30, TimeUnit.SECONDS);
        assertTrue(call != null, "no call comes");
        return call;
    }

    private static ProduceException.Kind kindOf(CompletableFuture<Produced> outcome) {
        CompletionException error = assertThrows(CompletionException.class, outcome::join);
        return assertInstanceOf(ProduceException.class, error.getCause()).kind();
    }

    @Test
    void whatComesMeanwhileTravelsTogether() throws InterruptedException {
        producing.put(OutputRecord.of("t", "1"));
        producing.put(OutputRecord.of("t", "2"));
        CompletableFuture<Produced> third = producing.put(OutputRecord.of("u", "3"));
        Call first = next();
        assertEquals(List.of("1"), first.values());
        assertTrue(calls.isEmpty());
        first.is(ProduceOutcome.PRODUCE_OUTCOME_WRITTEN);
        Call second = next();
        assertEquals(List.of("2", "3"), second.values());
        assertEquals(List.of("t", "u"), second.request.getTopicsList());
        assertEquals(List.of(0, 1), second.request.getTopicIndexesList());
        assertEquals(0, second.request.getNullKeysCount());
        second.is(ProduceOutcome.PRODUCE_OUTCOME_WRITTEN);
        assertEquals(new Produced("u", 0, 1), third.join());
        assertTrue(calls.isEmpty());
    }

    @Test
    void busyIsAskedAgainWithTheSameRecords() throws InterruptedException {
        CompletableFuture<Produced> outcome = producing.put(OutputRecord.of("t", "1"));
        Call first = next();
        producing.put(OutputRecord.of("t", "2"));
        first.is(ProduceOutcome.PRODUCE_OUTCOME_BUSY);
        Call again = next();
        assertEquals(first.request, again.request);
        again.is(ProduceOutcome.PRODUCE_OUTCOME_WRITTEN);
        outcome.join();
        assertEquals(List.of("2"), next().values());
    }

    @Test
    void aTopicThatIsNotAllowedFailsAlone() throws InterruptedException {
        producing.put(OutputRecord.of("t", "0"));
        CompletableFuture<Produced> bad = producing.put(OutputRecord.of("bad", "1"));
        CompletableFuture<Produced> good = producing.put(OutputRecord.of("t", "2"));
        next().is(ProduceOutcome.PRODUCE_OUTCOME_WRITTEN);
        next().is(ProduceOutcome.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED);
        next().is(ProduceOutcome.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED);
        assertEquals(ProduceException.Kind.NOT_ALLOWED, kindOf(bad));
        Call last = next();
        assertEquals(List.of("2"), last.values());
        last.is(ProduceOutcome.PRODUCE_OUTCOME_WRITTEN);
        good.join();
    }

    @Test
    void aRequestThatIsTooLargeIsHalved() throws InterruptedException {
        producing.put(OutputRecord.of("t", "0"));
        CompletableFuture<Produced> first = producing.put(OutputRecord.of("t", "1"));
        CompletableFuture<Produced> second = producing.put(OutputRecord.of("t", "2"));
        next().is(ProduceOutcome.PRODUCE_OUTCOME_WRITTEN);
        next().answer.completeExceptionally(new LinkException("too large", null, true));
        next().answer.completeExceptionally(new LinkException("too large", null, true));
        assertEquals(ProduceException.Kind.TOO_LARGE, kindOf(first));
        next().is(ProduceOutcome.PRODUCE_OUTCOME_WRITTEN);
        second.join();
    }

    @Test
    void aBrokenCallHasFailedAndIsNotSentAgain() throws InterruptedException {
        CompletableFuture<Produced> outcome = producing.put(OutputRecord.of("t", "1"));
        next().answer.completeExceptionally(new LinkException("UNAVAILABLE"));
        assertEquals(ProduceException.Kind.FAILED, kindOf(outcome));
        assertTrue(calls.isEmpty());
    }

    @Test
    void outcomesThatDoNotFitOrAreUnknownAreFailures() throws InterruptedException {
        CompletableFuture<Produced> first = producing.put(OutputRecord.of("t", "1"));
        next().answer.complete(ProduceResponse.getDefaultInstance());
        assertEquals(ProduceException.Kind.FAILED, kindOf(first));
        CompletableFuture<Produced> second = producing.put(OutputRecord.of("t", "2"));
        next().is(ProduceOutcome.PRODUCE_OUTCOME_UNSPECIFIED);
        assertEquals(ProduceException.Kind.FAILED, kindOf(second));
    }

    @Test
    void theLimitsOfWelcomeAreKept() throws InterruptedException {
        Producing small = producing(new Limits(6000, 10, 2, 1, 1000, 1000));
        assertEquals(ProduceException.Kind.TOO_LARGE, kindOf(small.put(OutputRecord.of("t", "x".repeat(2000)))));
        for (String topic : List.of("t", "t", "t", "t", "u")) {
            small.put(OutputRecord.of(topic, "x"));
        }
        for (int expected : new int[] {1, 2, 1, 1}) {
            Call call = next();
            assertEquals(expected, call.request.getValuesCount());
            call.is(ProduceOutcome.PRODUCE_OUTCOME_WRITTEN);
        }
    }

    @Test
    void theEndFailsWhatIsNotKnown() throws InterruptedException {
        CompletableFuture<Produced> first = producing.put(OutputRecord.of("t", "1"));
        CompletableFuture<Produced> second = producing.put(OutputRecord.of("t", "2"));
        next();
        lock.lock();
        try {
            producing.end("over");
        } finally {
            lock.unlock();
        }
        assertEquals(ProduceException.Kind.FAILED, kindOf(first));
        assertEquals(ProduceException.Kind.FAILED, kindOf(second));
        assertEquals(ProduceException.Kind.STALE_LEASE, kindOf(producing.put(OutputRecord.of("t", "3"))));
    }
}
