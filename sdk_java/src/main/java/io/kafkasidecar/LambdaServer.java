package io.kafkasidecar;

import io.kafkasidecar.internal.Client;
import io.kafkasidecar.internal.Endpoint;
import io.kafkasidecar.internal.Options;
import io.kafkasidecar.internal.Signals;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ThreadFactory;

/**
 * Serves a lambda: takes partitions from the sidecar and gives each a lambda and a thread of its own.
 *
 * <pre>{@code
 * LambdaServer.builder("words")
 *         .lambda((settings, partition) -> message -> {
 *             System.out.println(message.valueText());
 *             partition.checkpoint(message.offset());
 *         })
 *         .build()
 *         .run();
 * }</pre>
 *
 * <p>The environment says where the sidecar is ({@code KAFKA_SIDECAR_ADDRESS}, else {@code 127.0.0.1:50051}) and how to
 * talk to it ({@code KAFKA_SIDECAR_TOKEN}, {@code _CA}, {@code _CERT}, {@code _KEY}), unless the builder does.
 */
public final class LambdaServer {
    private static final Logger LOGGER = System.getLogger("io.kafkasidecar");
    private static final int REFUSED_CODE = 2;

    private final Client<?> client;

    private LambdaServer(Client<?> client) {
        this.client = client;
    }

    /**
     * Begins a server. Its lambdas get the settings as their resources, unless {@link Builder#resources} says more.
     *
     * @param name the lambda's name in the sidecar's config
     * @return a builder
     */
    public static Builder<Settings> builder(String name) {
        return new Builder<>(name, settings -> settings);
    }

    /**
     * Serves until SIGTERM or SIGINT, then drains, and returns: for a {@code main} that does nothing else. When {@code
     * main} returns too, the process ends with 0 after all shutdown hooks. A second signal ends it at once.
     *
     * <p>Where it cannot serve, it logs why and ends the process: with 2 when the sidecar refuses it or a setting cannot
     * be used, with 1 when the resources could not be loaded or a handler did not end in time.
     */
    public void run() {
        Thread hook = new Thread(this::stopAndWait, "kafka-sidecar-hook");
        Signals.onTerm(this::stop);
        Runtime.getRuntime().addShutdownHook(hook); // for System.exit of other code
        int code;
        try {
            List<String> left = serve();
            left.forEach(what -> LOGGER.log(Level.ERROR, () -> "did not end within the drain's time: " + what));
            code = left.isEmpty() ? 0 : 1;
        } catch (RefusedException | SettingsException error) {
            LOGGER.log(Level.ERROR, error::getMessage);
            code = REFUSED_CODE;
        } catch (Exception error) {
            LOGGER.log(Level.ERROR, () -> "this process cannot serve", error);
            code = 1;
        }
        try {
            Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException ending) {
            return; // System.exit of other code waits for the hook, and has a code of its own
        }
        if (code != 0) {
            System.exit(code);
        }
    }

    /**
     * Serves until {@link #stop}: for a process with a life of its own, without signals and exit codes.
     *
     * @return what did not end within the drain's time, in words; empty: everything ended
     * @throws RefusedException the sidecar refused the very first Offer; later refusals are logged and tried again
     * @throws SettingsException TLS with the sidecar cannot work with these settings
     * @throws Exception whatever the resources' factory threw
     */
    public List<String> serve() throws Exception {
        return client.serve();
    }

    /** Drains: running handlers end, lambdas close, last checkpoints are sent; then {@link #serve} returns. */
    public void stop() {
        client.stop();
    }

    private void stopAndWait() {
        client.stop();
        client.awaitEnd();
    }

    /**
     * Says what a server serves, and how.
     *
     * @param <R> what all partitions of the process share
     */
    public static final class Builder<R> {
        private final String name;
        private final ResourceFactory<R> resources;
        private LambdaFactory<R> lambdas;
        private String address;
        private String token;
        private Endpoint.Tls tls;
        private String version;
        private int maxPartitions = Integer.MAX_VALUE;
        private Duration drainTimeout = Duration.ofSeconds(10);
        private ThreadFactory threads = task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        };

