package io.kafkasidecar.internal;

import io.kafkasidecar.NotCommittedException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;

/**
 * Who waits for an offset of one lease to be committed. The futures complete on workers, since that may run code of the
 * lambda.
 *
 * <p>Owner: the lease's lock.
 */
final class Commits {
    private final Work work;
    private final NavigableMap<Long, List<CompletableFuture<Void>>> waiting = new TreeMap<>();
    private long committed = -1;
    private String over; // why nothing is told any more; null: it is

    Commits(Work work, boolean told) {
        this.work = work;
        this.over = told ? null : "the sidecar cannot tell; it needs a newer version";
    }

    /** Completes when a Committed covers the offset, and fails when none will. */
    CompletableFuture<Void> await(long offset) {
        CompletableFuture<Void> future = new CompletableFuture<>();
        if (offset <= committed) {
            future.complete(null);
        } else if (over != null) {
            future.completeExceptionally(new NotCommittedException(offset, over));
        } else {
            waiting.computeIfAbsent(offset, key -> new ArrayList<>()).add(future);
        }
        return future;
    }

    /** Takes a Committed. */
    void committed(long offset) {
        committed = Math.max(committed, offset);
        NavigableMap<Long, List<CompletableFuture<Void>>> covered = waiting.headMap(offset, true);
        List<CompletableFuture<Void>> done =
                covered.values().stream().flatMap(Collection::stream).toList();
        covered.clear();
        if (!done.isEmpty()) {
            work.now(() -> done.forEach(future -> future.complete(null)));
        }
    }

    /** Fails who waits: the stream is over. */
    void end() {
        over = over != null ? over : "the lease has ended";
        NavigableMap<Long, List<CompletableFuture<Void>>> left = new TreeMap<>(waiting);
        waiting.clear();
        if (!left.isEmpty()) {
            work.now(() -> left.forEach((offset, futures) -> futures.forEach(
                    future -> future.completeExceptionally(new NotCommittedException(offset, "the lease has ended")))));
        }
    }
}
