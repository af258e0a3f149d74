package clients;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.kafkasidecar.CloseReason;
import io.kafkasidecar.Lambda;
import io.kafkasidecar.LambdaServer;
import io.kafkasidecar.Message;
import io.kafkasidecar.Partition;
import io.kafkasidecar.Restart;
import io.kafkasidecar.Settings;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.ConnectException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;

/**
 * The lambda of the chaos runs: it records all its calls, and fails at records that ask for it. Its settings, events and
 * records are those of tests/chaos/recorder.py.
 *
 * <p>The handler and the timer share a recorder: its monitor guards its fields, and orders its events.
 */
final class Recorder implements Lambda {
    private static final ScheduledExecutorService TIMER = Executors.newSingleThreadScheduledExecutor(task -> {
        Thread thread = new Thread(task, "recorder-timer");
        thread.setDaemon(true);
        return thread;
    });

    private final Partition partition;
    private final Journal journal;
    private final String lease;
    private final int every;
    private final double idle;
    private final Path failures;
    private long last = -1;
    private int since;
    private ScheduledFuture<?> timer;
    private boolean closing;

    private Recorder(Settings settings, Partition partition, Journal journal, String lease) throws IOException {
        this.partition = partition;
        this.journal = journal;
        this.lease = lease;
        this.every = (int) settings.number("every", 10);
        this.idle = settings.number("idle", 0.05);
        this.failures = Path.of(settings.required("folder"), "failures");
        Map<String, Object> fields = new HashMap<>();
        fields.put("slot", settings.get("slot").orElseThrow());
        fields.put("attempt", partition.attempt());
        fields.put("start", partition.startOffset().isPresent() ? partition.startOffset().getAsLong() : null);
        fields.put("lane", partition.lane());
        fields.put("state", new String(partition.state(), UTF_8));
        note("created", fields);
    }

    @Override
    public synchronized void handle(Message message) throws Exception {
        String text = message.value() == null || message.value().length == 0 ? "{}" : message.valueText();
        JsonObject record = JsonParser.parseString(text).getAsJsonObject();
        if (record.has("fail") && fails(record, message.offset())) {
            return;
        }
        note("handled", Map.of("offset", message.offset()));
        last = message.offset();
        since++;
        cancelTimer();
        if (since >= every) {
            checkpoint();
        } else {
            timer = TIMER.schedule(this::onIdle, (long) (idle * 1000), TimeUnit.MILLISECONDS);
        }
    }

    @Override
    public synchronized void close(CloseReason reason) throws IOException {
        closing = true;
        cancelTimer();
        note("closing", Map.of("reason", reason.name().toLowerCase(Locale.ROOT)));
        // Checkpoint the last batch in half of the cases only: an end without it must be correct too.
        if (reason != CloseReason.ERROR && last % 2 == 0) {
            checkpoint();
        }
        note("closed", Map.of());
    }

    private synchronized void onIdle() {
        try {
            if (!closing) { // it may have waited for the monitor that `close` had
                checkpoint();
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private void cancelTimer() {
        if (timer != null) {
            timer.cancel(false);
        }
    }

    private void checkpoint() throws IOException {
        if (since == 0) {
            return;
        }
        since = 0;
        // Written first, so that the sidecar never knows more than the history.
        note("checkpointed", Map.of("offset", last));
        partition.checkpoint(last, Long.toString(last).getBytes(UTF_8));
    }

    private boolean fails(JsonObject record, long offset) throws IOException {
        boolean bounded = record.has("attempts") && !record.get("attempts").isJsonNull();
        if (bounded && counted(offset) > record.get("attempts").getAsLong()) {
            return false;
        }
        boolean critical = record.get("fail").getAsString().equals("raise");
        note("failed", Map.of("offset", offset, "critical", critical));
        if (critical) {
            throw new IllegalArgumentException("record " + offset + " asks for it");
        }
        partition.error(new ConnectException("record " + offset + " asks for it"), Restart.YES, offset);
        return true;
    }

    /** The number of attempts at this record in all processes, this one included. */
    private long counted(long offset) throws IOException {
        Path path = failures.resolve(partition.number() + "-" + offset);
        try (FileChannel file = FileChannel.open(
                path, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.APPEND)) {
            file.write(ByteBuffer.wrap(new byte[] {'.'}));
            return file.size();
        }
    }

    private void note(String kind, Map<String, Object> fields) throws IOException {
        Map<String, Object> all = new HashMap<>(fields);
        all.put("lease", lease);
        all.put("partition", partition.number());
        journal.write(kind, all);
    }

    /** What the process's recorders share. */
    private static final class Process implements AutoCloseable {
        private final Settings settings;
        private final String label;
        private final Journal journal;
        private int made;

        Process(Settings settings) throws IOException {
            this.settings = settings;
            this.label = settings.required("label");
            this.journal =
                    new Journal(Path.of(settings.required("folder"), "history", "lambda-" + label + ".jsonl"));
            journal.write("started", Map.of("pid", ProcessHandle.current().pid()));
        }

        Recorder create(Partition partition) throws IOException {
            int number;
            synchronized (this) {
                number = ++made;
            }
            return new Recorder(settings, partition, journal, label + "." + number);
        }

        @Override
        public void close() throws IOException {
            journal.write("disposed", Map.of());
        }
    }

    public static void main(String[] arguments) {
        LambdaServer.builder(arguments.length > 0 ? arguments[0] : "recorder")
                .resources(Process::new)
                .lambda(Process::create)
                .build()
                .run();
    }
}
