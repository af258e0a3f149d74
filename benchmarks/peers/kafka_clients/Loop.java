import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** A consumer loop of Kafka's Java client, which commits each second. Talks to its runner as tally.py says. */
final class Loop {
  private final int total;
  private final long[] counts = new long[8];
  private int warm;
  private int count;
  private int next;
  private int strange;
  private long began;
  private boolean finished;

  private Loop(int total, int warm) {
    this.total = total;
    this.warm = warm;
    this.next = warm;
  }

  public static void main(String[] arguments) throws Exception {
    Loop loop = new Loop(Integer.parseInt(arguments[3]), Integer.parseInt(arguments[4]));
    Properties properties = new Properties();
    properties.put("bootstrap.servers", arguments[0]);
    properties.put("group.id", arguments[2]);
    properties.put("auto.offset.reset", "earliest");
    properties.put("auto.commit.interval.ms", "1000");
    properties.put("max.poll.records", "1000");
    var bytes = new ByteArrayDeserializer();
    try (var consumer = new KafkaConsumer<>(properties, bytes, bytes)) {
      consumer.subscribe(List.of(arguments[1]));
      while (!loop.finished) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
          loop.one(record.partition(), record.offset());
        }
      }
      consumer.commitSync();
    }
  }

  private void one(int partition, long offset) throws Exception {
    if (counts[partition] != offset) {
      strange++;
    }
    counts[partition]++;
    count++;
    if (count >= next) {
      look();
    }
  }

  private void look() throws Exception {
    if (began == 0) {
      began = System.nanoTime();
      warm = count;
      next = total;
      say("{\"warm\": true}");
    } else if (!finished) {
      finished = true;
      double seconds = (System.nanoTime() - began) / 1e9;
      say(
          "{\"records\": %d, \"measured\": %d, \"seconds\": %s, \"per_partition\": %s, \"strange\": %d}"
              .formatted(count, count - warm, seconds, Arrays.toString(counts), strange));
      System.in.read(); // until the runner has read its figures
    }
  }

  private static void say(String line) {
    System.out.println(line);
    System.out.flush();
  }
}
