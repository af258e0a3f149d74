package io.kafkasidecar.internal;

import io.kafkasidecar.Message;
import io.kafkasidecar.v1.Batch;
import io.kafkasidecar.v1.LambdaFrame;
import io.kafkasidecar.v1.Pause;
import io.kafkasidecar.v1.Resume;
import io.kafkasidecar.v1.Resumed;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;

/**
 * The messages of one lease on their way to the handler: frames come in, {@link #next} gives them out, pauses hold them.
 *
 * <p>A pause begins here at once, and ends when the sidecar sends Resumed for the latest pause; a Resumed for an earlier
 * one crossed the latest on the way. With an offset, the sidecar sends the messages from that offset on again. So what
 * waits here is dropped, and so is every frame until Resumed: the sidecar wrote those before it knew of the pause. A
 * second pause must not lose what the first one asked for, so the rewind offset only moves down until a Resumed.
 *
 * <p>Owner: the lease's lock. Only {@link #next} takes it itself. One message at a time is
 * given out under the lock, so that no handler call begins after {@code pause} returned, in whatever thread.
 */
final class Inbox {
    private static final int MAX_REASON_BYTES = 1024;

    private final ReentrantLock lock;
    private final Condition news;
    private final Condition idle;
    private final Progress progress;
    private final Link link;
    private final Log log;
    private final String topic;
    private final int partition;
    private final int maxWaiting;
    private final Deque<Wire.Columns> frames = new ArrayDeque<>();
    private Wire.Columns current = Wire.Columns.NONE;
    private int position; // of the next message in `current`
    private int waiting; // messages in `frames`
    private boolean crowded; // so many wait that no frame was asked for
    private long workingOn = -1;
    private boolean isIdle;
    private boolean paused;
    private boolean full;
    private boolean stopped;
    private int number; // of the latest pause
    private long rewind = -1; // messages from here on come again: frames are void until Resumed
    private long nextOffset; // no frame may begin below it
    private long highest = -1; // the highest offset that ever came

    Inbox(Progress progress, Link link, String topic, int partition, int window, Log log) {
        this.lock = progress.lock;
        this.news = lock.newCondition();
        this.idle = lock.newCondition();
        this.progress = progress;
        this.link = link;
        this.log = log;
        this.topic = topic;
        this.partition = partition;
        this.maxWaiting = 2 * window;
    }

    // --------------------------------------------------------------------------- the partition's thread

    /** Waits for the next message; null: the lambda's end has begun. The message before it counts as handled. */
    Message next() {
        lock.lock();
        try {
            if (workingOn >= 0) {
                progress.handled = workingOn;
                workingOn = -1;
            }
            while (!stopped) {
                if (!paused && !full && hasMessage()) {
                    if (position == current.count) {
                        takeUp();
                    }
                    Message message = current.message(position++);
                    workingOn = message.offset();
                    return message;
                }
                isIdle = true;
                idle.signalAll();
                news.awaitUninterruptibly();
                isIdle = false;
            }
            return null;
        } finally {
            lock.unlock();
        }
    }

    private boolean hasMessage() {
        return position < current.count || !frames.isEmpty();
    }

    private void takeUp() {
        current = frames.removeFirst();
        position = 0;
        waiting -= current.count;
        askAgain();
    }

    // ------------------------------------------------------------------------------- from the sidecar

    /** Takes a frame, and asks for the next one when there is room for it. */
    void take(Batch batch) {
        if (rewind < 0 && !stopped && batch.getValuesCount() > 0) {
            Wire.Columns columns = new Wire.Columns(batch, topic, partition);
            if (columns.offset(0) < nextOffset) {
                throw new LinkException("Batch.first_offset " + columns.offset(0) + " comes after " + (nextOffset - 1));
            }
            nextOffset = columns.last + 1;
            highest = Math.max(highest, columns.last);
            progress.came(columns.count, columns.last, columns.size);
            frames.add(columns);
            waiting += columns.count;
            news.signal();
        }
        // The window bounds how much comes. Only a lambda that checkpoints far ahead of its handler opens it wider;
        // then not reading on bounds what waits here. In a pause reading goes on: the Resumed that ends it comes after
        // what is not read, and the sidecar sends no more than it had sent.
        crowded = waiting > maxWaiting && !paused && !full && !stopped;
        if (!crowded) {
            link.request();
        }
    }

    private void askAgain() {
        if (crowded && (waiting <= maxWaiting || paused || full || stopped)) {
            crowded = false;
            link.request();
        }
    }

