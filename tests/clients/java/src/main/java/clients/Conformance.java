package clients;

import io.kafkasidecar.CloseReason;
import io.kafkasidecar.Guarantee;
import io.kafkasidecar.Lambda;
import io.kafkasidecar.LambdaServer;
import io.kafkasidecar.Message;
import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.Partition;
import io.kafkasidecar.ProduceException;
import io.kafkasidecar.Restart;
import io.kafkasidecar.Settings;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
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
    private boolean told; // what it was told about its partition
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
        if (WORDS.about("take", offset)) {
            Thread.sleep(Long.parseLong(WORDS.parts("take").get(1)));
        }
        List<String> progress = WORDS.at("progress", offset).orElse(List.of());
        for (int step = 1; !progress.isEmpty() && step <= Integer.parseInt(progress.get(0)); step++) {
            partition.progress(Integer.toString(step));
            Thread.sleep(Long.parseLong(progress.get(1)));
        }
        if (pauses(offset) || fails(offset)) {
            return;
        }
        if (WORDS.at("report", offset).isPresent()) {
            partition.report(new IllegalStateException("planned"), offset);
        }
        if (produces(message)) {
            checkpoints(message);
            handled = offset;
            List<String> committed = WORDS.at("committed", offset).orElse(List.of());
            if (!committed.isEmpty()) {
                partition.committed(offset).join();
                partition.produce(OutputRecord.of(committed.get(0), "committed")).join();
            }
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
            if (WORDS.has("tell") && !told) {
                told = true;
                partition.produce(OutputRecord.of(WORDS.text("tell"), place())).join();
            }
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
            if (!(error.getCause() instanceof ProduceException failure)) {
                throw error;
            }
            partition.error(failure, Restart.YES, message.offset());
            return false;
        }
    }

    private static OutputRecord copied(Message message, String word) {
        byte[] value = WORDS.has("size") ? new byte[(int) WORDS.number("size")] : message.value();
        OutputRecord record = OutputRecord.of(WORDS.text(word), value)
                .withKey(message.key())
                .withHeaders(message.headers());
        return WORDS.about("source", message.offset()) ? record.withSource(message.offset()) : record;
    }

    /** The line of the word {@code tell}. */
    private String place() {
        String guarantee = partition.guarantee() == Guarantee.EXACTLY_ONCE ? "exactly-once" : "at-least-once";
        return partition.lane() + "/" + partition.lanes() + " " + guarantee + " " + shown(partition.state());
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

    /** Checkpoints an offset, with the state that the words give it. */
    private void checkpoint(long offset) {
        if (WORDS.about("state", offset)) {
            List<String> parts = WORDS.parts("state");
            String state = parts.get(0).equals("each") ? Long.toString(offset) : parts.get(1);
            try {
                partition.checkpoint(offset, state.getBytes(StandardCharsets.UTF_8));
                return;
            } catch (IllegalArgumentException refusal) {
                partition.report(refusal, offset);
            }
        }
        partition.checkpoint(offset);
    }

    /** Checkpoints as the words say. */
    private void checkpoints(Message message) {
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
