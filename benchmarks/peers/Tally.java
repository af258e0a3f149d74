import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** What tally.py is, for Java: counts, a line of JSON when the clock starts and one when all records were handled. */
final class Tally {
  private static final int PARTITIONS = 8;

  private final int total;
  private final long[] counts = new long[PARTITIONS];
  private final BitSet[] seen = new BitSet[PARTITIONS];
  private final Map<String, Long> last = new HashMap<>();
  private int warm;
  private int count;
  private int next;
  private int strange;
  private long began;
  private volatile boolean finished;

  /** The numbers are arguments of the command line: all records, and those before the clock starts. */
  Tally(String total, String warm) {
    this.total = Integer.parseInt(total);
    this.warm = Integer.parseInt(warm);
    this.next = this.warm;
    Arrays.setAll(seen, partition -> new BitSet());
  }

  boolean finished() {
    return finished;
  }

  /** One record, the next of its partition. For one thread. */
  void one(int partition, long offset) {
    if (counts[partition] != offset) {
      strange++;
    }
    counts[partition]++;
    count++;
    if (count >= next) {
      look();
    }
  }

  /** One record, in any order of its partition, but in the order of its key. For any thread. */
  synchronized void scattered(ConsumerRecord<String, ?> record) {
    var before = last.put(record.key(), record.offset());
    var there = seen[record.partition()];
    if (there.get((int) record.offset()) || before != null && before > record.offset()) {
      strange++;
    }
    there.set((int) record.offset());
    counts[record.partition()]++;
    count++;
    if (count >= next) {
      look();
    }
  }

  private void look() {
    if (began == 0) {
      began = System.nanoTime();
      warm = count;
      next = total;
      say("{\"warm\": true}");
    } else if (!finished) {
      double seconds = (System.nanoTime() - began) / 1e9;
      say(
          "{\"records\": %d, \"measured\": %d, \"seconds\": %s, \"per_partition\": %s, \"strange\": %d}"
              .formatted(count, count - warm, seconds, Arrays.toString(counts), strange));
      try {
        System.in.read(); // until the runner has read its figures
      } catch (java.io.IOException error) {
        throw new java.io.UncheckedIOException(error);
      }
      finished = true;
    }
  }

  private static void say(String line) {
    System.out.println(line);
    System.out.flush();
  }
}
