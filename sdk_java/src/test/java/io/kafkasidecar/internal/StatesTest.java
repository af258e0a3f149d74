package io.kafkasidecar.internal;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;

import io.kafkasidecar.v1.CheckpointEntry;
import io.kafkasidecar.v1.CheckpointOutcome;
import io.kafkasidecar.v1.CheckpointResult;
import java.util.concurrent.locks.ReentrantLock;
import org.junit.jupiter.api.Test;

/** Which entry has which state. */
class StatesTest {
    private final Progress progress =
            new Progress(new ReentrantLock(), "lease", 100, 1L << 40, 0, new NoSink(), new Log("test"));

    private static final class NoSink implements Progress.Sink {
        @Override
        public void changed(Progress progress, boolean urgent) {
            // The test takes what there is to send.
        }

        @Override
        public void hurry() {
            // Likewise.
        }

        @Override
        public void forget(Progress progress) {
            // Nothing is kept.
        }
    }

    private void checkpoint(long offset, String state) {
        if (state != null) {
            progress.state(offset, state.getBytes(UTF_8));
        }
        progress.checkpoint(offset);
    }

    private static String shown(CheckpointEntry entry) {
        return entry.getOffset() + (entry.hasState() ? "=" + entry.getState().toStringUtf8() : "");
    }

    private String told(CheckpointOutcome outcome) {
        CheckpointEntry entry = progress.take();
        progress.answered(
                entry, CheckpointResult.newBuilder().setOutcome(outcome).build());
        return shown(entry);
    }

    private String accepted() {
        return told(CheckpointOutcome.CHECKPOINT_OUTCOME_ACCEPTED);
    }

    @Test
    void aStateIsToldOnceAndNoneClearsIt() {
        progress.deliveredTo(9);
        checkpoint(0, "a");
        assertEquals("0=a", accepted());
        checkpoint(1, null);
        assertEquals("1", accepted());
        checkpoint(2, "");
        assertEquals("2=", accepted());
        checkpoint(3, null);
        assertEquals("3", accepted());
    }

    @Test
    void ofManyTheLastGoes() {
        progress.deliveredTo(9);
        checkpoint(0, "a");
        checkpoint(1, "b");
        checkpoint(2, null);
        assertEquals("2=b", accepted());
    }

    @Test
    void whatDidNotArriveGoesAgain() {
        progress.deliveredTo(9);
        checkpoint(0, "a");
        assertEquals("0=a", shown(progress.take()));
        progress.failed();
        checkpoint(1, null);
        assertEquals("1=a", accepted());
    }

    @Test
    void anOffsetThatIsBoundedHasTheStateBelowIt() {
        progress.deliveredTo(0);
        checkpoint(0, "s0");
        checkpoint(2, "s2");
        checkpoint(4, "s4");
        checkpoint(8, "s8");
        StringBuilder all = new StringBuilder(accepted());
        for (long delivered : new long[] {1, 3, 7, 9}) {
            progress.deliveredTo(delivered);
            all.append(' ').append(accepted());
        }
        assertEquals("0=s0 1 3=s2 7=s4 8=s8", all.toString());
    }

    @Test
    void theLastCheckpointHasItsState() {
        progress.deliveredTo(9);
        checkpoint(3, "a");
        checkpoint(5, null);
        assertEquals("5=a", shown(progress.seal(6)));
    }

    @Test
    void anEntryWithoutAnOffsetHasNoState() {
        progress.deliveredTo(9);
        checkpoint(3, "a");
        progress.take(); // not answered
        progress.completedBeyond(1, 1);
        CheckpointEntry entry = progress.take();
        assertFalse(entry.hasOffset());
        assertFalse(entry.hasState());
        assertNull(progress.take());
    }
}
