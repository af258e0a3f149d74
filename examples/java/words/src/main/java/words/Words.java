package words;

import io.kafkasidecar.Lambda;
import io.kafkasidecar.LambdaServer;
import io.kafkasidecar.Message;
import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.Partition;
import io.kafkasidecar.Produced;
import io.kafkasidecar.Restart;
import io.kafkasidecar.Settings;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;

/**
 * Counts the words of each minute, by the messages' timestamps, and writes a minute's counts when it is over: when a
 * message comes that is later than its end by the setting {@code late} (seconds, 10).
 *
 * <p>The counts are only in memory. So the checkpoint stays below the first message of the oldest open minute: after a
 * restart these messages come again, and rebuild the counts. A message that comes after its minute was written is
 * counted in a minute of its own, which is written again: those who read {@code counts} add up what has the same key.
 */
final class Words implements Lambda {
    private static final long MINUTE_MS = 60_000;

    private final Partition partition;
    private final String topic;
    private final long lateMs;
    private final TreeMap<Long, Window> open = new TreeMap<>(); // by minute
    private long latest = Long.MIN_VALUE; // timestamp

    Words(Settings settings, Partition partition) {
        this.partition = partition;
        this.topic = settings.text("topic").orElse("counts");
        this.lateMs = (long) (settings.number("late", 10) * 1000);
    }

    @Override
    public void handle(Message message) {
        long minute = Math.floorDiv(message.timestamp(), MINUTE_MS);
        if (message.value() != null) {
            open.computeIfAbsent(minute, m -> new Window(m, message.offset())).add(message.valueText());
        }
        latest = Math.max(latest, message.timestamp());
        while (!open.isEmpty() && (open.firstKey() + 1) * MINUTE_MS + lateMs <= latest) {
            write(open.pollFirstEntry().getValue());
        }
        // The SDK holds the checkpoint back until all that was written before it is known to be written.
        long safe = open.values().stream()
                .mapToLong(window -> window.firstOffset - 1)
                .min()
                .orElse(message.offset());
        if (safe >= 0) {
            partition.checkpoint(safe);
        }
    }

    private void write(Window window) {
        for (Map.Entry<String, Integer> word : window.counts.entrySet()) {
            OutputRecord record = OutputRecord.of(topic, Integer.toString(word.getValue()))
                    .withKey(window.minute + " " + word.getKey());
            CompletableFuture<Produced> outcome = partition.produce(record);
            // Without this line the SDK would do the same, a second later and with a text of its own.
            outcome.whenComplete((produced, error) -> {
                if (error != null) {
                    partition.error(error, Restart.YES);
                }
            });
        }
    }

    public static void main(String[] arguments) {
        LambdaServer.builder("words").lambda(Words::new).build().run();
    }
}