    void resumed(Resumed resumed) {
        if (!paused || resumed.getNumber() != number) {
            log.debug("resumed from pause %d, which is not the latest", resumed.getNumber());
            return;
        }
        paused = false;
        if (rewind >= 0) {
            rewind = -1;
            nextOffset = resumed.getFromOffset();
            progress.deliveredTo(nextOffset - 1);
        }
        log.info("resumed");
        news.signal();
        idle.signalAll();
    }

    // -------------------------------------------------------------------------------- from the lambda

    /** Begins a pause, or replaces the present one. {@code offset} -1: nothing comes again. */
    void pause(String reason, Duration retryAfter, long offset) {
        if (stopped) {
            log.debug("a pause after the end of the lease is ignored: %s", reason);
            return;
        }
        if (retryAfter != null && (retryAfter.isNegative() || retryAfter.isZero())) {
            throw new IllegalArgumentException("pause(retryAfter): a positive time or null, got " + retryAfter);
        }
        if (offset >= 0) {
            checkAgain(offset);
        }
        paused = true;
        idle.signalAll();
        number++;
        if (offset >= 0) {
            rewindTo(offset);
        }
        askAgain();
        Pause.Builder frame = Pause.newBuilder().setNumber(number).setReason(Texts.clip(reason, MAX_REASON_BYTES));
        if (rewind >= 0) {
            frame.setOffset(rewind);
        }
        if (retryAfter != null) {
            // At least 1: 0 would mean that the pause has no end of its own. A uint32 has no more than 2^32 - 1.
            long nanos = retryAfter.compareTo(Duration.ofDays(49)) > 0
                    ? Duration.ofDays(49).toNanos()
                    : retryAfter.toNanos();
            frame.setRetryAfterMs((int) ((nanos + 999_999) / 1_000_000));
        }
        link.send(LambdaFrame.newBuilder().setPause(frame).build());
        String again = rewind < 0 ? "" : ", then again from offset " + rewind;
        log.warn(
                "paused %s%s: %s",
                retryAfter == null ? "until it is resumed" : "for " + retryAfter.toMillis() + " ms", again, reason);
    }

    void resume() {
        if (stopped) {
            log.debug("a resume after the end of the lease is ignored");
        } else if (!paused) {
            log.warn("resume() without a pause: ignored");
        } else {
            link.send(LambdaFrame.newBuilder()
                    .setResume(Resume.getDefaultInstance())
                    .build());
        }
    }

    private void checkAgain(long offset) {
        if (offset > highest) {
            throw new IllegalArgumentException("pause(offset=" + offset + "): there is no such message to come again, "
                    + (highest < 0 ? "none came yet" : "the last that came has " + highest));
        }
        if (offset <= progress.offset()) {
            throw new IllegalArgumentException("pause(offset=" + offset + "): this lambda's checkpoint is at "
                    + progress.offset() + ", and what is checkpointed does not come again");
        }
    }

    private void rewindTo(long offset) {
        // Messages below the offset may wait here. They are dropped with the rest, so they have to come again as well.
        long first = Math.max(Math.min(offset, firstWaiting()), progress.offset() + 1);
        if (rewind >= 0) {
            first = Math.min(first, rewind);
        } else if (first >= nextOffset) {
            return; // it is still to come, after an earlier rewind
        }
        rewind = first;
        progress.deliveredTo(first - 1);
        drop();
    }

    private long firstWaiting() {
        if (position < current.count) {
            return current.offset(position);
        }
        return frames.isEmpty() ? nextOffset : frames.getFirst().offset(0);
    }

    private void drop() {
        frames.clear();
        current = Wire.Columns.NONE;
        position = 0;
        waiting = 0;
        askAgain();
    }

    // ---------------------------------------------------------------------------------- from the SDK

    /** Gives no message out while {@code isFull}: many records that the lambda produced wait to be written. */
    void fill(boolean isFull) {
        full = isFull;
        if (isFull) {
            askAgain();
        } else {
            news.signal();
        }
        idle.signalAll();
    }

    /** Gives no message out any more: another lease gets those that wait. */
    void stop() {
        stopped = true;
        drop();
        news.signal();
        idle.signalAll();
    }

    boolean isPaused() {
        return paused;
    }

    /** The offset of the message whose handler runs; -1: none does. */
    long workingOn() {
        return workingOn;
    }

    /** Waits until no handler runs, none will be called before something comes, and `notYet` is false. For tests. */
    boolean awaitIdle(long nanos, BooleanSupplier notYet) throws InterruptedException {
        long left = nanos;
        while (!stopped && (!isIdle || notYet.getAsBoolean() || (!paused && (full || hasMessage())))) {
            if (left <= 0) {
                return false;
            }
            left = idle.awaitNanos(left);
        }
        return true;
    }

    /** Has {@link #awaitIdle} look again. */
    void poke() {
        idle.signalAll();
    }
}
