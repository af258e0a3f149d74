package io.kafkasidecar;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.kafkasidecar.testing.FakeSidecar;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** State, commits, signs of life, lanes and exactly-once, as a lambda and its test see them. */
@Timeout(60)
class FeaturesTest {
    /** Counts its messages in its state, and tells each count. */
    private static Lambda counter(String none, Partition partition) {
        int[] count = {partition.state().length == 0 ? 0 : partition.state()[0]};
        return message -> {
            byte[] state = {(byte) ++count[0]};
            partition.produce("counts", state);
            partition.progress(message.valueText());
            if (!message.valueText().equals("keep")) {
                partition.checkpoint(message.offset(), message.valueText().equals("forget") ? new byte[0] : state);
            }
        };
    }

    private static List<Integer> counts(List<OutputRecord> records) {
        return records.stream().map(record -> (int) record.value()[0]).toList();
    }

    @Test
    void aStateOutlivesItsLambda() {
        try (FakeSidecar sidecar = FakeSidecar.builder("", FeaturesTest::counter)
                .state(new byte[] {7})
                .start()) {
            sidecar.feed("a");
            sidecar.rebalance();
            sidecar.feed("b");
            assertArrayEquals(new byte[] {9}, sidecar.state());
            sidecar.feed("forget");
            assertEquals(0, sidecar.state().length);
            sidecar.awaitProgress("forget");
        }
    }

    @Test
    void aStateThatIsTooLongIsRefusedWithItsCheckpoint() {
        LambdaFactory<String> greedy = (none, partition) -> message -> {
            StateException refused =
                    assertThrows(StateException.class, () -> partition.checkpoint(message.offset(), new byte[1025]));
            assertEquals(1025, refused.length());
            assertEquals(1024, refused.most());
        };
        try (FakeSidecar sidecar = FakeSidecar.builder("", greedy).lane(1, 2).start()) {
            sidecar.feed("a");
            assertTrue(sidecar.isRunning());
            assertEquals(List.of(), sidecar.checkpoints());
        }
    }

    @Test
    void theStateOfAHeldCheckpointGoesWithIt() {
        LambdaFactory<String> keeping = (none, partition) -> message -> {
            partition.produce("out", message.value());
            partition.checkpoint(message.offset(), message.value());
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", keeping)) {
            sidecar.feed("a", "b");
            assertArrayEquals(new byte[] {'b'}, sidecar.state());
        }
    }

    @Test
    void aCommitIsToldWhenItIsThere() {
        AtomicReference<CompletableFuture<Void>> committed = new AtomicReference<>();
        LambdaFactory<String> telling = (none, partition) -> message -> {
            committed.set(partition.committed(message.offset()));
            partition.checkpoint(message.offset());
        };
        try (FakeSidecar sidecar =
                FakeSidecar.builder("", telling).holdCommits().start()) {
            sidecar.feed("a");
            assertFalse(committed.get().isDone());
            sidecar.commit();
            committed.get().orTimeout(30, TimeUnit.SECONDS).join();
            sidecar.feed("b");
            sidecar.restart();
            CompletionException error =
                    assertThrows(CompletionException.class, committed.get().orTimeout(30, TimeUnit.SECONDS)::join);
            NotCommittedException failed = assertInstanceOf(NotCommittedException.class, error.getCause());
            assertEquals(1, failed.offset());
        }
    }

    @Test
    void aLaneIsTold() {
        AtomicReference<Partition> handle = new AtomicReference<>();
        LambdaFactory<String> keeping = (none, partition) -> {
            handle.set(partition);
            return message -> {};
        };
        try (FakeSidecar sidecar = FakeSidecar.builder("", keeping).lane(3, 4).start()) {
            assertTrue(sidecar.isRunning());
            assertEquals(3, handle.get().lane());
            assertEquals(4, handle.get().lanes());
            assertEquals(Guarantee.AT_LEAST_ONCE, handle.get().guarantee());
        }
        try (FakeSidecar sidecar = FakeSidecar.start("", keeping)) {
            assertTrue(sidecar.isRunning());
            assertEquals(0, handle.get().lane());
            assertEquals(1, handle.get().lanes());
        }
    }

    @Test
    void outputsAreVisibleWithTheirCheckpoint() {
        try (FakeSidecar sidecar =
                FakeSidecar.builder("", FeaturesTest::counter).exactlyOnce().start()) {
            sidecar.feed("keep", "keep");
            assertEquals(List.of(), sidecar.sent());
            assertEquals(List.of(1, 2), counts(sidecar.held()));
            sidecar.feed("go");
            assertEquals(List.of(1, 2, 3), counts(sidecar.sent()));
            assertEquals(List.of(), sidecar.held());
            sidecar.feed("keep");
            sidecar.abort();
            assertFalse(sidecar.isRunning());
            assertEquals(List.of(), sidecar.held());
            sidecar.restart(); // the record comes again
            assertEquals(List.of(4), counts(sidecar.held()));
            sidecar.feed("go");
            assertEquals(List.of(1, 2, 3, 4, 5), counts(sidecar.sent()));
        }
    }

    @Test
    void aRecordWaitsForItsSource() {
        LambdaFactory<String> overlapping = (none, partition) -> message -> {
            partition.produce(OutputRecord.of("out", message.value()).withSource(message.offset()));
            if (message.offset() > 0) {
                partition.checkpoint(message.offset() - 1);
            }
        };
        try (FakeSidecar sidecar =
                FakeSidecar.builder("", overlapping).exactlyOnce().start()) {
            sidecar.feed("a", "b", "c");
            assertEquals(2, sidecar.sent().size());
            assertEquals(2, sidecar.held().get(0).source().orElseThrow());
        }
    }

    @Test
    void anAbortClosesWithAnError() {
        AtomicReference<CloseReason> closed = new AtomicReference<>();
        LambdaFactory<String> closing = (none, partition) -> new Lambda() {
            @Override
            public void handle(Message message) {
                partition.produce("out", message.value());
            }

            @Override
            public void close(CloseReason reason) {
                partition.checkpoint(0);
                closed.set(reason);
            }
        };
        try (FakeSidecar sidecar =
                FakeSidecar.builder("", closing).exactlyOnce().start()) {
            sidecar.feed("a");
            sidecar.abort();
            assertEquals(CloseReason.ERROR, closed.get());
            assertEquals(List.of(), sidecar.checkpoints());
            assertEquals(List.of(), sidecar.sent());
        }
    }
}
