package words;

import java.util.Map;
import java.util.TreeMap;

/** The counts of one minute. Its offsets say which messages are in it. */
final class Window {
    final long minute;
    final long firstOffset;
    final Map<String, Integer> counts = new TreeMap<>();

    Window(long minute, long firstOffset) {
        this.minute = minute;
        this.firstOffset = firstOffset;
    }

    void add(String text) {
        for (String word : text.strip().split("\\s+", -1)) {
            if (!word.isEmpty()) {
                counts.merge(word, 1, Integer::sum);
            }
        }
    }
}
