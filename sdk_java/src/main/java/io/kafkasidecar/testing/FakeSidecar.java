package io.kafkasidecar.testing;

import static java.nio.charset.StandardCharsets.UTF_8;

import io.kafkasidecar.LambdaFactory;
import io.kafkasidecar.Message;
import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.TimestampType;
import io.kafkasidecar.internal.Host;
import io.kafkasidecar.internal.Life;
import io.kafkasidecar.internal.Limits;
import io.kafkasidecar.internal.Terms;
import io.kafkasidecar.internal.Work;
import io.kafkasidecar.v1.Assigned;
import io.kafkasidecar.v1.RevokeReason;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * Runs a lambda in a unit test, without Kafka, gRPC and ports. The code that calls the lambda is the same as in
 * production; only the stream and the sidecar are played.
 *
 * <pre>{@code
 * try (FakeSidecar sidecar = FakeSidecar.start(resources, Words::new)) {
 *     sidecar.feed("one", "two");
 *     assertEquals(List.of(0L, 1L), sidecar.checkpoints());
 *     sidecar.rebalance(); // closes the lambda, and makes a new one after the checkpoint
 * }
 * }</pre>
 *
 * <p>It has one partition. A lambda that paused stays paused, whatever the time it gave, until it or the test resumes
 * it. Its methods belong to the test's thread.
 */
public final class FakeSidecar implements AutoCloseable {
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private static final int WINDOW = 10_000;
    private static final int MAX_STATE_BYTES = 2048;

    private final Work work = new Work();
    private final Host.Maker maker;
    private final Builder<?> config;
    private final List<Message> log = new ArrayList<>();
    private final Played played;
    private int leases;
    private Life life;

    private <R> FakeSidecar(Builder<R> config) {
        this.config = config;
        this.maker = handle -> config.factory.create(config.resources, handle);
        this.played = new Played(work, log, config);
    }

    /**
     * Begins to say which partition the lambda gets, and how.
     *
     * @param <R> what all partitions of a process share
     * @param resources what the lambda gets
     * @param factory makes the lambda
     * @return for partition 0 of the topic {@code test}, from offset 0 on
     */
    public static <R> Builder<R> builder(R resources, LambdaFactory<R> factory) {
        return new Builder<>(resources, factory);
    }

    /**
     * Which partition the lambda gets, and how.
     *
     * @param <R> what all partitions of a process share
     */
    public static final class Builder<R> {
        private final R resources;
        private final LambdaFactory<R> factory;
        String topic = "test";
        int partition;
        int lane;
        int lanes = 1;
        long startOffset;
        byte[] state = {};
        boolean exactlyOnce;
        boolean holdCommits;

        private Builder(R resources, LambdaFactory<R> factory) {
            this.resources = resources;
            this.factory = factory;
        }

        /**
         * Another partition.
         *
         * @param newTopic its topic
         * @param number its number
         * @return this
         */
        public Builder<R> partition(String newTopic, int number) {
            topic = newTopic;
            partition = number;
            return this;
        }

        /**
         * One lane of the partition; otherwise the whole.
         *
         * @param number its number, from 0
         * @param count how many lanes there are
         * @return this
         */
        public Builder<R> lane(int number, int count) {
            lane = number;
            lanes = count;
            return this;
        }

        /**
         * Where the lambda starts.
         *
         * @param offset of the first message
         * @return this
         */
        public Builder<R> startOffset(long offset) {
            startOffset = offset;
            return this;
        }

        /**
         * The state with which the first lambda starts; otherwise none.
         *
         * @param bytes the state
         * @return this
         */
        public Builder<R> state(byte[] bytes) {
            state = bytes.clone();
            return this;
        }

        /**
         * The guarantee exactly-once: what the lambda produces is held until a checkpoint covers it.
         *
         * @return this
         */
        public Builder<R> exactlyOnce() {
            exactlyOnce = true;
            return this;
        }

        /**
         * Checkpoints are committed by {@link FakeSidecar#commit} only; otherwise each is committed at once.
         *
         * @return this
         */
        public Builder<R> holdCommits() {
            holdCommits = true;
            return this;
        }

        /**
         * Makes the lambda.
         *
         * @return a sidecar whose lambda runs
         */
        public FakeSidecar start() {
            FakeSidecar sidecar = new FakeSidecar(this);
            sidecar.assign();
            return sidecar;
        }
    }

    /**
     * Makes a lambda for partition 0 of the topic {@code test}, from offset 0 on.
     *
     * @param <R> what all partitions of a process share
     * @param resources what the lambda gets
     * @param factory makes the lambda
     * @return a sidecar whose lambda runs
     */
    public static <R> FakeSidecar start(R resources, LambdaFactory<R> factory) {
        return builder(resources, factory).start();
    }

    /**
     * Makes a lambda for a partition.
     *
     * @param <R> what all partitions of a process share
     * @param resources what the lambda gets
     * @param factory makes the lambda
     * @param topic the partition's topic
     * @param partition its number
     * @param startOffset where it starts
     * @return a sidecar whose lambda runs
     */
    public static <R> FakeSidecar start(
            R resources, LambdaFactory<R> factory, String topic, int partition, long startOffset) {
        return builder(resources, factory)
                .partition(topic, partition)
                .startOffset(startOffset)
                .start();
    }

    // -------------------------------------------------------------------------------- what the test does

    /**
     * Appends values without keys to the log; returns when the lambda has handled them, paused, or ended.
     *
     * @param values texts in UTF-8
     * @return the messages
     */
    public List<Message> feed(String... values) {
        List<Message> messages = new ArrayList<>();
        for (String value : values) {
            messages.add(new Message(
                    config.topic,
                    config.partition,
                    played.nextOffset() + messages.size(),
                    -1,
                    TimestampType.NONE,
                    null,
                    value.getBytes(UTF_8),
                    List.of()));
        }
        feed(messages);
        return messages;
    }

