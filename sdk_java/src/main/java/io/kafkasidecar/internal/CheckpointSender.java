package io.kafkasidecar.internal;

import io.kafkasidecar.v1.CheckpointEntry;
import io.kafkasidecar.v1.CheckpointRequest;
import io.kafkasidecar.v1.CheckpointResponse;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/**
 * Sends the progress of all leases: one call under way for the whole process, with the latest of each lease that moved.
 *
 * <p>Its own monitor guards its fields. It is the inner lock: nothing here asks for a lease's lock while it has the
 * monitor. {@link #send} runs on the timer's thread, {@link #arrived} in a thread of gRPC.
 */
final class CheckpointSender implements Progress.Sink {
    /**
     * Between the starts of two calls, unless a lease is in a hurry. A call takes some 2 ms of CPU time, sidecar and
     * lambda together: with 10 ms between them, a lambda that gets 200 records a second costs half as much again.
     */
    private static final long SPACING_MS = 50;

    private static final long HANDLED_MS = 1000;
    private static final long MIN_RETRY_MS = 50;
    private static final long MAX_RETRY_MS = 1000;
    private static final int ENTRY_BYTES = 8 * 1024; // more than an entry ever takes in a request

    private record Sent(Progress progress, CheckpointEntry entry) {}

    private final Function<CheckpointRequest, CompletableFuture<CheckpointResponse>> call;
    private final Work work;
    private final Log log;
    private final Set<Progress> leases = new LinkedHashSet<>();
    private final Set<Progress> moved = new LinkedHashSet<>();
    private Limits limits = Limits.DEFAULT;
    private boolean underWay;
    private boolean hurried;
    private long lastNanos = System.nanoTime() - TimeUnit.SECONDS.toNanos(1);
    private long retryMs;
    private ScheduledFuture<?> next;

    CheckpointSender(Function<CheckpointRequest, CompletableFuture<CheckpointResponse>> call, Work work, Log log) {
        this.call = call;
        this.work = work;
        this.log = log;
        work.tick(HANDLED_MS, this::tellHandled);
    }

    synchronized void limits(Limits told) {
        limits = told;
    }

    synchronized void add(Progress progress) {
        leases.add(progress);
    }

    @Override
    public synchronized void changed(Progress progress, boolean urgent) {
        moved.add(progress);
        hurried |= urgent;
        plan();
    }

    @Override
    public synchronized void hurry() {
        if (!hurried) {
            hurried = true;
            plan();
        }
    }

    @Override
    public synchronized void forget(Progress progress) {
        leases.remove(progress);
        moved.remove(progress);
    }

    /** Plans the next call, unless one is under way: its answer plans again. */
    private void plan() {
        if (underWay || moved.isEmpty() || (next != null && !hurried)) {
            return;
        }
        if (retryMs > 0) {
            if (next == null) {
                next = work.tick(ThreadLocalRandom.current().nextLong(retryMs / 2, retryMs), this::send);
            }
            return;
        }
        if (next != null) {
            next.cancel(false);
        }
        long passed = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - lastNanos);
        next = work.tick(hurried ? 0 : SPACING_MS - passed, this::send);
    }

    private void send() {
        synchronized (this) {
            if (underWay) { // two of these were planned: one could not be cancelled any more
                return;
            }
            underWay = true;
            next = null;
            lastNanos = System.nanoTime();
        }
        List<Sent> sent = collect();
        if (sent.isEmpty()) {
            over(0);
            return;
        }
        CheckpointRequest.Builder request = CheckpointRequest.newBuilder();
        sent.forEach(one -> request.addEntries(one.entry));
        call.apply(request.build()).whenComplete((response, error) -> arrived(sent, response, error));
    }

    /** What there is to send, at most one entry of each lease: what moves meanwhile goes with the next call. */
    private List<Sent> collect() {
        List<Sent> sent = new ArrayList<>();
        Set<Progress> seen = new HashSet<>();
        int size = 0;
        while (true) {
            Progress progress;
            synchronized (this) {
                boolean full = sent.size() >= limits.checkpointEntries() || size > limits.requestBytes() - ENTRY_BYTES;
                if (moved.isEmpty()) {
                    hurried = false;
                }
                // One that was seen and has moved since is at the end, with others like it.
                if (full || moved.isEmpty() || !seen.add(moved.iterator().next())) {
                    return sent;
                }
                progress = moved.iterator().next();
                moved.remove(progress);
            }
            CheckpointEntry entry;
            progress.lock.lock();
            try {
                entry = progress.take();
            } finally {
                progress.lock.unlock();
            }
            if (entry != null) {
                sent.add(new Sent(progress, entry));
                size += entry.getSerializedSize() + 4; // and the bytes that precede it in the request
            }
        }
    }

    private void arrived(List<Sent> sent, CheckpointResponse response, Throwable error) {
        Throwable failure = error;
        if (failure == null && response.getResultsCount() != sent.size()) {
            failure = new LinkException(response.getResultsCount() + " results for " + sent.size() + " checkpoints");
        }
        for (int at = 0; at < sent.size(); at++) {
            Sent one = sent.get(at);
            one.progress.lock.lock();
            try {
                if (failure == null) {
                    one.progress.answered(one.entry, response.getResults(at));
                } else {
                    one.progress.failed();
                }
            } finally {
                one.progress.lock.unlock();
            }
        }
        if (failure != null && retryMs == 0) {
            log.warn("checkpoints do not come through, they are kept and sent again: %s", Texts.messageOf(failure));
        } else if (failure == null && retryMs > 0) {
            log.info("checkpoints come through again");
        }
        over(failure == null ? 0 : Math.min(MAX_RETRY_MS, Math.max(MIN_RETRY_MS, retryMs * 2)));
    }

    private synchronized void over(long newRetryMs) {
        underWay = false;
        retryMs = newRetryMs;
        plan();
    }

    private void tellHandled() {
        List<Progress> all;
        synchronized (this) {
            all = List.copyOf(leases);
        }
        for (Progress progress : all) {
            progress.lock.lock();
            try {
                progress.tellHandled();
            } finally {
                progress.lock.unlock();
            }
        }
        work.tick(HANDLED_MS, this::tellHandled);
    }
}
