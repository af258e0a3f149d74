import static io.confluent.parallelconsumer.ParallelConsumerOptions.DEFAULT_MAX_CONCURRENCY;

import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Confluent's Parallel Consumer in its defaults: the order of keys, 16 threads. It commits each second.
 *
 * <p>Two more arguments: another number of threads, and for how many milliseconds each record waits.
 */
final class Loop {
  public static void main(String[] arguments) throws InterruptedException {
    var tally = new Tally(arguments[3], arguments[4]);
    Properties properties = new Properties();
    properties.put("bootstrap.servers", arguments[0]);
    properties.put("group.id", arguments[2]);
    properties.put("auto.offset.reset", "earliest");
    properties.put("enable.auto.commit", "false");
    properties.put("max.poll.records", "1000");
    var consumer = new KafkaConsumer<>(properties, new StringDeserializer(), new ByteArrayDeserializer());
    var options =
        ParallelConsumerOptions.<String, byte[]>builder()
            .consumer(consumer)
            .commitInterval(Duration.ofSeconds(1))
            .maxConcurrency(arguments.length > 5 ? Integer.parseInt(arguments[5]) : DEFAULT_MAX_CONCURRENCY)
            .build();
    int waitMs = arguments.length > 6 ? Integer.parseInt(arguments[6]) : 0;
    try (var processor = ParallelStreamProcessor.createEosStreamProcessor(options)) { // its name: no transactions here
      processor.subscribe(List.of(arguments[1]));
      processor.poll(
          context -> {
            if (waitMs > 0) {
              await(waitMs);
            }
            tally.scattered(context.getSingleConsumerRecord());
          });
      while (!tally.finished()) {
        Thread.sleep(10);
      }
      processor.closeDrainFirst();
    }
  }

  private static void await(int milliseconds) {
    try {
      Thread.sleep(milliseconds);
    } catch (InterruptedException error) {
      throw new IllegalStateException(error);
    }
  }
}
