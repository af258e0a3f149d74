package io.kafkasidecar.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;

import io.kafkasidecar.v1.CheckpointEntry;
import io.kafkasidecar.v1.CheckpointOutcome;
import io.kafkasidecar.v1.CheckpointRequest;
import io.kafkasidecar.v1.CheckpointResponse;
import io.kafkasidecar.v1.CheckpointResult;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import org.junit.jupiter.api.Test;

class CheckpointSenderTest {
    private final BlockingQueue<CheckpointRequest> requests = new LinkedBlockingQueue<>();

    private CompletableFuture<CheckpointResponse> accept(CheckpointRequest request) {
        requests.add(request);
        CheckpointResult accepted = CheckpointResult.newBuilder()
                .setOutcome(CheckpointOutcome.CHECKPOINT_OUTCOME_ACCEPTED)
                .build();
        CheckpointResponse.Builder response = CheckpointResponse.newBuilder();
        request.getEntriesList().forEach(entry -> response.addResults(accepted));
        return CompletableFuture.completedFuture(response.build());
    }

    private List<CheckpointEntry> next() throws InterruptedException {
        CheckpointRequest request = requests.poll(30, TimeUnit.SECONDS);
        assertNotNull(request);
        return request.getEntriesList();
    }

    private static void moves(ReentrantLock lock, Progress progress, long offset) {
        lock.lock();
        try {
            progress.deliveredTo(offset);
            progress.checkpoint(offset);
        } finally {
            lock.unlock();
        }
    }

    /** With exactly-once, two entries of a lease in one call made the sidecar write a record twice. */
    @Test
    @SuppressWarnings("LockNotBeforeTry") // the locks decide in which order the threads go on
    void aLeaseThatMovesWhileTheSenderCollectsGoesWithTheNextCall() throws InterruptedException {
        try (Work work = new Work()) {
            Log log = new Log("test");
            CheckpointSender sender = new CheckpointSender(this::accept, work, log);
            ReentrantLock lockOfFirst = new ReentrantLock();
            ReentrantLock lockOfSecond = new ReentrantLock();
            Progress first = new Progress(lockOfFirst, "first", 100, 1L << 40, 0, sender, log);
            Progress second = new Progress(lockOfSecond, "second", 100, 1L << 40, 0, sender, log);
            lockOfFirst.lock();
            lockOfSecond.lock();
            moves(lockOfFirst, first, 1);
            moves(lockOfSecond, second, 1);
            lockOfFirst.unlock();
            while (!lockOfSecond.hasQueuedThreads()) { // until it has taken the first, and waits for the second
                Thread.onSpinWait();
            }
            moves(lockOfFirst, first, 2);
            lockOfSecond.unlock();
            assertEquals(List.of("first", "second"), leases(next()));
            List<CheckpointEntry> later = next();
            assertEquals(List.of("first"), leases(later));
            assertEquals(2, later.get(0).getOffset());
        }
    }

    private static List<String> leases(List<CheckpointEntry> entries) {
        return entries.stream().map(CheckpointEntry::getLease).toList();
    }
}
