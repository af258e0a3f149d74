package io.kafkasidecar.internal;

import io.kafkasidecar.ProduceException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
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
 * io.kafkasidecar.Partition#produce} defines it: a failure is taken when the code that asked for it has it. So of a
 * failure and a checkpoint that waits for it, the lambda's own code comes first.
 *
 * <p>Stages that are made from it are of this class too, and tell the record's own outcome, their {@code root}. What
 * calls no method of ours, such as {@code allOf}, is seen by the number of dependents, which is higher than the number
 * of stages that we made. So a failure that nobody asked for yet stays hidden: the future completes with it only when
 * somebody asks or depends on it. If it completed at once, an {@code allOf} that comes later would find it complete,
 * and leave no trace.
 *
 * <p>Any thread may call any method. {@code asked} and {@code failure} are both volatile, and whoever writes one of them
 * looks at the other afterwards: so of a question and a failure that come at the same time, at least one sees the other.
 */
final class Outcome<T> extends CompletableFuture<T> {
    private final Outcome<?> root;
    private final Outcomes of;
    /** The record's number among those of its lambda, from 1. Written before another thread sees the outcome. */
    long number;

    private boolean known; // guarded by the lease's lock
    private int made; // stages made from this one; guarded by root
    private final List<Outcome<?>> stages; // of a root: all that was made from it, directly or not; guarded by this
    private volatile boolean asked;
    private volatile boolean taken;
    private volatile long takenAt; // by System.nanoTime, once `taken` is set
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

    /** Whether code has the failure, for at least so many nanoseconds. */
    boolean isTaken(long nanos) {
        return taken && System.nanoTime() - takenAt >= nanos;
    }

    /** Notes that the record failed, and completes with it if somebody asked. Called without the lease's lock. */
    void fail(ProduceException error) {
        failure = error;
        if (super.isDone()) { // it was cancelled, so nobody will ever see the failure
            of.lost(error);
        } else if (asked) {
            reveal();
        } else {
            lookForDependents();
        }
    }

    /** Takes a failure that is hidden if something depends on it; returns whether it is still hidden. */
    boolean lookForDependents() {
        if (failure != null && !super.isDone() && hasDependents()) {
            reveal();
            took();
        }
        return failure != null && !super.isDone();
    }

    /** Completes with the failure, whether or not somebody asked. */
    void reveal() {
        super.completeExceptionally(failure);
    }

    private void ask() {
        asked = true;
        if (failure != null) {
            reveal(); // does nothing the second time
        } else if (!super.isDone()) {
            of.asked();
        }
    }

    private void took() {
        if (failure != null && !taken) {
            takenAt = System.nanoTime();
            taken = true;
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
        if (root.failure != null) {
            root.reveal();
        }
        return super.isDone();
    }

    // ------------------------------------------------------------------------------------ what takes

    @Override
    public boolean isCompletedExceptionally() {
        boolean failed = isDone() && super.isCompletedExceptionally();
        if (failed) {
            root.took();
        }
        return failed;
    }

    @Override
    public T get() throws InterruptedException, ExecutionException {
        root.ask();
        try {
            return super.get();
        } catch (ExecutionException error) {
            root.took();
            throw error;
        }
    }

    @Override
    public T get(long timeout, TimeUnit unit) throws InterruptedException, ExecutionException, TimeoutException {
        root.ask();
        try {
            return super.get(timeout, unit);
        } catch (ExecutionException error) {
            root.took();
            throw error;
        }
    }

    @Override
    public T join() {
        root.ask();
        try {
            return super.join();
        } catch (CompletionException error) {
            root.took();
            throw error;
        }
    }

    @Override
    public T getNow(T absent) {
        return isDone() ? join() : absent;
    }

    private <U> BiFunction<T, Throwable, U> handling(BiFunction<? super T, Throwable, ? extends U> action) {
        root.ask();
        return (value, error) -> {
            try {
                return action.apply(value, error);
            } finally {
                root.took();
            }
        };
    }

    private BiConsumer<T, Throwable> completing(BiConsumer<? super T, ? super Throwable> action) {
        root.ask();
        return (value, error) -> {
            try {
                action.accept(value, error);
            } finally {
                root.took();
            }
        };
    }

    private <U> Function<Throwable, U> recovering(Function<Throwable, ? extends U> action) {
        root.ask();
        return error -> {
            try {
                return action.apply(error);
            } finally {
                root.took();
            }
        };
    }

    @Override
    public <U> CompletableFuture<U> handle(BiFunction<? super T, Throwable, ? extends U> action) {
        return super.handle(handling(action));
    }

    @Override
    public <U> CompletableFuture<U> handleAsync(BiFunction<? super T, Throwable, ? extends U> action) {
        return super.handleAsync(handling(action));
    }

    @Override
    public <U> CompletableFuture<U> handleAsync(BiFunction<? super T, Throwable, ? extends U> action, Executor on) {
        return super.handleAsync(handling(action), on);
    }

    @Override
    public CompletableFuture<T> whenComplete(BiConsumer<? super T, ? super Throwable> action) {
        return super.whenComplete(completing(action));
    }

    @Override
    public CompletableFuture<T> whenCompleteAsync(BiConsumer<? super T, ? super Throwable> action) {
        return super.whenCompleteAsync(completing(action));
    }

    @Override
    public CompletableFuture<T> whenCompleteAsync(BiConsumer<? super T, ? super Throwable> action, Executor on) {
        return super.whenCompleteAsync(completing(action), on);
    }

    @Override
    public CompletableFuture<T> exceptionally(Function<Throwable, ? extends T> action) {
        return super.exceptionally(recovering(action));
    }

    @Override
    public CompletableFuture<T> exceptionallyAsync(Function<Throwable, ? extends T> action) {
        return super.exceptionallyAsync(recovering(action));
    }

    @Override
    public CompletableFuture<T> exceptionallyAsync(Function<Throwable, ? extends T> action, Executor on) {
        return super.exceptionallyAsync(recovering(action), on);
    }

    @Override
    public CompletableFuture<T> exceptionallyCompose(Function<Throwable, ? extends CompletionStage<T>> action) {
        return super.exceptionallyCompose(recovering(action));
    }

    @Override
    public CompletableFuture<T> exceptionallyComposeAsync(Function<Throwable, ? extends CompletionStage<T>> action) {
        return super.exceptionallyComposeAsync(recovering(action));
    }

    @Override
    public CompletableFuture<T> exceptionallyComposeAsync(
            Function<Throwable, ? extends CompletionStage<T>> action, Executor on) {
        return super.exceptionallyComposeAsync(recovering(action), on);
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