        private Builder(String name, ResourceFactory<R> resources) {
            this.name = Objects.requireNonNull(name, "name");
            this.resources = resources;
        }

        /**
         * Says what to load once, before the process gets a partition. Call it first: it begins a new builder.
         *
         * @param <N> the resources; an {@link AutoCloseable} is closed at the end
         * @param factory loads them
         * @return a new builder
         */
        public <N> Builder<N> resources(ResourceFactory<N> factory) {
            return new Builder<>(name, Objects.requireNonNull(factory, "factory"));
        }

        /**
         * Says what makes the lambda of a partition.
         *
         * @param factory makes them
         * @return this
         */
        public Builder<R> lambda(LambdaFactory<R> factory) {
            lambdas = Objects.requireNonNull(factory, "factory");
            return this;
        }

        /**
         * Says where the sidecar is.
         *
         * @param newAddress {@code host:port}, or {@code unix:///path} on Linux
         * @return this
         */
        public Builder<R> address(String newAddress) {
            address = newAddress;
            return this;
        }

        /**
         * Says the token that the sidecar asks for.
         *
         * @param newToken {@code server.token} of its config
         * @return this
         */
        public Builder<R> token(String newToken) {
            token = newToken;
            return this;
        }

        /**
         * Encrypts. All files are PEM; the key is PKCS #8 without a password.
         *
         * @param ca the authorities to trust; null: the system's
         * @param certificate the client's certificate; null: none
         * @param key its key; null: none
         * @param serverName the name in the sidecar's certificate; null: the one that is dialled
         * @return this
         */
        public Builder<R> tls(Path ca, Path certificate, Path key, String serverName) {
            tls = new Endpoint.Tls(ca, certificate, key, serverName);
            return this;
        }

        /**
         * Says the version of the lambda's code, for operators and dead letters. {@code KAFKA_SIDECAR_LAMBDA_VERSION}
         * of the environment comes first.
         *
         * @param newVersion a short text
         * @return this
         */
        public Builder<R> version(String newVersion) {
            version = newVersion;
            return this;
        }

        /**
         * Bounds how many partitions the process takes at the same time.
         *
         * @param most at least 1
         * @return this
         */
        public Builder<R> maxPartitions(int most) {
            if (most < 1) {
                throw new IllegalArgumentException("maxPartitions: at least 1, got " + most);
            }
            maxPartitions = most;
            return this;
        }

        /**
         * Says how long the lambdas and the resources have to end when the process is asked to.
         *
         * @param time 10 s unless it is said
         * @return this
         */
        public Builder<R> drainTimeout(Duration time) {
            if (time.isNegative() || time.isZero()) {
                throw new IllegalArgumentException("drainTimeout: positive, got " + time);
            }
            drainTimeout = time;
            return this;
        }

        /**
         * Says what makes the thread of each partition, such as {@code Thread.ofVirtual().factory()} from Java 21 on.
         *
         * @param factory platform threads that are daemons, unless it is said
         * @return this
         */
        public Builder<R> threads(ThreadFactory factory) {
            threads = Objects.requireNonNull(factory, "factory");
            return this;
        }

        /**
         * Makes the server. It connects when it runs.
         *
         * @return the server
         * @throws SettingsException when an address or a file cannot be used
         */
        public LambdaServer build() {
            Objects.requireNonNull(lambdas, "say what handles the messages: builder(...).lambda(...)");
            Map<String, String> environment = System.getenv();
            String told = environment.getOrDefault("KAFKA_SIDECAR_LAMBDA_VERSION", "");
            return new LambdaServer(new Client<>(new Options<>(
                    name,
                    resources,
                    lambdas,
                    Endpoint.of(address, token, tls, environment),
                    environment,
                    told.isEmpty() ? Objects.requireNonNullElse(version, "") : told,
                    maxPartitions,
                    drainTimeout.toMillis(),
                    threads)));
        }
    }
}
