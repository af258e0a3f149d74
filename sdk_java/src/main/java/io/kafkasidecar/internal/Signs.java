package io.kafkasidecar.internal;

import io.kafkasidecar.v1.LambdaFrame;
import io.kafkasidecar.v1.Progress;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The signs of life of one lease: the first is sent at once, then at most one a second, with the latest text.
 *
 * <p>Owner: the lease's lock.
 */
final class Signs {
    private static final int MAX_BYTES = 256;
    private static final long INTERVAL_MS = 1000;

    private final ReentrantLock lock;
    private final Link link;
    private final Work work;
    private String text; // not sent; null: there is none
    private boolean open; // after Ready, and before the end
    private boolean waiting; // until the next may be sent
    private boolean stopped;

    Signs(ReentrantLock lock, Link link, Work work) {
        this.lock = lock;
        this.link = link;
        this.work = work;
    }

    /** Has a sign sent; nothing, after the end. */
    void tell(String newText) {
        if (!stopped) {
            text = Texts.clip(newText, MAX_BYTES);
            send();
        }
    }

    /** Sends from now on: Ready was sent. */
    void open() {
        open = true;
        send();
    }

    /** Sends nothing any more: the lease's end has begun. */
    void stop() {
        stopped = true;
        open = false;
    }

    private void send() {
        if (!open || waiting || text == null) {
            return;
        }
        Progress.Builder sign = Progress.newBuilder().setText(text);
        text = null;
        waiting = true;
        link.send(LambdaFrame.newBuilder().setProgress(sign).build());
        work.tick(INTERVAL_MS, this::sendAgain);
    }

    private void sendAgain() {
        lock.lock();
        try {
            waiting = false;
            send();
        } finally {
            lock.unlock();
        }
    }
}
