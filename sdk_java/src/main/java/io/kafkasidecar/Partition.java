package io.kafkasidecar;

import java.time.Duration;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;

/**
 * What a lambda can say about its partition. One of these belongs to one lambda.
 *
 * <p>All methods may be called in any thread. They return at once and never wait for the network. After the lambda's end
 * they do nothing.
 */
public interface Partition {
    /**
     * The topic.
     *
     * @return its name
     */
    String topic();

    /**
     * The number of this partition.
     *
     * @return its number
     */
    int number();

    /**
     * Which lane of the partition this is. A lane has the messages of some of the partition's keys, in order. Messages,
     * offsets and checkpoints are of the lane alone: other lambdas, here or elsewhere, have the other lanes.
     *
     * @return its number, from 0
     */
    int lane();

    /**
     * How many lanes the partition has.
     *
     * @return the number; 1: it has none, and this is the whole partition
     */
    int lanes();

    /**
     * The state that was given by {@link #checkpoint(long, byte[])} with the checkpoint where this lambda starts, or with
     * the last one before it that had any.
     *
     * @return a copy; empty: none
     */
    byte[] state();

    /**
     * What the sidecar promises for what the lambda produces.
     *
     * @return the lambda's {@code guarantee} in the sidecar's config
     */
    Guarantee guarantee();

    /**
     * Where this lambda starts: its first message has this offset or a higher one.
     *
     * @return the offset; empty: not known yet
     */
    OptionalLong startOffset();

    /**
     * The number of this try.
     *
     * @return 1 for the first lambda that starts at this offset, then 2, 3, ... while each fails without a checkpoint
     */
    int attempt();

    /**
     * Says that all messages up to and including {@code offset} are processed. Call it as often as you like: only the
     * latest is sent. An offset below an earlier one is ignored, and so is any after {@code error}.
     *
     * <p>It is told to the sidecar when the outcome of all is known that was {@linkplain #produce produced} before.
     *
     * @param offset the offset of a message, not one more
     * @throws IllegalArgumentException when it is negative
     */
    void checkpoint(long offset);

    /**
     * The same with a few bytes that belong to the offset, such as a count. They are committed to Kafka with it, and the
     * next lambda that starts from there gets them by {@link #state}. A checkpoint that is ignored has its state ignored.
     *
     * @param offset the offset of a message, not one more
     * @param state the bytes; null: those of the checkpoint before it hold; empty: none from here on
     * @throws IllegalArgumentException when the offset is negative
     * @throws StateException when the state is longer than the sidecar keeps; then nothing is checkpointed
     */
    void checkpoint(long offset, byte[] state);

    /**
     * Waits until everything up to and including {@code offset} is committed in Kafka, such as before an acknowledgement
     * to whoever the messages are from. It makes no checkpoint. A checkpoint is committed some time after it was made, so
     * the handler had better not wait for its own message: that would hold up all that come after it.
     *
     * @param offset the offset of a message
     * @return completes when it is committed, in a thread of the SDK, whose continuations may block; it fails with a
     *     {@link NotCommittedException} when the lease ends before, or the sidecar cannot tell
     */
    CompletableFuture<Void> committed(long offset);

    /**
     * Gives a sign of life of long work, for a lambda with a {@code deadline} in the sidecar's config: the time counts
     * from here again. It is sent at once, and then at most once a second with the latest text.
     *
     * @param text what operators see, such as "43 %"; 256 bytes are shown
     */
    void progress(String text);

    /**
     * Says that messages after the checkpoint are done too, although one before them is not: they no longer fill the
     * window. The numbers replace the earlier ones. After a restart these messages are delivered again.
     *
     * @param count how many messages
     * @param bytes the sum of the bytes of their keys and values
     */
    void completedBeyond(int count, long bytes);

    /**
     * Says how many messages at or below the checkpoint were passed without being handled. Operators see it.
     *
     * @param count how many, in total so far
     * @param names what is being skipped now, the latest last; the last 10 are shown
     */
    void skipped(long count, List<String> names);

