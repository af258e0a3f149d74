package io.kafkasidecar;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.kafkasidecar.testing.FakeSidecar;
import io.kafkasidecar.testing.LambdaError;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The dispatching code, by the fake sidecar: what a lambda's author sees. */
@Timeout(60)
class FakeSidecarTest {
    private final List<String> events = Collections.synchronizedList(new ArrayList<>());

    /** Checkpoints each message, and notes what is called. */
    private Lambda noting(Partition partition) {
        return new Lambda() {
            @Override
            public void handle(Message message) {
                events.add(message.valueText() + "@" + message.offset());
                partition.checkpoint(message.offset());
            }

            @Override
            public void close(CloseReason reason) {
                events.add("close " + reason);
            }
        };
    }

    @Test
    void messagesComeInOrderAndCheckpointsAreTold() {
        try (FakeSidecar sidecar = FakeSidecar.start("resources", (resources, partition) -> noting(partition))) {
            sidecar.feed("a", "b");
            assertEquals(List.of(0L, 1L), sidecar.checkpoints());
            sidecar.rebalance();
            sidecar.feed("c");
        }
        assertEquals(List.of("a@0", "b@1", "close REBALANCED", "c@2", "close STOPPED"), events);
    }

    @Test
    void aMessageIsReadWithNullsHeadersAndGaps() {
        List<Message> seen = Collections.synchronizedList(new ArrayList<>());
        Header odd = Header.of(new byte[] {(byte) 0xff, 0}, null);
        Message first = new Message("t", 3, 7, 0, TimestampType.CREATE_TIME, null, new byte[0], List.of(odd, odd));
        Message second = new Message("t", 3, 90, -1, TimestampType.NONE, new byte[0], null, List.of());
        try (FakeSidecar sidecar = FakeSidecar.start("", (none, partition) -> seen::add, "t", 3, 7)) {
            sidecar.feed(List.of(first, second));
        }
        assertNull(seen.get(0).key());
        assertArrayEquals(new byte[0], seen.get(0).value());
        assertEquals(List.of(odd, odd), seen.get(0).headers());
        assertEquals(0, seen.get(0).timestamp());
        assertEquals(TimestampType.CREATE_TIME, seen.get(0).timestampType());
        assertArrayEquals(new byte[0], seen.get(1).key());
        assertNull(seen.get(1).value());
        assertEquals(90, seen.get(1).offset());
        assertEquals(-1, seen.get(1).timestamp());
    }

    @Test
    void anExceptionIsCriticalAtItsOffset() {
        LambdaFactory<String> failing = (none, partition) -> message -> {
            if (message.valueText().equals("bad")) {
                throw new IllegalStateException("no");
            }
            partition.checkpoint(message.offset());
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", failing)) {
            sidecar.feed("good", "bad", "never");
            assertFalse(sidecar.isRunning());
            assertEquals(List.of(0L), sidecar.checkpoints());
            LambdaError error = sidecar.errors().get(0);
            assertEquals(LambdaError.Action.CRITICAL, error.action());
            assertEquals(OptionalLong.of(1), error.offset());
            assertEquals("handler_failed", error.code());
            assertEquals("no", error.message());
        }
    }

    @Test
    void anInterruptionByTheLambdaItselfIsNoEnd() {
        LambdaFactory<String> failing = (none, partition) -> message -> {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("no");
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", failing)) {
            sidecar.feed("a");
            assertEquals("no", sidecar.errors().get(0).message());
        }
    }

    @Test
    void aRestartExceptionRestartsAfterTheCheckpoint() {
        AtomicInteger tries = new AtomicInteger();
        LambdaFactory<String> failing = (none, partition) -> message -> {
            events.add(message.valueText() + " try " + partition.attempt());
            if (message.valueText().equals("b") && tries.incrementAndGet() == 1) {
                throw new RestartException("the database is away");
            }
            partition.checkpoint(message.offset());
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", failing)) {
            sidecar.feed("a", "b");
            assertEquals(LambdaError.Action.RESTART, sidecar.errors().get(0).action());
            sidecar.restart();
            assertEquals(List.of(0L, 1L), sidecar.checkpoints());
        }
        assertEquals(List.of("a try 1", "b try 1", "b try 1"), events);
    }

    @Test
    void aFailedCreationIsTold() {
        LambdaFactory<String> failing = (none, partition) -> {
            throw new IllegalStateException("no table");
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", failing)) {
            assertEquals("create_failed", sidecar.errors().get(0).code());
            assertEquals(OptionalLong.empty(), sidecar.errors().get(0).offset());
        }
    }

    @Test
    void onlyTheFirstErrorCountsAndReportsEndNothing() {
        LambdaFactory<String> failing = (none, partition) -> message -> {
            partition.report(new IllegalStateException("look"), message.offset());
            partition.error(new IllegalStateException("first"), Restart.NO);
            partition.error(new IllegalStateException("second"), Restart.YES);
            partition.checkpoint(message.offset());
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", failing)) {
            sidecar.feed("a");
            assertEquals(
                    List.of("look", "first"),
                    sidecar.errors().stream().map(LambdaError::message).toList());
            assertEquals(List.of(), sidecar.checkpoints());
        }
    }

