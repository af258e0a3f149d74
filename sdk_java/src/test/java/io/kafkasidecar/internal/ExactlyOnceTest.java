package io.kafkasidecar.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.ProduceException;
import io.kafkasidecar.Produced;
import io.kafkasidecar.v1.CheckpointEntry;
import io.kafkasidecar.v1.CheckpointOutcome;
import io.kafkasidecar.v1.CheckpointResult;
import io.kafkasidecar.v1.ProduceOutcome;
import io.kafkasidecar.v1.ProduceRequest;
import io.kafkasidecar.v1.ProduceResponse;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** In which calls records and checkpoints travel with exactly-once. The test answers the calls. */
@Timeout(60)
class ExactlyOnceTest {
    private record Call(ProduceRequest request, CompletableFuture<ProduceResponse> answer) {
        List<String> values() {
            return request.getValuesList().stream()
                    .map(value -> value.toStringUtf8())
                    .toList();
        }

        void is(ProduceOutcome outcome, CheckpointOutcome commit) {
            ProduceResponse.Builder response = ProduceResponse.newBuilder().setRetryAfterMs(1);
            for (int at = 0; at < request.getValuesCount(); at++) {
                response.addOutcomes(outcome).addPartitions(0).addOffsets(at);
            }
            if (commit != null) {
                response.setCommit(CheckpointResult.newBuilder().setOutcome(commit));
            }
            answer.complete(response.build());
        }

        void isHeld() {
            is(ProduceOutcome.PRODUCE_OUTCOME_HELD, null);
        }

        void isCommitted() {
            is(ProduceOutcome.PRODUCE_OUTCOME_WRITTEN, CheckpointOutcome.CHECKPOINT_OUTCOME_ACCEPTED);
        }
    }

    private final BlockingQueue<Call> calls = new LinkedBlockingQueue<>();
    private final BlockingQueue<Progress> moved = new LinkedBlockingQueue<>();
    private final List<ProduceException> unknown = new ArrayList<>();
    private final Work work = new Work();
    private final ReentrantLock lock = new ReentrantLock();
    private final Progress progress = new Progress(lock, "lease", 1000, 1L << 40, 0, new Kept(), new Log("test"));
    private final Outcomes outcomes = new Outcomes(lock, work, this::passed, error -> {});
    private final Producing producing = new Producing(
            progress,
            true,
            request -> {
                Call call = new Call(request, new CompletableFuture<>());
                calls.add(call);
                return call.answer;
            },
            work,
            outcomes,
            Limits.DEFAULT,
            full -> {},
            unknown::add);

    ExactlyOnceTest() {
        progress.onAnswer(producing::sendNext);
        progress.deliveredTo(1000);
    }

    private void passed(long offset) {
        progress.checkpoint(offset);
        producing.sendNext();
    }

    private final class Kept implements Progress.Sink {
        @Override
        public void changed(Progress progress, boolean urgent) {
            moved.add(progress);
        }

        @Override
        public void hurry() {
            // The test takes what there is to send when it wants to.
        }

        @Override
        public void forget(Progress progress) {
            // Nothing is kept.
        }
    }

    @AfterEach
    void close() {
        work.close();
    }

    private CompletableFuture<Produced> put(String value) {
        return producing.put(OutputRecord.of("t", value));
    }

    private void checkpoint(long offset) {
        lock.lock();
        try {
            if (outcomes.admits(offset)) {
                progress.checkpoint(offset);
            } else {
                producing.sendNext();
            }
        } finally {
            lock.unlock();
        }
    }

    /** What a Checkpoint call would carry now; null: nothing. */
    private CheckpointEntry take() {
        lock.lock();
        try {
            CheckpointEntry entry = progress.take();
            return entry != null && entry.hasOffset() ? entry : null;
        } finally {
            lock.unlock();
        }
    }

    private void answer(CheckpointEntry entry, boolean accepted) {
        lock.lock();
        try {
            if (accepted) {
                progress.answered(
                        entry,
                        CheckpointResult.newBuilder()
                                .setOutcome(CheckpointOutcome.CHECKPOINT_OUTCOME_ACCEPTED)
                                .build());
            } else {
                progress.failed();
            }
        } finally {
            lock.unlock();
        }
    }