    /**
     * Says that this lambda cannot go on. Its handler is not called again; only the first error counts.
     *
     * @param error what happened
     * @param restart whether it may go away
     * @param offset the message that failed
     */
    void error(Throwable error, Restart restart, long offset);

    /**
     * The same when it is not about one message: then none can be skipped or become a dead letter.
     *
     * @param error what happened
     * @param restart whether it may go away
     */
    void error(Throwable error, Restart restart);

    /**
     * Reports an error to the operators, who see and count it. The lambda goes on.
     *
     * @param error what happened
     * @param offset the message that it is about
     */
    void report(Throwable error, long offset);

    /**
     * The same when it is not about one message.
     *
     * @param error what happened
     */
    void report(Throwable error);

    /**
     * Takes no messages for now, such as while a dependency is down. From this moment no handler call begins; one that
     * runs goes on. The lambda keeps the partition and checkpoints count. Messages that wait are handled afterwards,
     * none twice. A second pause replaces reason and time of the first.
     *
     * @param reason what operators see
     * @param retryAfter when the pause ends by itself; null: only by {@link #resume} or an operator
     */
    void pause(String reason, Duration retryAfter);

    /**
     * The same, and the messages from {@code offset} on are delivered again afterwards.
     *
     * @param reason what operators see
     * @param retryAfter when the pause ends by itself; null: only by {@link #resume} or an operator
     * @param offset above the checkpoint, and at most that of the last delivered message
     * @throws IllegalArgumentException when the offset cannot come again, or the time is not positive
     */
    void pause(String reason, Duration retryAfter, long offset);

    /** Ends a pause. The handler is called again when the sidecar has heard it. */
    void resume();

    /**
     * Writes a record to Kafka through the sidecar. It is sent at once. Records of one lambda are written in the order
     * of the calls. While 4 MiB or 20,000 records wait, no handler call begins; beyond 64 MiB records fail.
     *
     * <p><b>A failure has to be taken.</b> The future completes with a {@link ProduceException} when the record is not
     * written or not known to be. No checkpoint that was made after this call passes a failure that nobody took; when
     * it has held back a checkpoint for one second, the lambda is restarted. A failure is taken
     *
     * <ul>
     *   <li>by {@code get}, {@code join} or {@code getNow} that throws it, here or on a stage that depends on it,
     *   <li>by {@code handle}, {@code whenComplete} or {@code exceptionally}, likewise, when their action has returned,
     *   <li>by combining it with others: {@code CompletableFuture.allOf}, {@code anyOf}, the second argument of {@code
     *       thenCombine}.
     * </ul>
     *
     * {@code thenApply}, {@code thenAccept} and the like do not take it: they pass it on to the stage that they return.
     * Neither does a wait that ended before the outcome was there, by a time-out or an interruption. {@code
     * exceptionNow} and {@code state} of newer Java versions are not seen.
     *
     * <p><b>With {@link Guarantee#EXACTLY_ONCE}</b> the sidecar holds the record until a checkpoint comes that was made
     * after it, and writes both in one Kafka transaction. The future completes when the record is held. When the sidecar
     * does not answer, nobody knows whether it holds the record: the lambda is restarted, also when the failure was
     * taken.
     *
     * @param record the record
     * @return where it was written; it completes in a thread of the SDK, whose continuations may block
     */
    CompletableFuture<Produced> produce(OutputRecord record);

    /**
     * Writes a value without a key.
     *
     * @param topic the topic
     * @param value the value; null: a tombstone
     * @return as {@link #produce(OutputRecord)}
     */
    default CompletableFuture<Produced> produce(String topic, byte[] value) {
        return produce(OutputRecord.of(topic, value));
    }

    /**
     * Writes a value with a key.
     *
     * @param topic the topic
     * @param value the value; null: a tombstone
     * @param key the key; null: none
     * @return as {@link #produce(OutputRecord)}
     */
    default CompletableFuture<Produced> produce(String topic, byte[] value, byte[] key) {
        return produce(OutputRecord.of(topic, value).withKey(key));
    }
}
