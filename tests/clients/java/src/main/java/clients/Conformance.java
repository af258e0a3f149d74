package clients;

import static java.nio.charset.StandardCharsets.UTF_8;

import io.kafkasidecar.CloseReason;
import io.kafkasidecar.Lambda;
import io.kafkasidecar.LambdaServer;
import io.kafkasidecar.Message;
import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.Partition;
import io.kafkasidecar.ProduceException;
import io.kafkasidecar.Restart;
import io.kafkasidecar.Settings;
import io.kafkasidecar.StateException;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;

/** The conformance lambda in Java: docs/conformance.md says what its words mean. */
final class Conformance implements Lambda {
    private static final Words WORDS = Words.of(System.getenv().getOrDefault("CONFORMANCE_DO", ""));
    private static final AtomicBoolean PAUSED = new AtomicBoolean();
    private static final AtomicBoolean SETTING_TOLD = new AtomicBoolean();
    private static final AtomicLong CREATED = new AtomicLong();

    private final Settings settings;
    private final Partition partition;
    private long handled = -1;
    private long since; // records since the last checkpoint
    private boolean told; // the line about the partition is produced
    private int beyond; // records that are done after the one that is held
    private long beyondBytes;

    private Conformance(Settings settings, Partition partition) throws InterruptedException {
        Thread.sleep(WORDS.number("create"));
        if (CREATED.incrementAndGet() <= WORDS.number("fail-create")) {
            throw new IllegalStateException("planned");
        }
        this.settings = settings;
        this.partition = partition;
    }

    @Override
    public void handle(Message message) throws InterruptedException {
        long offset = message.offset();
        if (WORDS.has("tell") && !told) {
            told = true;
            if (!written(message, OutputRecord.of(WORDS.text("tell"), line()))) {
                return;
            }
        }
        List<String> take = WORDS.at("take", offset).orElse(List.of("0"));
        Thread.sleep(Long.parseLong(take.get(0)));
        List<String> signs = WORDS.at("progress", offset).orElse(List.of("0", "0"));
        for (int sign = 1; sign <= Integer.parseInt(signs.get(0)); sign++) {
            partition.progress(Integer.toString(sign));
            Thread.sleep(Long.parseLong(signs.get(1)));
        }
        if (pauses(offset) || fails(offset)) {
            return;
        }
        if (WORDS.at("report", offset).isPresent()) {
            partition.report(new IllegalStateException("planned"), offset);
        }
        if (produces(message)) {
            progress(message);
            Optional<List<String>> committed = WORDS.at("committed", offset);
            if (committed.isPresent()) {
                partition.committed(offset).join();
                if (!written(message, OutputRecord.of(committed.get().get(0), "committed"))) {
                    return;
                }
            }
            handled = offset;
        }
    }

    /** The line about the partition. */
    private String line() {
        String guarantee = partition.guarantee().name().toLowerCase(Locale.ROOT).replace('_', '-');
        return partition.lane() + "/" + partition.lanes() + " " + guarantee + " " + shown(partition.state());
    }

    /** Produces and waits; returns whether it was written. If not, the lambda has failed. */
    private boolean written(Message message, OutputRecord record) {
        try {
            partition.produce(record).join();
            return true;
        } catch (CompletionException error) {
            return failed(message, error);
        }
    }

    private boolean failed(Message message, CompletionException error) {
        if (!(error.getCause() instanceof ProduceException failure)) {
            throw error;
        }
        partition.error(failure, Restart.YES, message.offset());
        return false;
    }

    /** Makes a checkpoint, with the state that the words have for it. */
    private void checkpoint(long offset) {
        byte[] state = WORDS.at("state", offset)
                .map(parts -> (parts.isEmpty() ? Long.toString(offset) : parts.get(0)).getBytes(UTF_8))
                .orElse(null);
        try {
            partition.checkpoint(offset, state);
        } catch (StateException refused) {
            partition.report(refused, offset);
            partition.checkpoint(offset);
        }
    }

    /** Pauses as the word says; returns whether this record comes again. */
    private boolean pauses(long offset) {
        List<String> pause = WORDS.at("pause", offset).orElse(List.of());
        if (pause.isEmpty() || !PAUSED.compareAndSet(false, true)) {
            return false;
        }
        long millis = Long.parseLong(pause.get(0));
        Duration time = millis == 0 ? null : Duration.ofMillis(millis);
        boolean again = pause.contains("again");
        if (again) {
            partition.pause("planned", time, offset);
        } else {
            partition.pause("planned", time);
        }
        if (WORDS.has("resume")) {
            CompletableFuture.delayedExecutor(WORDS.number("resume"), TimeUnit.MILLISECONDS)
                    .execute(partition::resume);
        }
        return again;
    }

