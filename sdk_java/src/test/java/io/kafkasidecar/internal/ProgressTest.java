package io.kafkasidecar.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.kafkasidecar.v1.Batch;
import io.kafkasidecar.v1.CheckpointEntry;
import io.kafkasidecar.v1.CheckpointOutcome;
import io.kafkasidecar.v1.CheckpointResult;
import io.kafkasidecar.v1.Welcome;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;
import org.junit.jupiter.api.Test;

class ProgressTest {
    private final Told told = new Told();
    private final Progress progress = new Progress(new ReentrantLock(), "lease", 8, 1L << 40, 0, told, new Log("test"));

    private static final class Told implements Progress.Sink {
        private int changes;
        private boolean urgent;
        private int hurries;

        @Override
        public void changed(Progress progress, boolean isUrgent) {
            changes++;
            urgent = isUrgent;
        }

        @Override
        public void hurry() {
            hurries++;
        }

        @Override
        public void forget(Progress progress) {
            // The tests look at what is sent.
        }
    }

    private void answer(CheckpointEntry entry, CheckpointOutcome outcome) {
        progress.answered(
                entry, CheckpointResult.newBuilder().setOutcome(outcome).build());
    }

    private CheckpointEntry sent(long delivered, long offset) {
        progress.deliveredTo(delivered);
        progress.checkpoint(offset);
        CheckpointEntry entry = progress.take();
        assertNotNull(entry);
        return entry;
    }

    @Test
    void offsetZeroIsPresentAndNothingIsSentTwice() {
        CheckpointEntry entry = sent(0, 0);
        assertTrue(entry.hasOffset());
        assertEquals(0, entry.getOffset());
        assertFalse(entry.hasHandled());
        assertNull(progress.take());
    }

    @Test
    void aLowerCheckpointIsIgnored() {
        assertEquals(5, sent(9, 5).getOffset());
        progress.checkpoint(4);
        assertNull(progress.take());
        assertEquals(5, progress.offset());
    }

    @Test
    void aQuarterOfTheWindowIsUrgent() {
        progress.deliveredTo(9);
        progress.checkpoint(0);
        assertFalse(told.urgent);
        progress.checkpoint(1);
        assertEquals(0, told.hurries);
        progress.checkpoint(2);
        assertEquals(1, told.hurries);
        assertEquals(1, told.changes);
    }

    @Test
    void theQuarterCountsMessagesWhereOffsetsHaveGaps() {
        progress.came(10, 79, 0); // of a lane, one of eight: a quarter of the window, 2 messages, takes 16 offsets
        progress.checkpoint(0);
        assertNotNull(progress.take());
        progress.came(10, 89, 0); // without gaps: that holds for what is sent after the next call
        progress.checkpoint(1);
        progress.checkpoint(15);
        assertEquals(0, told.hurries);
        progress.checkpoint(16);
        assertEquals(1, told.hurries);
        assertNotNull(progress.take());
        progress.checkpoint(17);
        assertEquals(1, told.hurries);
        progress.checkpoint(18);
        assertEquals(2, told.hurries);
    }

    private Progress withWindow(long windowBytes) {
        return new Progress(new ReentrantLock(), "lease", 100, windowBytes, 0, told, new Log("test"));
    }

    /** Whether a quarter of the window is untold with this checkpoint. */
    private boolean urgent(Progress of, long offset) {
        int before = told.hurries;
        of.checkpoint(offset);
        return told.urgent || told.hurries > before;
    }

    /** Of 1 kB, and then of 3 kB, each: the window of 32 kB holds fewer of them than the window of 100 messages. */
    @Test
    void theQuarterCountsBytesWhereMessagesAreLarge() {
        Progress large = withWindow(32_000);
        large.came(20, 19, 20_000);
        large.checkpoint(0);
        assertNotNull(large.take());
        long[][] frames = {{20, 3_000, 8}, {21, 3_000, 10}, {22, 100_000, 12}, {23, 100_000, 13}};
        for (long[] frame : frames) {
            large.came(1, frame[0], frame[1]); // what it says of sizes holds for what is sent after the next call
            assertFalse(urgent(large, frame[2] - 1));
            assertTrue(urgent(large, frame[2]));
            assertEquals(frame[2], large.take().getOffset());
            told.urgent = false;
        }
    }

