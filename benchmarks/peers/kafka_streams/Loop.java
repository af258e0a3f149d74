import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;

/**
 * Kafka Streams with one thread.
 *
 * <p>BROKER TOPIC GROUP TOTAL WARM FOLDER: a processor that counts, at least once, commits each second.
 *
 * <p>copy BROKER TOPIC GROUP COPY GUARANTEE FOLDER: writes each record to another topic, until it is ended. Commits
 * every 100 ms, which is its default for exactly once.
 */
final class Loop {
  public static void main(String[] arguments) throws InterruptedException {
    if (arguments[0].equals("copy")) {
      var builder = new StreamsBuilder();
      source(builder, arguments[2]).to(arguments[4], Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
      var streams = start(builder, arguments[1], arguments[3], arguments[5], 100, arguments[6]);
      Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
      Thread.currentThread().join();
    }
    var tally = new Tally(arguments[3], arguments[4]);
    var builder = new StreamsBuilder();
    source(builder, arguments[1]).process(() -> new Counter(tally));
    var streams = start(builder, arguments[0], arguments[2], "at_least_once", 1000, arguments[5]);
    while (!tally.finished()) {
      Thread.sleep(10);
    }
    streams.close();
  }

  private static KStream<byte[], byte[]> source(StreamsBuilder builder, String topic) {
    return builder.stream(topic, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()));
  }

  private static KafkaStreams start(
      StreamsBuilder builder, String broker, String group, String guarantee, int commitMs, String folder) {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", broker);
    properties.put("application.id", group);
    properties.put("processing.guarantee", guarantee);
    properties.put("commit.interval.ms", commitMs);
    properties.put("state.dir", folder);
    var streams = new KafkaStreams(builder.build(), properties);
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace(); // a run that restarts a thread would only look slow
          Runtime.getRuntime().halt(1);
          return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    streams.start();
    return streams;
  }

  /** Counts the records of all partitions; the one thread has all of them. */
  private static final class Counter extends ContextualProcessor<byte[], byte[], Void, Void> {
    private final Tally tally;

    Counter(Tally tally) {
      this.tally = tally;
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
      var place = context().recordMetadata().orElseThrow();
      tally.one(place.partition(), place.offset());
    }
  }
}
