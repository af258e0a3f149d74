package io.kafkasidecar.internal;

import io.kafkasidecar.ProduceException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BiConsumer;
import java.util.function.BiFunction;
import java.util.function.Function;

/**
 * The outcome of a record that was produced. It knows whether code took its failure, as {@link
 * io.kafkasidecar.Partition#produce} defines it.
 *
 * <p>Stages that are made from it are of this class too, and tell the record's own outcome, their {@code root}. What
 * calls no method of ours, such as {@code allOf}, is seen by the number of dependents, which is higher than the number
 * of stages that we made. So a failure that nobody took yet stays hidden: the future completes with it only when
 * somebody asks or depends on it. If it completed at once, an {@code allOf} that comes later would find it complete,
 * and leave no trace.
 *
 * <p>Any thread may call any method. {@code taken} and {@code failure} are both volatile, and whoever writes one of them
 * looks at the other afterwards: so of a take and a failure that come at the same time, at least one sees the other.
 */
final class Outcome<T> extends CompletableFuture<T> {
    private final Outcome<?> root;
    private final Outcomes of;
    /** The record's number among those of its lambda, from 1. Written before another thread sees the outcome. */
    long number;

    private boolean known; // guarded by the lease's lock
    private int made; // stages made from this one; guarded by root
    private final List<Outcome<?>> stages; // of a root: all that was made from it, directly or not; guarded by this
    private volatile boolean taken;
    private volatile ProduceException failure;

    Outcome(Outcomes of) {
        this.root = this;
        this.of = of;
        this.stages = new ArrayList<>(0);
    }

    private Outcome(Outcome<?> root) {
        this.root = root;
        this.of = root.of;
        this.stages = List.of();
    }

    /** Notes that what became of the record is decided, although the future may not show it yet. */
    void known() {
        known = true;
    }

    boolean isKnown() {
        return known;
    }

    boolean isTaken() {
        return taken;
    }

    /** Notes that the record failed, and completes with it if somebody takes it. Called without the lease's lock. */
    void fail(ProduceException error) {
        failure = error;
        if (super.isDone() && !taken) { // it was cancelled, so nobody will ever see the failure
            of.lost(error);
        } else if (taken) {
            reveal();
        } else {
            lookForDependents();
        }
    }

    /** Takes a failure that is hidden if something depends on it; returns whether it is still hidden. */
    boolean lookForDependents() {
        if (failure != null && !super.isDone() && hasDependents()) {
            asked(true);
        }
        return failure != null && !super.isDone();
    }

    /** Completes with the failure, whether or not somebody took it. */
    void reveal() {
        super.completeExceptionally(failure);
    }

    private void asked(boolean takes) {
        if (takes && !taken) {
            taken = true;
            if (failure != null) {
                of.taken();
            }
        }
        if (failure != null && !super.isDone()) {
            reveal();
        }
    }

    /** Undoes a take: the wait ended before the outcome was there. */
    private void gaveUp(boolean before) {
        if (!before) {
            taken = false;
            if (failure != null) {
                of.lost(failure);
            }
        }
    }

    private boolean hasDependents() {
        synchronized (this) {
            return getNumberOfDependents() > made
                    || stages.stream().anyMatch(stage -> stage.getNumberOfDependents() > stage.made);
        }
    }

    @Override
    public <U> CompletableFuture<U> newIncompleteFuture() {
        Outcome<U> stage = new Outcome<>(root);
        synchronized (root) {
            made++;
            root.stages.add(stage);
        }
        return stage;
    }

    // ------------------------------------------------------------------------- what asks, without taking

    @Override
    public boolean isDone() {
        root.asked(false);
        return super.isDone();
    }

    // ------------------------------------------------------------------------------------ what takes

    @Override
    public boolean isCompletedExceptionally() {
        root.asked(root.failure != null);
        return super.isCompletedExceptionally();
    }

    @Override
    public T get() throws InterruptedException, ExecutionException {
        boolean before = root.taken;
        root.asked(true);
        try {
            return super.get();
        } catch (InterruptedException error) {
            root.gaveUp(before);
            throw error;
        }
    }

    @Override
    public T get(long timeout, TimeUnit unit) throws InterruptedException, ExecutionException, TimeoutException {
        boolean before = root.taken;
        root.asked(true);
        try {
            return super.get(timeout, unit);
        } catch (InterruptedException | TimeoutException error) {
            root.gaveUp(before);
            throw error;
        }
    }

    @Override
    public T join() {
        root.asked(true);
        return super.join();
    }

    @Override
    public T getNow(T absent) {
        root.asked(root.failure != null);
        return super.getNow(absent);
    }

    @Override
    public <U> CompletableFuture<U> handle(BiFunction<? super T, Throwable, ? extends U> action) {
        root.asked(true);
        return super.handle(action);
    }

    @Override
    public <U> CompletableFuture<U> handleAsync(BiFunction<? super T, Throwable, ? extends U> action) {
        root.asked(true);
        return super.handleAsync(action);
    }

    @Override
    public <U> CompletableFuture<U> handleAsync(BiFunction<? super T, Throwable, ? extends U> action, Executor on) {
        root.asked(true);
        return super.handleAsync(action, on);
    }

    @Override
    public CompletableFuture<T> whenComplete(BiConsumer<? super T, ? super Throwable> action) {
        root.asked(true);
        return super.whenComplete(action);
    }

    @Override
    public CompletableFuture<T> whenCompleteAsync(BiConsumer<? super T, ? super Throwable> action) {
        root.asked(true);
        return super.whenCompleteAsync(action);
    }

    @Override
    public CompletableFuture<T> whenCompleteAsync(BiConsumer<? super T, ? super Throwable> action, Executor on) {
        root.asked(true);
        return super.whenCompleteAsync(action, on);
    }

    @Override
    public CompletableFuture<T> exceptionally(Function<Throwable, ? extends T> action) {
        root.asked(true);
        return super.exceptionally(action);
    }

    @Override
    public CompletableFuture<T> exceptionallyAsync(Function<Throwable, ? extends T> action) {
        root.asked(true);
        return super.exceptionallyAsync(action);
    }

    @Override
    public CompletableFuture<T> exceptionallyAsync(Function<Throwable, ? extends T> action, Executor on) {
        root.asked(true);
        return super.exceptionallyAsync(action, on);
    }

    @Override
    public CompletableFuture<T> exceptionallyCompose(Function<Throwable, ? extends CompletionStage<T>> action) {
        root.asked(true);
        return super.exceptionallyCompose(action);
    }

    @Override
    public CompletableFuture<T> exceptionallyComposeAsync(Function<Throwable, ? extends CompletionStage<T>> action) {
        root.asked(true);
        return super.exceptionallyComposeAsync(action);
    }

    @Override
    public CompletableFuture<T> exceptionallyComposeAsync(
            Function<Throwable, ? extends CompletionStage<T>> action, Executor on) {
        root.asked(true);
        return super.exceptionallyComposeAsync(action, on);
    }

    // Java's own versions of these attach a `whenComplete`, which would count as a take.

    @Override
    public CompletableFuture<T> orTimeout(long timeout, TimeUnit unit) {
        delayedExecutor(timeout, unit, Runnable::run).execute(() -> completeExceptionally(new TimeoutException()));
        return this;
    }

    @Override
    public CompletableFuture<T> completeOnTimeout(T value, long timeout, TimeUnit unit) {
        delayedExecutor(timeout, unit, Runnable::run).execute(() -> complete(value));
        return this;
    }
}