    /**
     * Appends messages to the log as they are; returns as {@link #feed(String...)} does. Without a running lambda they
     * wait for the next one, in a pause for its end.
     *
     * @param messages with ascending offsets
     */
    public void feed(List<Message> messages) {
        played.append(messages);
        played.deliver();
        settle();
    }

    /** Takes the partition away and gives it to a new lambda, as a rebalance does. */
    public void rebalance() {
        revoke(Duration.ofSeconds(2));
        played.attempt = 0;
        assign();
    }

    /**
     * Takes the partition away.
     *
     * @param deadline how long the lambda has
     */
    public void revoke(Duration deadline) {
        played.revoke(RevokeReason.REVOKE_REASON_REBALANCE, deadline);
        awaitEnd();
    }

    /** Breaks the stream of a lambda that runs, and makes a new one after the checkpoint, as after a crash or error. */
    public void restart() {
        played.breakStream();
        awaitEnd();
        assign();
    }

    /** Ends the lambda as SIGTERM does. */
    public void stop() {
        life.stop();
        awaitEnd();
    }

    /** Ends the lambda's pause, as an operator or its time does; returns as {@link #feed(String...)} does. */
    public void resume() {
        if (!played.resume()) {
            throw new IllegalStateException("the lambda is not paused");
        }
        settle();
    }

    /**
     * Has all records fail that the lambda produces from now on.
     *
     * @param reason why; null: they are written again
     */
    public void failProduce(String reason) {
        played.produceError(reason);
    }

    /**
     * Aborts, with exactly-once, the transaction: what is held is dropped, and the lambda ends. {@link #restart} makes a
     * new one after the checkpoint.
     */
    public void abort() {
        played.abort();
        awaitEnd();
    }

    /** Commits the checkpoint in Kafka, and tells the lambda. Only {@link Builder#holdCommits} needs it. */
    public void commit() {
        played.commit();
    }

    /**
     * Waits until this text is the lambda's latest sign of life. The second comes a second after the first.
     *
     * @param text the text
     */
    public void awaitProgress(String text) {
        await(played.said(text));
    }

    /** Waits until the lambda ended and is closed, such as after an error in a thread of its own. */
    public void awaitEnd() {
        await(life.closed);
        await(played.over());
    }

    /**
     * Waits until the checkpoint is at this offset or after it.
     *
     * @param offset the offset
     */
    public void awaitCheckpoint(long offset) {
        await(played.checkpointed(offset));
    }

    @Override
    public void close() {
        stop();
        work.close();
    }

    // ------------------------------------------------------------------------------- what the test sees

    /**
     * All checkpoints that counted.
     *
     * @return offsets in order
     */
    public List<Long> checkpoints() {
        return played.checkpoints();
    }

    /**
     * The last checkpoint.
     *
     * @return its offset; empty: there is none
     */
    public OptionalLong checkpoint() {
        List<Long> all = checkpoints();
        return all.isEmpty() ? OptionalLong.empty() : OptionalLong.of(all.get(all.size() - 1));
    }

    /**
     * All errors and reports.
     *
     * @return in order
     */
    public List<LambdaError> errors() {
        return played.errors();
    }

    /**
     * All records that the lambda produced and that were written.
     *
     * @return in order
     */
    public List<OutputRecord> sent() {
        return played.sent();
    }

    /**
     * The state of the last checkpoint, or of the last one before it that had any.
     *
     * @return the bytes; empty: none
     */
    public byte[] state() {
        return played.state();
    }

    /**
     * The latest sign of life that came. One a second comes at most: see {@link #awaitProgress}.
     *
     * @return its text; empty: none came
     */
    public String progress() {
        return played.sign();
    }

    /**
     * With exactly-once, the records that wait for a checkpoint. Nobody sees them yet.
     *
     * @return in order
     */
    public List<OutputRecord> held() {
        return played.held();
    }

    /**
     * How many messages after the checkpoint are done, as the lambda said last.
     *
     * @return the number
     */
    public int completedBeyond() {
        return played.completedBeyond();
    }

    /**
     * The reason of the lambda's pause.
     *
     * @return the reason; empty: it is not paused
     */
    public Optional<String> paused() {
        return isRunning() ? played.paused() : Optional.empty();
    }

    /**
     * Whether a lambda has the partition.
     *
     * @return false after an error, until {@link #restart}
     */
    public boolean isRunning() {
        return !life.isEnding();
    }

    // ------------------------------------------------------------------------------------------- inside

    private void assign() {
        Assigned assigned = played.assign("lease-" + ++leases);
        Host host = new Host(
                "test",
                maker,
                played,
                played,
                work,
                Work.daemons("partition"),
                new Terms(WINDOW, Terms.DEFAULT_WINDOW_BYTES, MAX_STATE_BYTES / config.lanes, config.exactlyOnce, true),
                Limits.DEFAULT,
                Duration.ofSeconds(8).toMillis());
        life = new Life(assigned, played, host);
        played.begin(life);
        life.start(CompletableFuture.completedFuture(null));
        await(CompletableFuture.anyOf(played.ready(), life.closed));
        played.deliver();
        settle();
    }

    private void settle() {
        try {
            if (!life.awaitSettled(PATIENCE.toNanos())) {
                throw new AssertionError("the lambda has not handled all messages after " + PATIENCE);
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while the lambda works", error);
        }
        if (life.isEnding()) {
            awaitEnd();
        }
    }

    private static void await(CompletableFuture<?> future) {
        future.copy().orTimeout(PATIENCE.toMillis(), TimeUnit.MILLISECONDS).join();
    }
}
