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
public final class Work implements AutoCloseable {
    private static final Log LOG = new Log("kafka-sidecar");

    private final ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(1, daemons("timer"));
    private final ExecutorService workers = Executors.newCachedThreadPool(daemons("worker"));

    /** Starts no thread before there is work. */
    public Work() {
        timer.setRemoveOnCancelPolicy(true);
    }

    /** Runs it on a worker. */
    public void now(Runnable task) {
        try {
            workers.execute(guarded(task));
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
            return timer.schedule(guarded(task), Math.max(0, millis), TimeUnit.MILLISECONDS);
        } catch (RejectedExecutionException closed) {
            return null;
        }
    }

    /** The task, whose faults are logged: nobody waits for it, so they would vanish. */
    private static Runnable guarded(Runnable task) {
        return () -> {
            try {
                task.run();
            } catch (RuntimeException | Error fault) {
                LOG.error(fault, "a fault of the SDK, not of the lambda");
            }
        };
    }

    @Override
    public void close() {
        timer.shutdownNow();
        workers.shutdown();
    }

    /** Makes threads that do not keep the process alive. */
    public static ThreadFactory daemons(String name) {
        AtomicInteger count = new AtomicInteger();
        return task -> {
            Thread thread = new Thread(task, "kafka-sidecar-" + name + "-" + count.incrementAndGet());
            thread.setDaemon(true);
            return thread;
        };
    }
}
