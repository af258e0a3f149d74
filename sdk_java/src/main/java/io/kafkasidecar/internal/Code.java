package io.kafkasidecar.internal;

import java.util.concurrent.locks.ReentrantLock;

/**
 * The lambda's code that a life's thread runs, and its interruption. A piece of code is one call of create or close, or
 * all calls of the handler. The thread is interrupted only while it runs such a piece, never in the SDK's own code.
 *
 * <p>Owner: the lease's lock. {@link #leave} takes it itself, and so does the timer.
 */
final class Code {
    private final ReentrantLock lock;
    private final Work work;
    private boolean runs;
    private boolean interrupted;
    private int stage; // counts the pieces that were begun
    private Thread thread;

    Code(ReentrantLock lock, Work work) {
        this.lock = lock;
        this.work = work;
    }

    /** Begins a piece, in the life's thread. */
    void begin() {
        thread = Thread.currentThread();
        runs = true;
        interrupted = false;
        stage++;
    }

    /** Ends a piece; returns whether it was interrupted. From here on nobody interrupts the thread. */
    boolean leave() {
        boolean wasInterrupted;
        lock.lock();
        try {
            runs = false;
            wasInterrupted = interrupted;
        } finally {
            lock.unlock();
        }
        boolean unused = Thread.interrupted(); // forgets an interruption that the code did not notice
        return wasInterrupted; // not the flag: code of the lambda may have set it, and then its failure is one
    }

    /** Interrupts the piece that runs now, if it still runs after this time. {@code before} is called then. */
    void interruptAt(long millis, Runnable before) {
        int now = stage;
        work.tick(millis, () -> {
            lock.lock();
            try {
                if (runs && stage == now) {
                    interrupted = true;
                    before.run();
                    thread.interrupt();
                }
            } finally {
                lock.unlock();
            }
        });
    }
}
