package clients;

import io.kafkasidecar.LambdaServer;
import io.kafkasidecar.Message;
import java.util.concurrent.atomic.LongAdder;

/** The lambda of the benchmark: it counts each record, and checkpoints it. The first argument is the lambda's name. */
final class Noop {
    private static final LongAdder COUNT = new LongAdder();

    private Noop() {}

    public static void main(String[] arguments) {
        LambdaServer.builder(arguments[0])
                .lambda((settings, partition) -> (Message message) -> {
                    COUNT.increment();
                    partition.checkpoint(message.offset());
                })
                .build()
                .run();
        System.out.println(COUNT.sum() + " records");
    }
}
