package io.kafkasidecar;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.kafkasidecar.testing.FakeSidecar;
import io.kafkasidecar.testing.LambdaError;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Named;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What a lambda produces: which outcomes are taken, and which checkpoints they hold back. */
@Timeout(60)
class ProduceTest {
    private static FakeSidecar sidecar(Consumer<CompletableFuture<Produced>> then) {
        return FakeSidecar.start("", (none, partition) -> message -> {
            then.accept(partition.produce("out", message.value(), message.key()));
            partition.checkpoint(message.offset());
        });
    }

    @Test
    void recordsAreWrittenAsTheyAreInOrder() {
        Header odd = Header.of(new byte[] {(byte) 0xfe}, null);
        LambdaFactory<String> producing = (none, partition) -> message -> {
            partition.produce(OutputRecord.of("a", message.value()).withHeaders(List.of(odd)));
            partition.produce(OutputRecord.of("b", (byte[]) null).withKey("").withPartition(2));
            Produced third = partition.produce("a", new byte[0], null).join();
            assertEquals(new Produced("a", 0, 1), third);
            partition.checkpoint(message.offset());
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", producing)) {
            sidecar.feed("x");
            List<OutputRecord> sent = sidecar.sent();
            assertEquals(
                    List.of("a", "b", "a"),
                    sent.stream().map(OutputRecord::topic).toList());
            assertEquals(List.of(odd), sent.get(0).headers());
            assertNull(sent.get(0).key());
            assertArrayEquals(new byte[0], sent.get(1).key());
            assertNull(sent.get(1).value());
            assertEquals(2, sent.get(1).partition().orElseThrow());
            assertArrayEquals(new byte[0], sent.get(2).value());
            assertEquals(List.of(0L), sidecar.checkpoints());
        }
    }

    @Test
    void aRecordThatCanNeverFitFailsAtOnce() {
        LambdaFactory<String> producing = (none, partition) -> message -> {
            CompletableFuture<Produced> outcome = partition.produce("out", new byte[1 << 20]);
            CompletionException error = assertThrows(CompletionException.class, outcome::join);
            ProduceException failure = assertInstanceOf(ProduceException.class, error.getCause());
            assertEquals(ProduceException.Kind.TOO_LARGE, failure.kind());
            partition.checkpoint(message.offset());
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", producing)) {
            sidecar.feed("x");
            assertEquals(List.of(0L), sidecar.checkpoints());
            assertEquals(List.of(), sidecar.errors());
        }
    }

    static Stream<Named<Consumer<CompletableFuture<Produced>>>> taking() {
        return Stream.of(
                Named.of("join", outcome -> assertThrows(CompletionException.class, outcome::join)),
                Named.of("get", outcome -> assertThrows(Exception.class, outcome::get)),
                Named.of(
                        "get in time",
                        outcome -> assertThrows(Exception.class, () -> outcome.get(9, TimeUnit.SECONDS))),
                Named.of(
                        "join of a stage",
                        outcome -> assertThrows(
                                CompletionException.class,
                                () -> outcome.thenApply(Produced::offset).join())),
                Named.of("handle", outcome -> outcome.handle((produced, error) -> 1)),
                Named.of("whenComplete", outcome -> outcome.whenComplete((produced, error) -> {})),
                Named.of("exceptionally", outcome -> outcome.exceptionally(error -> null)),
                Named.of(
                        "exceptionally of a stage",
                        outcome -> outcome.thenApply(Produced::offset)
                                .thenApply(offset -> offset + 1)
                                .exceptionally(error -> 0L)),
                Named.of(
                        "allOf",
                        outcome -> assertThrows(
                                CompletionException.class,
                                () -> CompletableFuture.allOf(outcome).join())),
                Named.of(
                        "allOf of a stage",
                        outcome -> assertThrows(
                                CompletionException.class,
                                () -> CompletableFuture.allOf(outcome.thenApply(Produced::offset))
                                        .join())),
                Named.of(
                        "combined",
                        outcome -> CompletableFuture.completedFuture(1).thenCombine(outcome, (one, produced) -> one)),
                Named.of(
                        "composed",
                        outcome -> CompletableFuture.completedFuture(1).thenCompose(one -> outcome)));
    }

    @ParameterizedTest
    @MethodSource
    void taking(Consumer<CompletableFuture<Produced>> take) {
        try (FakeSidecar sidecar = sidecar(take)) {
            sidecar.failProduce("no broker");
            sidecar.feed("x");
            assertEquals(List.of(), sidecar.errors());
            assertEquals(List.of(0L), sidecar.checkpoints());
        }
    }

    static Stream<Named<Consumer<CompletableFuture<Produced>>>> notTaking() {
        return Stream.of(
                Named.of("nothing", outcome -> {}),
                Named.of("thenApply", outcome -> outcome.thenApply(Produced::offset)),
                Named.of(
                        "thenAccept",
                        outcome -> outcome.thenAccept(produced -> {}).thenRun(() -> {})),
                Named.of("isDone", CompletableFuture::isDone),
                Named.of("orTimeout", outcome -> outcome.orTimeout(1, TimeUnit.HOURS)),
                Named.of("cancel", outcome -> outcome.cancel(false)));
    }

    @ParameterizedTest
    @MethodSource
    void notTaking(Consumer<CompletableFuture<Produced>> leave) {
        try (FakeSidecar sidecar = sidecar(leave)) {
            sidecar.failProduce("no broker");
            sidecar.feed("x", "y");
            sidecar.awaitEnd();
            LambdaError error = sidecar.errors().get(0);
            assertEquals(LambdaError.Action.RESTART, error.action());
            assertEquals("produce_failed", error.code());
            assertTrue(error.message().contains("out") && error.message().contains("no broker"), error.message());
            assertEquals(List.of(), sidecar.checkpoints());
        }
    }

    @Test
    void aCheckpointFromBeforeTheFailureStands() {
        LambdaFactory<String> producing = (none, partition) -> message -> {
            if (message.offset() == 1) {
                var unused = partition.produce("out", message.value());
            }
            partition.checkpoint(message.offset());
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", producing)) {
            sidecar.failProduce("no broker");
            sidecar.feed("x", "y");
            sidecar.awaitEnd();
            assertEquals(List.of(0L), sidecar.checkpoints());
        }
    }

    @Test
    void manyRecordsHoldTheHandlerBackAndNoneIsLost() {
        LambdaFactory<String> producing = (none, partition) -> message -> {
            for (int at = 0; at < 9_000; at++) {
                var unused = partition.produce("out", new byte[100]);
            }
            partition.checkpoint(message.offset());
        };
        try (FakeSidecar sidecar = FakeSidecar.start("", producing)) {
            sidecar.feed("a", "b", "c", "d", "e");
            assertEquals(45_000, sidecar.sent().size());
            assertEquals(4, sidecar.checkpoint().orElseThrow());
        }
    }
}