    private Call next() throws InterruptedException {
        Call call = calls.poll(30, TimeUnit.SECONDS);
        assertNotNull(call, "no call comes");
        return call;
    }

    private static ProduceException.Kind kindOf(CompletableFuture<Produced> outcome) {
        CompletionException error = assertThrows(CompletionException.class, outcome::join);
        return assertInstanceOf(ProduceException.class, error.getCause()).kind();
    }

    @Test
    void recordsTravelWithTheLastCheckpointAfterThem() throws InterruptedException {
        put("0");
        Call first = next();
        put("1");
        checkpoint(5);
        put("2");
        checkpoint(6);
        put("3");
        assertFalse(first.request.hasCommit());
        first.isHeld();
        Call second = next();
        assertEquals(List.of("1", "2"), second.values());
        assertEquals(6, second.request.getCommit().getOffset());
        assertNull(take());
        second.isCommitted();
        Call third = next();
        assertEquals(List.of("3"), third.values());
        assertFalse(third.request.hasCommit());
    }

    @Test
    void aCheckpointThatFollowsAtOnceTravelsWithItsRecord() throws InterruptedException {
        for (long offset = 0; offset < 20; offset++) {
            lock.lock(); // no time passes in between
            try {
                put("0");
                checkpoint(offset);
            } finally {
                lock.unlock();
            }
            Call call = next();
            assertEquals(offset, call.request.getCommit().getOffset());
            call.isCommitted();
            producingIsOver();
        }
    }

    @Test
    void aRecordWaitsForTheCheckpointBeforeIt() throws InterruptedException {
        CompletableFuture<Produced> held = put("0");
        next().isHeld();
        assertEquals(new Produced("t", -1, -1), held.join());
        checkpoint(0);
        put("1");
        assertTrue(calls.isEmpty());
        CheckpointEntry entry = take();
        assertEquals(0, entry.getOffset());
        answer(entry, false);
        assertTrue(calls.isEmpty());
        answer(take(), true);
        assertEquals(List.of("1"), next().values());
    }

    @Test
    void noCheckpointIsSentBesideACall() throws InterruptedException {
        progress.deliveredTo(3);
        checkpoint(9); // of a lambda with a store of its own: more is to come
        answer(take(), true);
        put("0");
        Call call = next();
        lock.lock();
        try {
            progress.deliveredTo(7);
        } finally {
            lock.unlock();
        }
        assertNull(take());
        call.isHeld();
        assertTrue(producingIsOver());
        assertEquals(7, take().getOffset());
    }

    private boolean producingIsOver() {
        producing.drained().orTimeout(30, TimeUnit.SECONDS).join();
        return true;
    }

    @Test
    void aCommitThatIsNotTakenIsSentByACallOfItsOwn() throws InterruptedException {
        put("0");
        Call first = next();
        CompletableFuture<Produced> second = put("1");
        checkpoint(4);
        first.isHeld();
        next().is(ProduceOutcome.PRODUCE_OUTCOME_HELD, CheckpointOutcome.CHECKPOINT_OUTCOME_BEYOND_DELIVERED);
        assertEquals(-1, second.join().offset());
        lock.lock();
        try {
            progress.deliveredTo(1000);
        } finally {
            lock.unlock();
        }
        assertEquals(4, take().getOffset());
    }

    @Test
    void aCallWithoutAnAnswerEndsTheLambda() throws InterruptedException {
        put("0");
        Call first = next();
        CompletableFuture<Produced> lost = put("1");
        checkpoint(4);
        first.isHeld();
        next().answer.completeExceptionally(new LinkException("UNAVAILABLE"));
        assertEquals(ProduceException.Kind.FAILED, kindOf(lost));
        assertEquals(1, unknown.size());
        lock.lock();
        try {
            assertNull(progress.seal(-1));
        } finally {
            lock.unlock();
        }
    }

    @Test
    void tooMuchHeldNamesTheRemedy() throws InterruptedException {
        CompletableFuture<Produced> outcome = put("0");
        next().is(ProduceOutcome.PRODUCE_OUTCOME_TOO_MUCH_HELD, null);
        CompletionException error = assertThrows(CompletionException.class, outcome::join);
        assertTrue(error.getCause().getMessage().contains("checkpoints more often"));
        assertTrue(calls.isEmpty());
        assertTrue(unknown.isEmpty());
    }