    @Test
    void aPauseHoldsMessagesAndResumeGoesOn() {
        AtomicReference<Partition> handle = new AtomicReference<>();
        LambdaFactory<String> pausing = (none, partition) -> {
            handle.set(partition);
            return message -> {
                events.add(message.valueText());
                if (message.valueText().equals("a")) {
                    partition.pause("database", Duration.ofSeconds(5));
                }
            };
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", pausing)) {
            sidecar.feed("a", "b");
            assertEquals(Optional.of("database"), sidecar.paused());
            assertEquals(List.of("a"), events);
            sidecar.feed("c");
            handle.get().resume();
            sidecar.feed("d");
        }
        assertEquals(List.of("a", "b", "c", "d"), events);
    }

    @Test
    void aPauseWithAnOffsetDeliversAgain() {
        AtomicInteger tries = new AtomicInteger();
        LambdaFactory<String> pausing = (none, partition) -> message -> {
            events.add(message.valueText());
            if (message.offset() == 1 && tries.incrementAndGet() == 1) {
                partition.pause("database", null, 1);
                assertThrows(IllegalArgumentException.class, () -> partition.pause("", null, 99));
            } else {
                partition.checkpoint(message.offset());
                assertThrows(IllegalArgumentException.class, () -> partition.pause("", null, message.offset()));
            }
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", pausing)) {
            sidecar.feed("a", "b", "c");
            sidecar.resume();
            assertEquals(List.of(0L, 1L, 2L), sidecar.checkpoints());
            assertEquals(List.of(), sidecar.errors());
        }
        assertEquals(List.of("a", "b", "b", "c"), events);
    }

    @Test
    void theHandlerIsInterruptedAtSeventyPercentAndItsCheckpointStands() {
        CountDownLatch forever = new CountDownLatch(1);
        CountDownLatch begun = new CountDownLatch(1);
        LambdaFactory<String> slow = (none, partition) -> message -> {
            partition.checkpoint(message.offset());
            begun.countDown();
            try {
                forever.await();
            } catch (InterruptedException told) {
                events.add("interrupted");
                throw told;
            }
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", slow)) {
            CompletableFuture<Void> feeding = CompletableFuture.runAsync(() -> sidecar.feed("a", "b"));
            begun.await();
            sidecar.revoke(Duration.ofMillis(500));
            feeding.join();
            assertEquals(List.of("interrupted"), events);
            assertEquals(List.of(0L), sidecar.checkpoints());
            assertEquals(List.of(), sidecar.errors()); // an interruption that it was told of is no failure
        } catch (InterruptedException error) {
            throw new AssertionError(error);
        }
    }

    @Test
    void aLambdaThatLosesItsStreamClosesWithErrorAndItsLastCheckpointIsVoid() {
        AtomicReference<Partition> handle = new AtomicReference<>();
        LambdaFactory<String> noting = (none, partition) -> {
            handle.set(partition);
            return new Lambda() {
                @Override
                public void handle(Message message) {
                    events.add(message.valueText());
                }

                @Override
                public void close(CloseReason reason) {
                    events.add("close " + reason);
                    partition.checkpoint(0);
                }
            };
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", noting)) {
            sidecar.feed("a");
            Partition old = handle.get();
            sidecar.restart();
            old.checkpoint(0);
            old.pause("after the end", null);
            assertTrue(old.produce("t", new byte[0]).isCompletedExceptionally());
            assertEquals(List.of(), sidecar.checkpoints());
            assertEquals(List.of("a", "close ERROR", "a"), events);
            assertEquals(2, handle.get().attempt());
        }
    }

    @Test
    void aCheckpointInCloseCounts() {
        LambdaFactory<String> closing = (none, partition) -> new Lambda() {
            private long last = -1;

            @Override
            public void handle(Message message) {
                last = message.offset();
            }

            @Override
            public void close(CloseReason reason) {
                partition.checkpoint(last);
            }
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", closing)) {
            sidecar.feed("a", "b");
            assertEquals(List.of(), sidecar.checkpoints());
            sidecar.rebalance();
            assertEquals(List.of(1L), sidecar.checkpoints());
        }
    }

    @Test
    void aCheckpointAheadOfDeliveryIsToldAsFarAsDelivered() {
        LambdaFactory<String> ahead = (none, partition) -> {
            partition.checkpoint(2);
            return message -> {};
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", ahead)) {
            sidecar.feed("a");
            sidecar.feed("b", "c", "d");
            assertEquals(List.of(0L, 1L, 2L), sidecar.checkpoints());
        }
    }

    @Test
    void mistakesAreToldByTheirArguments() {
        AtomicReference<Partition> handle = new AtomicReference<>();
        LambdaFactory<String> keeping = (none, partition) -> {
            handle.set(partition);
            return message -> {};
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", keeping)) {
            Partition partition = handle.get();
            assertThrows(IllegalArgumentException.class, () -> partition.checkpoint(-1));
            assertThrows(IllegalArgumentException.class, () -> partition.completedBeyond(-1, 0));
            assertThrows(IllegalArgumentException.class, () -> partition.pause("x", Duration.ZERO));
            assertThrows(IllegalArgumentException.class, () -> OutputRecord.of("", "x"));
            assertThrows(NullPointerException.class, () -> partition.error(null, Restart.NO));
            assertTrue(sidecar.isRunning());
        }
    }
}
