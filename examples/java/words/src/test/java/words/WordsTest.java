package words;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.kafkasidecar.Message;
import io.kafkasidecar.Settings;
import io.kafkasidecar.TimestampType;
import io.kafkasidecar.testing.FakeSidecar;
import io.kafkasidecar.testing.LambdaError;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;

class WordsTest {
    private static final Settings SETTINGS = Settings.of("{\"late\": 5}", Map.of());

    private static Message message(long offset, double seconds, String text) {
        return new Message(
                "test",
                0,
                offset,
                (long) (seconds * 1000),
                TimestampType.CREATE_TIME,
                null,
                text.getBytes(UTF_8),
                List.of());
    }

    private static List<String> counts(FakeSidecar sidecar) {
        return sidecar.sent().stream()
                .map(record -> new String(record.key(), UTF_8) + "="
                        + record.valueText())
                .toList();
    }

    @Test
    void aMinuteIsWrittenWhenItIsOver() {
        try (FakeSidecar sidecar = FakeSidecar.start(SETTINGS, Words::new)) {
            sidecar.feed(List.of(message(0, 1, "the fox and the dog"), message(1, 59, "fox"), message(2, 62, "cat")));
            assertEquals(List.of(), counts(sidecar)); // late messages of the first minute may still come
            assertEquals(OptionalLong.empty(), sidecar.checkpoint());
            sidecar.feed(List.of(message(3, 65, "cat")));
            assertEquals(List.of("0 and=1", "0 dog=1", "0 fox=2", "0 the=2"), counts(sidecar));
            assertEquals(OptionalLong.of(1), sidecar.checkpoint()); // the second minute is open from offset 2 on
        }
    }

    @Test
    void aRestartRebuildsTheOpenMinutes() {
        try (FakeSidecar sidecar = FakeSidecar.start(SETTINGS, Words::new)) {
            sidecar.feed(List.of(message(0, 1, "a"), message(1, 61, "b"), message(2, 66, "b")));
            sidecar.restart();
            sidecar.feed(List.of(message(3, 126, "c")));
            assertEquals(List.of("0 a=1", "1 b=2"), counts(sidecar));
            assertEquals(OptionalLong.of(2), sidecar.checkpoint());
        }
    }

    @Test
    void aLateMessageIsCounted() {
        try (FakeSidecar sidecar = FakeSidecar.start(SETTINGS, Words::new)) {
            sidecar.feed(List.of(message(0, 62, "b"), message(1, 59, "a"), message(2, 130, "c")));
            assertEquals(List.of("0 a=1", "1 b=1"), counts(sidecar));
            assertEquals(OptionalLong.of(1), sidecar.checkpoint());
        }
    }

    @Test
    void countsThatAreNotWrittenAreNotCheckpointed() {
        try (FakeSidecar sidecar = FakeSidecar.start(SETTINGS, Words::new)) {
            sidecar.failProduce("no broker");
            sidecar.feed(List.of(message(0, 1, "a"), message(1, 66, "b")));
            sidecar.awaitEnd();
            assertEquals(OptionalLong.empty(), sidecar.checkpoint());
            assertEquals(LambdaError.Action.RESTART, sidecar.errors().get(0).action());
            sidecar.failProduce(null);
            sidecar.restart();
            assertEquals(List.of("0 a=1"), counts(sidecar));
            assertEquals(OptionalLong.of(0), sidecar.checkpoint());
        }
    }
}