    @Test
    void theCommitTravelsWithTheLastPart() throws InterruptedException {
        put("0");
        Call first = next();
        put("1");
        put("2");
        checkpoint(4);
        first.isHeld();
        Call whole = next();
        assertTrue(whole.request.hasCommit());
        whole.answer.completeExceptionally(new LinkException("too large", null, true));
        Call half = next();
        assertEquals(List.of("1"), half.values());
        assertFalse(half.request.hasCommit());
        half.isHeld();
        Call last = next();
        assertEquals(4, last.request.getCommit().getOffset());
        last.isCommitted();
    }

    @Test
    void noCommitPassesAFailedRecord() throws InterruptedException {
        put("0");
        Call first = next();
        producing.put(OutputRecord.of("bad", "1"));
        put("2");
        checkpoint(4);
        first.isHeld();
        next().is(ProduceOutcome.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED, null);
        next().is(ProduceOutcome.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED, null);
        Call good = next();
        assertEquals(List.of("2"), good.values());
        assertFalse(good.request.hasCommit());
        good.isHeld();
        assertTrue(producingIsOver());
        assertNull(take());
    }

    @Test
    void sourcesAreAColumn() throws InterruptedException {
        put("0");
        Call first = next();
        assertEquals(0, first.request.getSourcesCount());
        producing.put(OutputRecord.of("t", "1").withSource(7));
        put("2");
        first.isHeld();
        assertEquals(List.of(7L, -1L), next().request.getSourcesList());
    }

    @Test
    void aDeadLeaseSendsNothingMore() throws InterruptedException {
        put("0");
        Call first = next();
        CompletableFuture<Produced> second = put("1");
        lock.lock();
        try {
            progress.seal(-1);
        } finally {
            lock.unlock();
        }
        first.is(ProduceOutcome.PRODUCE_OUTCOME_STALE_LEASE, null);
        assertEquals(ProduceException.Kind.FAILED, kindOf(second));
        assertTrue(calls.isEmpty());
    }

    /** Plays the sidecar for one seed: it holds records, and looks at what each commit makes visible. */
    private final class Game {
        private final Random random;
        private final Map<Long, Integer> before = new HashMap<>(); // of each checkpoint: the records made before it
        private int made;
        private int held;
        private int visible;
        private long last = -1;

        Game(long seed) {
            random = new Random(seed);
        }

        void produceAndCheckpoint(long offset) {
            for (int count = random.nextInt(3); count > 0; count--) {
                put(Integer.toString(made++));
            }
            if (random.nextBoolean()) {
                before.put(offset, made);
                last = offset;
                checkpoint(offset);
            }
        }

        /** Answers one call, if there is one; returns whether there was. */
        boolean answerOne() throws InterruptedException {
            CheckpointEntry entry = take();
            if (entry != null) {
                boolean arrives = random.nextInt(4) > 0;
                if (arrives) {
                    commit(entry.getOffset());
                }
                answer(entry, arrives);
                return true;
            }
            Call call = calls.poll(2, TimeUnit.MILLISECONDS);
            if (call == null) {
                return false;
            }
            if (random.nextInt(4) == 0) {
                call.is(ProduceOutcome.PRODUCE_OUTCOME_BUSY, null);
                return true;
            }
            held += call.values().size();
            if (call.request.hasCommit()) {
                commit(call.request.getCommit().getOffset());
                call.isCommitted();
            } else {
                call.isHeld();
            }
            return true;
        }

        private void commit(long offset) {
            visible = held;
            assertEquals(before.get(offset), visible);
        }

        boolean isOver() {
            int committed = last < 0 ? 0 : before.get(last);
            return held == made && visible == committed && producing.drained().isDone();
        }
    }

    /** With each commit exactly those records are visible that were produced before its checkpoint was made. */
    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
    void eachCommitHasWhatWasProducedBeforeIt(long seed) throws InterruptedException {
        Game game = new Game(seed);
        for (long offset = 0; offset < 60; offset++) {
            game.produceAndCheckpoint(offset);
            while (game.random.nextBoolean() && game.answerOne()) {
                // as many as chance says
            }
        }
        while (!game.isOver()) { // the test's time-out ends it otherwise
            game.answerOne();
        }
    }
}