    /** Fails as the word says; returns whether it did. */
    private boolean fails(long offset) {
        List<String> fail = WORDS.at("fail", offset).orElse(List.of());
        if (fail.isEmpty()) {
            return false;
        }
        IllegalStateException planned = new IllegalStateException("planned");
        switch (fail.get(0)) {
            case "raise" -> throw planned;
            case "lost" -> partition.error(planned, Restart.YES);
            case "critical" -> partition.error(planned, Restart.NO, offset);
            default -> partition.error(planned, Restart.YES, offset);
        }
        return true;
    }

    /** Produces what the words ask for; returns whether to go on. */
    private boolean produces(Message message) {
        try {
            if (WORDS.has("copy")) {
                partition.produce(copied(message, "copy")).join();
            }
            if (WORDS.has("send")) {
                partition.produce(copied(message, "send"));
            }
            if (WORDS.has("try")) {
                try {
                    partition.produce(copied(message, "try")).join();
                } catch (CompletionException taken) {
                    System.err.println("not written: " + taken.getMessage());
                }
            }
            if (WORDS.has("describe")) {
                partition
                        .produce(OutputRecord.of(WORDS.text("describe"), described(message)))
                        .join();
            }
            if (WORDS.has("setting") && SETTING_TOLD.compareAndSet(false, true)) {
                List<String> setting = WORDS.parts("setting");
                String text = settings.text(setting.get(0)).orElse("null");
                partition.produce(OutputRecord.of(setting.get(1), text)).join();
            }
            return true;
        } catch (CompletionException error) {
            return failed(message, error);
        }
    }

    private static OutputRecord copied(Message message, String word) {
        byte[] value = WORDS.has("size") ? new byte[(int) WORDS.number("size")] : message.value();
        OutputRecord record = OutputRecord.of(WORDS.text(word), value)
                .withKey(message.key())
                .withHeaders(message.headers());
        return WORDS.at("source", message.offset()).isPresent() ? record.withSource(message.offset()) : record;
    }

    private static String described(Message message) {
        String headers = message.headers().stream()
                .map(header -> HexFormat.of().formatHex(header.nameBytes()) + ":" + shown(header.value()))
                .collect(Collectors.joining(","));
        String type = switch (message.timestampType()) {
            case CREATE_TIME -> "create";
            case LOG_APPEND_TIME -> "append";
            case NONE -> "none";
        };
        return message.topic() + "/" + message.partition() + " " + message.offset() + " " + message.timestamp() + " "
                + type + " " + shown(message.key()) + " " + shown(message.value()) + " "
                + (headers.isEmpty() ? "none" : headers);
    }

    private static String shown(byte[] bytes) {
        if (bytes == null) {
            return "-";
        }
        return bytes.length == 0 ? "''" : HexFormat.of().formatHex(bytes);
    }

    /** Checkpoints as the words say. */
    private void progress(Message message) {
        long offset = message.offset();
        WORDS.at("ahead", offset).ifPresent(parts -> checkpoint(Long.parseLong(parts.get(0))));
        List<String> hold = WORDS.parts("hold");
        long first = hold.isEmpty() ? -1 : Long.parseLong(hold.get(0));
        long last = hold.isEmpty() ? -1 : Long.parseLong(hold.get(1));
        if (first >= 0 && offset >= first && offset < last) {
            if (offset > first) {
                beyond++;
                beyondBytes += length(message.key()) + length(message.value());
                partition.completedBeyond(beyond, beyondBytes);
            }
        } else if (offset == last) {
            checkpoint(offset);
            partition.completedBeyond(0, 0);
        } else if (WORDS.has("checkpoint") && ++since >= WORDS.number("checkpoint")) {
            since = 0;
            checkpoint(offset);
        }
    }

    private static int length(byte[] bytes) {
        return bytes == null ? 0 : bytes.length;
    }

    @Override
    public void close(CloseReason reason) throws InterruptedException {
        Thread.sleep(WORDS.number("close"));
        if (WORDS.has("closing") && reason != CloseReason.ERROR && handled >= 0) {
            checkpoint(handled);
        }
    }

    public static void main(String[] arguments) {
        LambdaServer.builder(System.getenv("CONFORMANCE_LAMBDA"))
                .resources(settings -> {
                    Thread.sleep(WORDS.number("load"));
                    return settings;
                })
                .lambda(Conformance::new)
                .build()
                .run();
    }
}
