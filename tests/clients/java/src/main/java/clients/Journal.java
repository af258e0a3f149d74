package clients;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The history that this process writes: one JSON line for each event, on disk before the event has any effect. One
 * system call writes a line, so it is complete or missing. Any thread may write.
 */
final class Journal {
    private static final Gson GSON = new GsonBuilder().serializeNulls().create();

    private final FileChannel file;

    Journal(Path path) throws IOException {
        file = FileChannel.open(
                path, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.APPEND);
    }

    void write(String kind, Map<String, Object> fields) throws IOException {
        Map<String, Object> event = new LinkedHashMap<>();
        // On Linux nanoTime is CLOCK_MONOTONIC, which all processes of the machine share.
        event.put("at", System.nanoTime() / 1e9);
        Instant now = Instant.now();
        event.put("wall", now.getEpochSecond() + now.getNano() / 1e9);
        event.put("kind", kind);
        event.putAll(fields);
        ByteBuffer line = ByteBuffer.wrap((GSON.toJson(event) + "\n").getBytes(StandardCharsets.UTF_8));
        synchronized (file) {
            while (line.hasRemaining()) {
                file.write(line);
            }
            file.force(true);
        }
    }
}
