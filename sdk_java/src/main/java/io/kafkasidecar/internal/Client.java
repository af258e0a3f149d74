package io.kafkasidecar.internal;

import io.kafkasidecar.RefusedException;
import io.kafkasidecar.Settings;
import io.kafkasidecar.SettingsException;
import io.kafkasidecar.v1.Assigned;
import io.kafkasidecar.v1.Offer;
import io.kafkasidecar.v1.Welcome;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.security.cert.CertificateException;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * One process's client for one lambda: keeps one spare stream open, and begins a {@link Life} for each that gets a
 * partition. The thread that calls {@link #serve} opens the streams, one after the other, so there is never more than
 * one spare.
 *
 * <pre>
 * Offer ──▶ Welcome ──▶ resources (once) ──▶ Available ──▶ Assigned ──▶ a Life, and the next Offer
 *   ▲                                            │
 *   └──── back-off ◀──── the stream broke ───────┘
 * </pre>
 *
 * @param <R> the resources
 */
public final class Client<R> {
    private static final int PROTOCOL_VERSION = 1;
    private static final long MIN_BACKOFF_MS = 100;
    private static final long MAX_BACKOFF_MS = 2000; // a sidecar that comes back is found within this time
    private static final long MIN_REFUSED_MS = 5000;
    private static final long MAX_REFUSED_MS = 30_000;
    private static final long STABLE_MS = 1000; // a stream that lived so long worked: the next retry is immediate
    private static final long SAY_AGAIN_MS = 60_000;
    private static final double LOADING_SHARE = 0.7; // of the drain's time; then the thread that loads is interrupted
    private static final double LIVES_SHARE = 0.8; // of the drain's time; the rest is for the resources

    private final Options<R> options;
    private final Log log;
    private final Work work = new Work();
    private final Connection connection;
    private final CheckpointSender sender;
    private final Offer offer;
    private final Set<Life> all = new HashSet<>(); // those that have not ended; guarded by this
    private final CompletableFuture<Void> stopping = new CompletableFuture<>();
    private final CompletableFuture<Void> served = new CompletableFuture<>();
    private List<String> left = List.of();
    private Spare spare; // guarded by this
    private Thread loading; // guarded by this; null: no resources are being loaded
    private R resources; // the offering thread writes it before the first life begins
    private boolean created;
    private String settingsJson;
    private boolean welcomed;
    private String said = "";
    private long saidAt;

    /** Makes a client, which connects when it serves. */
    public Client(Options<R> options) {
        this.options = options;
        this.log = new Log(options.name());
        this.connection = new Connection(options.endpoint());
        this.sender = new CheckpointSender(connection::checkpoint, work, log);
        this.offer = offerOf(options);
    }

    private static Offer offerOf(Options<?> options) {
        long pid = ProcessHandle.current().pid();
        String version = Objects.requireNonNullElse(Client.class.getPackage().getImplementationVersion(), "unknown");
        Offer.Builder offer = Offer.newBuilder()
                .setLambdaName(options.name())
                .setProcessId(UUID.randomUUID().toString())
                .setInstance(Texts.clip(hostName() + ":" + pid, 256))
                .setProtocolVersion(PROTOCOL_VERSION)
                .setMaxMessageBytes(Endpoint.MAX_MESSAGE_BYTES)
                .setPid((int) pid)
                .setLambdaVersion(Texts.clip(options.lambdaVersion(), 256))
                .addCapabilities(Terms.COMMITTED)
                .addCapabilities(Terms.EXACTLY_ONCE);
        offer.getClientBuilder()
                .setName("kafka-sidecar-sdk-java")
                .setVersion(version)
                .setLanguage(Texts.clip("java " + System.getProperty("java.version"), 256));
        return offer.build();
    }

    private static String hostName() {
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException unknown) {
            return "localhost";
        }
    }

    /** Drains and ends; {@link #serve} returns when that is done. Any thread may call it, more than once. */
    public void stop() {
        if (!stopping.complete(null)) {
            return;
        }
        Spare waiting;
        synchronized (this) {
            waiting = spare;
        }
        if (waiting != null) {
            waiting.stop();
        }
        work.tick((long) (options.drainMillis() * LOADING_SHARE), this::interruptLoading);
    }

    private synchronized void interruptLoading() {
        if (loading != null) {
            log.warn("interrupts the loading of the resources: its time is over");
            loading.interrupt();
        }
    }

    /**
     * Serves until {@link #stop}; returns what did not end within the drain's time, in words.
     *
     * @throws RefusedException the sidecar refused the very first Offer
     * @throws SettingsException TLS with the sidecar cannot work with these settings
     * @throws Exception whatever the resources' factory threw
     */
    public List<String> serve() throws Exception {
        try {
            keepOffering();
        } finally {
            stopping.complete(null);
            left = drain();
            closeResources();
            connection.close();
            work.close();
            served.complete(null);
        }
        return left;
    }

    /** Waits until {@link #serve} is about to return. */
    public void awaitEnd() {
        served.join();
    }

    // -------------------------------------------------------------------------------------------- offering

    private void keepOffering() throws Exception {
        int failures = 0;
        while (!stopping.isDone()) {
            long began = System.nanoTime();
            long delay;
            try {
                awaitRoom();
                if (offerOnce()) {
                    failures = 0;
                }
                continue;
            } catch (Spare.StoppedException stopped) {
                return;
            } catch (RefusedException refused) {
                if (!welcomed) {
                    throw refused;
                }
                say(Texts.messageOf(refused) + "; asking again in case the config changes");
                failures = lived(began) ? 0 : failures;
                delay = Math.min(MAX_REFUSED_MS, MIN_REFUSED_MS << failures);
            } catch (LinkException | Spare.SilenceException broken) {
                noticed(broken);
                failures = lived(began) ? 0 : failures;
                // The first retry is immediate: usually the sidecar was restarted, or an idle connection was cut.
                delay = failures == 0 ? 0 : Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS << (failures - 1));
            }
            failures = Math.min(failures + 1, 10);
            pause(delay);
            awaitLostLives();
        }
    }

    private void noticed(Exception broken) {
        if (broken instanceof Spare.SilenceException) {
            say("the sidecar at " + options.endpoint().address() + " does not answer: all its streams are given up");
            connection.reset();
            return;
        }
        if (!welcomed && hasCause(broken, CertificateException.class)) {
            throw new SettingsException("no TLS with " + options.endpoint().address() + ": "
                    + Texts.messageOf(broken) + "; KAFKA_SIDECAR_CA names the authority that signed its certificate,"
                    + " and the address has to be a name in it");
        }
        say("waits for the sidecar at " + options.endpoint().address() + ": " + Texts.messageOf(broken));
    }

    private static boolean hasCause(Throwable error, Class<? extends Throwable> kind) {
        for (Throwable at = error; at != null; at = at.getCause()) {
            if (kind.isInstance(at)) {
                return true;
            }
        }
        return false;
    }

    private static boolean lived(long began) {
        return System.nanoTime() - began > TimeUnit.MILLISECONDS.toNanos(STABLE_MS);
    }

    private void pause(long millis) throws InterruptedException {
        long jittered = millis == 0 ? 0 : ThreadLocalRandom.current().nextLong(millis / 2, millis);
        waitFor(stopping, jittered);
    }

    /** Waits for a future, for so long at most; returns whether it completed. */
    private static boolean waitFor(CompletableFuture<?> future, long millis) throws InterruptedException {
        try {
            future.get(millis, TimeUnit.MILLISECONDS);
            return true;
        } catch (TimeoutException late) {
            return false;
        } catch (ExecutionException error) {
            throw new IllegalStateException(error); // none of those that are waited for fails
        }
    }

    private void awaitRoom() {
        while (true) {
            CompletableFuture<?>[] running;
            synchronized (this) {
                if (all.size() < options.maxPartitions() || stopping.isDone()) {
                    return;
                }
                running = all.stream().map(life -> life.closed).toArray(CompletableFuture<?>[]::new);
            }
            CompletableFuture.anyOf(stopping, CompletableFuture.anyOf(running)).join();
        }
    }

    /**
     * Waits after a stream broke until the lambdas whose streams broke too are closed: a lease fences checkpoints, but
     * not what a handler that still runs writes to a database.
     */
    private void awaitLostLives() throws InterruptedException {
        CompletableFuture<?>[] lost;
        synchronized (this) {
            lost = all.stream().filter(Life::isEnding).map(life -> life.closed).toArray(CompletableFuture<?>[]::new);
        }
        CompletableFuture<?> closed = CompletableFuture.anyOf(stopping, CompletableFuture.allOf(lost));
        if (!waitFor(closed, options.drainMillis())) {
            say("a lambda whose stream broke does not end; its partition waits for it here, others go on");
        }
    }

    /** Keeps one spare stream until it gets a partition. */
    private boolean offerOnce() throws Exception {
        Spare opened = new Spare(connection, offer);
        boolean taken = false;
        synchronized (this) {
            spare = opened;
        }
        try {
            if (stopping.isDone()) { // it may have come before `spare` was there to be stopped
                throw new Spare.StoppedException();
            }
            boolean loaded = created;
            if (loaded) { // saves a round trip: the sidecar reads it when it has written its Welcome
                opened.sendAvailable();
            }
            Welcome welcome = opened.awaitWelcome();
            welcomed = true;
            say("connected to sidecar " + welcome.getSidecarVersion() + " at "
                    + options.endpoint().address());
            Limits limits = Limits.told(welcome.getLimits());
            sender.limits(limits);
            load(welcome);
            if (!loaded) {
                opened.sendAvailable();
            }
            begin(opened.awaitAssigned(), opened.stream(), welcome, limits);
            taken = true;
            return true;
        } finally {
            synchronized (this) {
                spare = null;
            }
            if (!taken) {
                opened.end(stopping.isDone(), work);
            }
        }
    }

    private void load(Welcome welcome) throws Exception {
        String json = welcome.getSettingsJson();
        if (!created) {
            Settings settings = Settings.of(json, options.environment());
            mark(Thread.currentThread());
            try {
                resources = options.resources().create(settings);
            } catch (InterruptedException error) {
                if (stopping.isDone()) {
                    throw new Spare.StoppedException();
                }
                throw error;
            } finally {
                mark(null);
            }
            settingsJson = json;
            created = true;
        } else if (!json.equals(settingsJson)) {
            settingsJson = json;
            log.warn("the sidecar has other settings now: restart this process to use them");
        }
    }

    private synchronized void mark(Thread thread) {
        loading = thread;
    }

    private void begin(Assigned assigned, Stream stream, Welcome welcome, Limits limits) {
        Host host = new Host(
                options.name(),
                partition -> options.lambdas().create(resources, partition),
                sender,
                connection,
                work,
                options.threads(),
                Terms.told(welcome),
                limits,
                (long) (options.drainMillis() * LIVES_SHARE));
        Life life = new Life(assigned, stream, host);
        CompletableFuture<?>[] before;
        synchronized (this) {
            before = all.stream().filter(life::overlaps).map(old -> old.closed).toArray(CompletableFuture<?>[]::new);
            all.add(life);
        }
        sender.add(life.progress);
        var unused = CompletableFuture.allOf(life.closed, life.over).whenComplete((none, error) -> ended(life));
        life.start(CompletableFuture.allOf(before));
        stream.become(life);
        stream.request();
        if (stopping.isDone()) {
            life.stop();
        }
    }

    private synchronized void ended(Life life) {
        all.remove(life);
    }

    // --------------------------------------------------------------------------------------------- the end

    /** Ends all lives at the same time; returns what is left after the drain's time, in words. */
    private List<String> drain() throws InterruptedException {
        List<Life> running;
        synchronized (this) {
            running = List.copyOf(all);
        }
        if (running.isEmpty()) {
            return List.of();
        }
        log.info("drains %d partitions", running.size());
        running.forEach(Life::stop);
        CompletableFuture<?>[] ends = running.stream()
                .map(life -> CompletableFuture.allOf(life.closed, life.over))
                .toArray(CompletableFuture<?>[]::new);
        waitFor(CompletableFuture.allOf(ends), options.drainMillis());
        return running.stream()
                .map(Life::leftBehind)
                .filter(text -> !text.isEmpty())
                .toList();
    }

    private void closeResources() {
        if (created && resources instanceof AutoCloseable closeable) {
            try {
                closeable.close();
            } catch (Exception error) {
                log.error(error, "the resources could not be closed");
            }
        }
    }

    /** Logs what happens with the sidecar: when it changes, and now and then while it stays. */
    private void say(String text) {
        long now = System.nanoTime() / 1_000_000;
        if (!text.equals(said) || now - saidAt > SAY_AGAIN_MS) {
            said = text;
            saidAt = now;
            log.info("%s", text);
        }
    }
}
