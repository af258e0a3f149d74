package io.kafkasidecar.internal;

import io.kafkasidecar.v1.CheckpointEntry;
import io.kafkasidecar.v1.CheckpointResult;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;

/**
 * How far one lease has got. Offsets are -1 for "none".
 *
 * <p>Owner: the lease's lock. The sink's methods are called with it, so the sink's own lock is always the inner one.
 */
public final class Progress {
    /** Is told when a lease has something to send. */
    public interface Sink {
        /** The lease has something to send that it did not have before. */
        void changed(Progress progress, boolean urgent);

        /** Send it now: much is checkpointed that the sidecar has not been told. */
        void hurry();

        /** The lease will send nothing more. */
        void forget(Progress progress);
    }

    private static final int MAX_NAMES = 10;
    private static final int MAX_NAME_BYTES = 256;

    private record Told(int beyond, long beyondBytes, long handled, long skipped, List<String> names) {}

    final ReentrantLock lock;
    final String lease;
    /** Offset of the last message whose handler returned. */
    long handled = -1;

    private final Sink sink;
    private final Log log;
    private final int quarter; // of the window, in messages
    private final long quarterInBytes;
    private long quarterInOffsets;
    private long cameTo; // the last offset of the last frame
    private boolean sealed;
    private long offset = -1;
    private long delivered = -1;
    private long sent = -1; // the last offset in a request, whatever became of the request
    private long accepted = -1;
    private int beyond;
    private long beyondBytes;
    private long skipped;
    private List<String> names = List.of();
    private Told told = new Told(0, 0, -1, 0, List.of()); // null: nothing of it is known to have arrived
    private boolean dirty;
    private long urgentAt;
    private final States states = new States();
    private boolean calling; // an offset is under way in a Checkpoint call
    private boolean producing; // with exactly-once: a Produce call is under way
    private Runnable onAnswer = () -> {};

    /** The window is in messages; {@code windowBytes} in bytes of them. */
    Progress(ReentrantLock lock, String lease, int window, long windowBytes, long startOffset, Sink sink, Log log) {
        this.lock = lock;
        this.lease = lease;
        this.sink = sink;
        this.log = log;
        this.quarter = Math.max(1, window / 4);
        this.quarterInBytes = windowBytes / 4;
        this.quarterInOffsets = quarter;
        this.cameTo = startOffset - 1;
        this.urgentAt = startOffset + quarter;
    }

    /** The highest offset that the lambda checkpointed; -1: none yet. */
    long offset() {
        return offset;
    }

    boolean isSealed() {
        return sealed;
    }

    /** Has this called, with the lease's lock, after each answer to an entry. */
    void onAnswer(Runnable action) {
        onAnswer = action;
    }

    /** Takes the state that belongs to a checkpoint. */
    void state(long checkpoint, byte[] state) {
        states.add(checkpoint, state);
    }

    /** Takes a checkpoint that nothing holds back. */
    void checkpoint(long newOffset) {
        if (sealed || newOffset <= offset) {
            return;
        }
        offset = newOffset;
        states.forget(Math.min(offset, delivered));
        if (offset <= sent) {
            return; // it went with what was produced before it
        }
        if (!dirty) {
            mark();
        } else if (newOffset >= urgentAt) {
            // A quarter of the window is not told. Until the sidecar knows and has sent more, as much again may be
            // handled. If it were told later, the window would fill, and the partition wait for every round trip.
            sink.hurry();
        }
    }

    void completedBeyond(int count, long bytes) {
        if (count != beyond || bytes != beyondBytes) {
            beyond = count;
            beyondBytes = bytes;
            mark();
        }
    }

    void skipped(long count, List<String> newNames) {
        skipped = Math.max(skipped, count);
        names = newNames.stream()
                .skip(Math.max(0, newNames.size() - MAX_NAMES))
                .map(name -> Texts.clip(name, MAX_NAME_BYTES))
                .toList();
        mark();
    }

    /**
     * Notes that a frame of so many messages and bytes came, which ends with this offset.
     *
     * <p>The window counts messages and their bytes, and checkpoints are offsets. Those of a lane have gaps where the
     * records of other lanes are; so has a compacted log. How many offsets a quarter of the window takes is estimated by
     * this frame.
     */
    void came(int count, long last, long size) {
        // A double: the product may exceed a long. Tombstones without keys have no bytes.
        double byBytes = (double) quarterInBytes * count / Math.max(1, size);
        long some = (long) Math.min(quarter, Math.max(1, byBytes));
        quarterInOffsets = some * Math.max(1, (last - cameTo) / count);
        cameTo = last;
        deliveredTo(last);
    }

    /**
     * Notes that a frame came that ends with this offset, or that the messages after it come again.
     *
     * <p>A lambda with a store of its own may checkpoint an offset that was not delivered since the restart. Then the
     * last delivered offset is sent instead, again with each frame. If it waited until its own offset was delivered, a
     * full window would make it wait for ever.
     */
    void deliveredTo(long newDelivered) {
        boolean ahead = offset > delivered;
        delivered = newDelivered;
        if (ahead) {
            mark();
        }
    }

    /** Has {@link #handled} sent if it moved without a checkpoint. Called once a second. */
    void tellHandled() {
        if (told == null || told.handled != handled) {
            mark();
        }
    }

