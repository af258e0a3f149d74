package io.kafkasidecar.internal;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * The threads of one client that belong to no partition: one that keeps time, and as many workers as needed. What may
 * run the lambda's code (the continuations of an outcome) runs on a worker, where it may block.
 */
final class Work implements AutoCloseable {
    private final ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(1, daemons("timer"));
    private final ExecutorService workers = Executors.newCachedThreadPool(daemons("worker"));

    Work() {
        timer.setRemoveOnCancelPolicy(true);
    }

    /** Runs it on a worker. */
    void now(Runnable task) {
        try {
            workers.execute(task);
        } catch (RejectedExecutionException closed) {
            // The process ends, and nobody waits for it any more.
        }
    }

    /** Runs it on a worker after so many milliseconds. */
    ScheduledFuture<?> later(long millis, Runnable task) {
        return tick(millis, () -> now(task));
    }

    /** Runs it on the timer's thread after so many milliseconds: it must not block, nor run the lambda's code. */
    ScheduledFuture<?> tick(long millis, Runnable task) {
        try {
            return timer.schedule(task, Math.max(0, millis), TimeUnit.MILLISECONDS);
        } catch (RejectedExecutionException closed) {
            return null;
        }
    }

    @Override
    public void close() {
        timer.shutdownNow();
        workers.shutdown();
    }

    static ThreadFactory daemons(String name) {
        AtomicInteger count = new AtomicInteger();
        return task -> {
            Thread thread = new Thread(task, "kafka-sidecar-" + name + "-" + count.incrementAndGet());
            thread.setDaemon(true);
            return thread;
        };
    }
}
