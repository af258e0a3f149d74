import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** A consumer loop of Kafka's Java client, which commits each second. */
final class Loop {
  public static void main(String[] arguments) {
    var tally = new Tally(arguments[3], arguments[4]);
    Properties properties = new Properties();
    properties.put("bootstrap.servers", arguments[0]);
    properties.put("group.id", arguments[2]);
    properties.put("auto.offset.reset", "earliest");
    properties.put("auto.commit.interval.ms", "1000");
    properties.put("max.poll.records", "1000");
    var bytes = new ByteArrayDeserializer();
    try (var consumer = new KafkaConsumer<>(properties, bytes, bytes)) {
      consumer.subscribe(List.of(arguments[1]));
      while (!tally.finished()) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
          tally.one(record.partition(), record.offset());
        }
      }
      consumer.commitSync();
    }
  }
}
