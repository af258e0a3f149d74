package io.kafkasidecar.internal;

import com.google.protobuf.ByteString;
import io.kafkasidecar.v1.CheckpointEntry;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;

/**
 * The states that a lambda gave with its checkpoints, as far as the sidecar may need them. An entry has the last state
 * that was given at or below its own offset, unless the sidecar has that one already. Which offset an entry will have is
 * not known when a state is given: a checkpoint may wait for what was produced before it, and an offset that did not
 * come yet is bounded by the last one that came.
 *
 * <p>Owner: the lease's lock.
 */
final class States {
    private record Given(long offset, ByteString state) {}

    private final Deque<Given> given = new ArrayDeque<>(); // ascending
    private long floor; // a state below it was forgotten: an offset below it would go with one that is too old
    private Given known; // the sidecar has it
    private Given sent; // of the request under way

    /** Takes the state of a checkpoint; empty: none from there on. */
    void add(long offset, byte[] state) {
        given.add(new Given(offset, ByteString.copyFrom(state)));
    }

    /** Whether an entry may have this offset. */
    boolean allows(long offset) {
        return offset >= floor;
    }

    /** Drops the states that no entry at or above this offset can have. */
    void forget(long offset) {
        Given last = at(offset);
        while (last != null && given.getFirst().offset < last.offset) {
            given.removeFirst();
            floor = last.offset;
        }
    }

    /** Puts the state of its offset into an entry, if the sidecar needs it. */
    void into(CheckpointEntry.Builder entry) {
        Given last = at(entry.getOffset());
        if (last != null && !last.equals(known)) {
            entry.setState(last.state);
        }
    }

    /** Notes that an entry with this offset is under way. */
    void sending(long offset) {
        sent = at(offset);
    }

    /** Notes that the sidecar has taken the entry that was under way. */
    void accepted(long offset) {
        known = sent;
        forget(offset);
    }

    private Given at(long offset) {
        for (Iterator<Given> latest = given.descendingIterator(); latest.hasNext(); ) {
            Given one = latest.next();
            if (one.offset <= offset) {
                return one;
            }
        }
        return null;
    }
}
