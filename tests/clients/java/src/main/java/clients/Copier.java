package clients;

import static java.nio.charset.StandardCharsets.UTF_8;

import io.kafkasidecar.Lambda;
import io.kafkasidecar.LambdaServer;
import io.kafkasidecar.Message;
import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.Partition;
import io.kafkasidecar.Produced;
import io.kafkasidecar.Settings;
import java.util.concurrent.CompletableFuture;

/**
 * The lambda of the exactly-once runs: it copies records. Its settings, copies and states are those of
 * tests/integration/sdk_copier.py. The first argument is the lambda's name.
 */
final class Copier implements Lambda {
    private final Partition partition;
    private final String out;
    private final boolean awaited;
    private long count;

    /** Goes on with the count of the lambda before it. */
    private Copier(Settings settings, Partition partition) {
        this.partition = partition;
        this.out = settings.required("out");
        this.awaited = settings.required("how").equals("awaited");
        byte[] state = partition.state();
        this.count = state.length == 0 ? 0 : Long.parseLong(new String(state, UTF_8));
    }

    @Override
    public void handle(Message message) throws Exception {
        count++;
        String value = partition.number() + ":" + message.offset() + ":" + partition.lane() + ":" + count;
        OutputRecord copy = OutputRecord.of(out, value).withKey(message.key()).withPartition(partition.number());
        CompletableFuture<Produced> held = partition.produce(copy);
        if (awaited) {
            held.get();
        }
        partition.checkpoint(message.offset(), Long.toString(count).getBytes(UTF_8));
    }

    public static void main(String[] arguments) {
        LambdaServer.builder(arguments[0]).lambda(Copier::new).build().run();
    }
}