    /** Also where a frame has no bytes, and where a window in bytes is as large or as small as it can be. */
    @Test
    void theQuarterIsNeverLargerThanThatOfMessagesAndNeverNone() {
        long most = Long.MAX_VALUE;
        long[][] all = {{32_000, 0, 25}, {most, 0, 25}, {most, most, 25}, {most, 1, 25}, {1, 0, 1}, {1, 1, 1}};
        for (long[] one : all) {
            Progress some = withWindow(one[0]);
            some.came(100, 99, one[1]);
            some.checkpoint(0);
            assertNotNull(some.take());
            assertFalse(urgent(some, one[2] - 1));
            assertTrue(urgent(some, one[2]));
            told.urgent = false;
        }
    }

    @Test
    void theWindowInBytesIsThatOfTheWelcome() {
        long[][] all = {{0, 16 << 20}, {4096, 4096}, {-1, Long.MAX_VALUE}};
        for (long[] one : all) {
            Welcome welcome = Welcome.newBuilder().setWindowBytes(one[0]).build();
            assertEquals(one[1], Terms.told(welcome).windowBytes());
        }
    }

    @Test
    void theSizeOfAFrameIsThatOfItsKeysAndValues() {
        ByteString text = ByteString.copyFromUtf8("text");
        Batch.Builder batch =
                Batch.newBuilder().addKeys(text).addKeys(text).addValues(text).addValues(ByteString.EMPTY);
        assertEquals(12, new Wire.Columns(batch.build(), "topic", 0).size);
    }

    @Test
    void aFailedRequestIsSentAgain() {
        sent(9, 5);
        progress.failed();
        CheckpointEntry again = progress.take();
        assertEquals(5, again.getOffset());
        answer(again, CheckpointOutcome.CHECKPOINT_OUTCOME_ACCEPTED);
        assertNull(progress.take());
        assertNull(progress.seal(-1));
    }

    @Test
    void anUnknownOutcomeIsNoAcceptance() {
        progress.answered(
                sent(9, 5), CheckpointResult.newBuilder().setOutcomeValue(77).build());
        assertEquals(5, progress.seal(-1).getOffset());
    }

    @Test
    void beyondDeliveredIsSentAgainWithEachBatch() {
        CheckpointEntry first = sent(3, 9);
        assertEquals(3, first.getOffset());
        progress.answered(
                first,
                CheckpointResult.newBuilder()
                        .setOutcome(CheckpointOutcome.CHECKPOINT_OUTCOME_BEYOND_DELIVERED)
                        .setDelivered(2)
                        .build());
        progress.deliveredTo(7);
        assertEquals(7, progress.take().getOffset());
        progress.deliveredTo(12);
        assertEquals(9, progress.take().getOffset());
    }

    @Test
    void theLastCheckpointLiesBelowTheFailure() {
        progress.deliveredTo(9);
        progress.checkpoint(5);
        assertEquals(5, progress.seal(6).getOffset());
        assertNull(progress.seal(-1));
        progress.checkpoint(6);
        assertNull(progress.take());
    }

    @Test
    void aCheckpointOfTheFailedMessageIsDropped() {
        progress.deliveredTo(9);
        progress.checkpoint(5);
        assertNull(progress.seal(5));
        assertNull(progress.take());
    }

    @Test
    void aStaleLeaseSendsNothingMore() {
        answer(sent(9, 5), CheckpointOutcome.CHECKPOINT_OUTCOME_STALE_LEASE);
        progress.checkpoint(6);
        assertNull(progress.take());
    }

    @Test
    void whatIsBeyondOrSkippedIsToldWhenItChanges() {
        progress.deliveredTo(9);
        progress.completedBeyond(2, 30);
        progress.skipped(1, List.of("doc"));
        CheckpointEntry entry = progress.take();
        assertFalse(entry.hasOffset());
        assertEquals(2, entry.getCompletedBeyond());
        assertEquals(30, entry.getCompletedBeyondBytes());
        progress.completedBeyond(0, 0);
        assertEquals(0, progress.take().getCompletedBeyond());
    }
}