    /** The offset that an entry may have now, for a checkpoint; -1: none may be sent. */
    private long sendable(long checkpoint) {
        long known = Math.min(checkpoint, delivered);
        return sealed || !states.allows(known) ? -1 : known;
    }

    /** Whether a checkpoint may be sent that the sidecar is not known to have. */
    boolean isUntold() {
        return calling || sendable(offset) > sent;
    }

    /** What there is to send in a Checkpoint call, which counts as sent; null: nothing. */
    public CheckpointEntry take() {
        dirty = false;
        long known = sendable(offset);
        boolean moved = known > sent && !producing;
        if (sealed || (!moved && now().equals(told))) {
            return null;
        }
        if (!moved) {
            told = now();
            return entry(known, offset, true).clearOffset().clearState().build();
        }
        CheckpointEntry entry = entry(known, offset, true).build();
        calling = true;
        sending(entry);
        return entry;
    }

    /**
     * The entry that goes in a Produce call, for a checkpoint that waits for that call's records; null: there is no need
     * of one. It counts as sent when {@link #sending} is called.
     */
    CheckpointEntry commit(long checkpoint) {
        long known = sendable(checkpoint);
        return known <= sent ? null : entry(known, checkpoint, true).build();
    }

    /** Counts an entry with an offset as sent. */
    void sending(CheckpointEntry entry) {
        sent = entry.getOffset();
        urgentAt = sent + quarterInOffsets;
        states.sending(sent);
        told = now();
    }

    /** Has what is untold sent now. */
    void hurry() {
        sink.hurry();
    }

    /** Notes whether a Produce call is under way. With exactly-once no offset may be sent beside it. */
    void producing(boolean underWay) {
        producing = underWay;
        if (!underWay && isUntold()) {
            mark();
        }
    }

    private Told now() {
        return new Told(beyond, beyondBytes, handled, skipped, names);
    }

    /** The request did not come through: what it carried has to be sent again. */
    void failed() {
        calling = false;
        sent = accepted;
        told = null;
        mark();
        onAnswer.run();
    }

    /** Takes the sidecar's answer to an entry. */
    public void answered(CheckpointEntry entry, CheckpointResult result) {
        calling = false;
        take(entry, result);
        onAnswer.run();
    }

    private void take(CheckpointEntry entry, CheckpointResult result) {
        switch (result.getOutcome()) {
            case CHECKPOINT_OUTCOME_ACCEPTED,
                    CHECKPOINT_OUTCOME_ACCEPTED_DRAINING,
                    CHECKPOINT_OUTCOME_IGNORED_LOWER -> {
                if (entry.hasOffset()) {
                    accepted = Math.max(accepted, entry.getOffset());
                    states.accepted(accepted);
                }
            }
            case CHECKPOINT_OUTCOME_BEYOND_DELIVERED -> {
                // The offset is kept, and sent with the next frame. A frame that came while the call was under way has
                // called `deliveredTo` already, so this looks once more.
                sent = accepted;
                long arrived = delivered;
                delivered = Math.min(arrived, result.hasDelivered() ? result.getDelivered() : -1);
                if (arrived > entry.getOffset()) {
                    deliveredTo(arrived);
                }
            }
            case CHECKPOINT_OUTCOME_STALE_LEASE -> seal(-1);
            default -> { // of a newer sidecar: unknown here, so nothing counts as accepted
                sent = accepted;
                log.warn("the sidecar answered a checkpoint with outcome %d, unknown here", result.getOutcomeValue());
            }
        }
    }

    /**
     * Takes no more checkpoints; returns the last one, for Closed and Error, or null if it is accepted already.
     *
     * <p>{@code below}: the offset that failed, or -1. A checkpoint at or above it is dropped and never sent, since the
     * handler did not finish that message. The one before it is not known any more; the last accepted one holds.
     */
    CheckpointEntry seal(long below) {
        if (sealed) {
            return null;
        }
        long known = sendable(offset);
        sealed = true;
        sink.forget(this);
        if (known <= accepted || (below >= 0 && known >= below)) {
            return null;
        }
        return entry(known, offset, false).build();
    }

    /** The offset and what belongs to it. */
    private CheckpointEntry.Builder entry(long known, long checkpoint, boolean withBeyond) {
        CheckpointEntry.Builder entry =
                CheckpointEntry.newBuilder().setLease(lease).setOffset(known);
        if (handled >= 0) {
            entry.setHandled(handled);
        }
        if (skipped > 0 || !names.isEmpty()) {
            // The numbers in these names are protoc's: `skipping` and `skipping_count` both make a getSkippingCount.
            // The count goes with the lambda's own offset, so that both count or neither does.
            entry.setSkipped(known == checkpoint ? skipped : 0)
                    .addAllSkipping7(names)
                    .setSkippingCount8(names.size());
        }
        if (withBeyond) {
            entry.setCompletedBeyond(beyond).setCompletedBeyondBytes(beyondBytes);
        }
        states.into(entry);
        return entry;
    }

    private void mark() {
        if (!dirty && !sealed) {
            dirty = true;
            sink.changed(this, offset >= urgentAt);
        }
    }
}
