package io.kafkasidecar.internal;

import io.kafkasidecar.Lambda;
import io.kafkasidecar.Message;
import io.kafkasidecar.ProduceException;
import io.kafkasidecar.RestartException;
import io.kafkasidecar.internal.Reporting.Failure;
import io.kafkasidecar.v1.Assigned;
import io.kafkasidecar.v1.CheckpointEntry;
import io.kafkasidecar.v1.Closed;
import io.kafkasidecar.v1.ErrorAction;
import io.kafkasidecar.v1.HostFrame;
import io.kafkasidecar.v1.LambdaFrame;
import io.kafkasidecar.v1.Ready;
import io.kafkasidecar.v1.Revoked;
import java.lang.System.Logger.Level;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;

/**
 * One lease's life in this process, from Assigned to Closed.
 *
 * <p>Its thread creates the lambda, calls the handler, and closes the lambda. Frames come in gRPC's thread ({@link
 * #frame}), time in the timer's. The lease's lock guards all that they share.
 *
 * <p>A life ends once ({@link Ending}). Who notices the reason sets {@code ending}, stops the inbox and, for a failure,
 * seals the checkpoints, all under the lock: no handler call and no checkpoint can slip in between. Then:
 *
 * <ul>
 *   <li>At 70 % of the time the thread is interrupted if it runs the lambda's code; at once when the stream broke or
 *       the lease is dead already.
 *   <li>The thread calls {@code close}, waits for what was produced, and calls {@link #finish}, which sends Closed.
 *   <li>If it has not done so at 90 %, the timer calls {@code finish}. The handler may still run then; the next life of
 *       the partition here waits for it.
 * </ul>
 */
public final class Life implements Receiver {
    private static final long END_MS = 5000; // for the sidecar's answer to Closed

    final String topic;
    final int partition;
    /** How many lanes the partition has; 1: none, and this is the whole partition. */
    final int lanes;

    /** Completes when the lambda is closed, or was never made. */
    public final CompletableFuture<Void> closed = new CompletableFuture<>();
    /** Completes when the stream is over. */
    final CompletableFuture<Void> over = new CompletableFuture<>();

    final ReentrantLock lock = new ReentrantLock();
    final Progress progress;
    final Inbox inbox;
    final Outcomes outcomes;
    final Producing producing;
    final Commits commits;
    final Signs signs;
    final Log log;

    private final Host host;
    private final Link link;
    private final Assigned assigned;
    private final Reporting reporting;
    private final Code code;
    private final CompletableFuture<Ending> ended = new CompletableFuture<>();
    private Ending ending; // null: it lives
    private CompletableFuture<Boolean> told = CompletableFuture.completedFuture(true); // of a failure: by Error
    private CheckpointEntry last; // sealed by a failure while the partition was being given back
    private boolean lastIsSealed;
    private boolean ready;
    private boolean finished;

    /** Makes a life that has not begun. */
    public Life(Assigned assigned, Link link, Host host) {
        this.topic = assigned.getTopic();
        this.partition = assigned.getPartition();
        this.lanes = Math.max(1, assigned.getLanes());
        this.assigned = assigned;
        this.link = link;
        this.host = host;
        this.log = new Log(host.name() + " " + name());
        Work work = host.work();
        this.progress = new Progress(
                lock,
                assigned.getLease(),
                host.terms().window(),
                host.terms().windowBytes(),
                assigned.getStartOffset(),
                host.sink(),
                log);
        this.inbox = new Inbox(progress, link, topic, partition, host.terms().window(), log);
        this.outcomes = new Outcomes(lock, work, this::passed, this::notTaken);
        long produceMillis = host.limits().produceMillis() * 3 / 2;
        this.producing = new Producing(
                progress,
                host.terms().exactlyOnce(),
                request -> host.calls().produce(request, produceMillis),
                work,
                outcomes,
                host.limits(),
                inbox::fill,
                this::outcomeUnknown);
        progress.onAnswer(producing::sendNext);
        if (host.terms().exactlyOnce()) {
            outcomes.onAsk(producing::hurry);
        }
        this.commits = new Commits(work, host.terms().tellsCommitted());
        this.signs = new Signs(lock, link, work);
        this.code = new Code(lock, work);
        this.reporting = new Reporting(assigned.getLease(), host.calls(), work, log);
    }

    Assigned assigned() {
        return assigned;
    }

    Terms terms() {
        return host.terms();
    }

    /** Which partition it is, and which lane of it. */
    private String name() {
        return topic + "/" + partition + (lanes > 1 ? " lane " + assigned.getLane() : "");
    }

    /** Whether two lives have messages in common. Lanes of different numbers of lanes may. */
    boolean overlaps(Life other) {
        return topic.equals(other.topic)
                && partition == other.partition
                && (lanes != other.lanes || assigned.getLane() == other.assigned.getLane());
    }

    /** Begins, when {@code before} has completed: the earlier lives here that overlap have closed their lambdas. */
    public void start(CompletableFuture<Void> before) {
        Thread thread = host.threads().newThread(() -> run(before));
        thread.setName("kafka-sidecar-" + topic + "-" + partition + (lanes > 1 ? "-" + assigned.getLane() : ""));
        thread.start();
    }

    /** Ends in order: the running handler may finish, then come close and Closed. */
    public void stop() {
        end(Ending.stopped(host.drainMillis()));
    }

    /** Whether the end has begun, or is over. */
    public boolean isEnding() {
        return ended.isDone();
    }

    /** What of this life has not ended, in words; empty: nothing. */
    String leftBehind() {
        lock.lock();
        try {
            if (closed.isDone()) {
                return "";
            }
            long offset = inbox.workingOn();
            return name() + ": " + (offset < 0 ? "its create or close" : "the handler at " + offset);
        } finally {
            lock.unlock();
        }
    }

    /**
     * Waits until the lambda has handled all that came, and the outcome of all is known that it produced; returns false
     * when the time is over. For tests.
     */
    public boolean awaitSettled(long nanos) throws InterruptedException {
        long deadline = System.nanoTime() + nanos;
        while (true) {
            CompletableFuture<Void> drained;
            lock.lock();
            try {
                if (!inbox.awaitIdle(deadline - System.nanoTime(), outcomes::isHolding)) {
                    return false;
                }
                drained = producing.drained();
                if (drained.isDone()) {
                    return true;
                }
            } finally {
                lock.unlock();
            }
            drained.copy()
                    .orTimeout(deadline - System.nanoTime(), TimeUnit.NANOSECONDS)
                    .join();
        }
    }

    // ------------------------------------------------------------------------------ the partition's thread

    private void run(CompletableFuture<Void> before) {
        try {
            if (!before.isDone()) {
                log.info("waits for the partition's earlier lambda here to close");
                CompletableFuture.anyOf(before, ended).join();
            }
            Lambda lambda = create();
            if (lambda != null) {
                handleAll(lambda);
            }
            awaitTold();
            if (lambda != null) {
                close(lambda);
            }
            awaitWritten();
        } catch (RuntimeException | Error fault) {
            log.error(fault, "a fault of the SDK, not of the lambda");
            end(Ending.lost(host.drainMillis(), "the SDK failed"));
        } finally {
            finish();
            closed.complete(null);
        }
    }

    private Lambda create() {
        if (!enter()) {
            return null;
        }
        Lambda lambda = null;
        try {
            lambda = host.maker().make(new PartitionHandle(this));
            if (lambda == null) {
                throw new NullPointerException("the lambda's factory returned null: it has to return a lambda");
            }
        } catch (Throwable error) {
            threw(new Failure(error, ErrorAction.ERROR_ACTION_RESTART, -1, "create_failed"));
            return null;
        }
        code.leave();
        lock.lock();
        try {
            if (ending == null) {
                ready = true;
                link.send(LambdaFrame.newBuilder()
                        .setReady(Ready.newBuilder().setLease(progress.lease))
                        .build());
                signs.open();
                log.info("ready (start offset %s, attempt %d)", startOffset(), assigned.getAttempt());
            }
        } finally {
            lock.unlock();
        }
        return lambda;
    }

    private String startOffset() {
        return assigned.hasStartOffset() ? Long.toString(assigned.getStartOffset()) : "unknown";
    }

    private void handleAll(Lambda lambda) {
        if (!enter()) {
            return;
        }
        Message message = null;
        try {
            while ((message = inbox.next()) != null) {
                lambda.handle(message);
            }
            code.leave();
        } catch (RestartException error) {
            threw(new Failure(error, ErrorAction.ERROR_ACTION_RESTART, message.offset(), "handler_failed"));
        } catch (Throwable error) {
            threw(new Failure(error, ErrorAction.ERROR_ACTION_CRITICAL, message.offset(), "handler_failed"));
        }
    }

    /** Takes what left the lambda's code. After an interruption it is no failure: the code was told to end. */
    private void threw(Failure failure) {
        if (code.leave()) {
            log.write(Level.DEBUG, failure.error(), "the interrupted code of the lambda has ended");
        } else {
            fail(failure);
        }
    }

    /** Waits for the answer to Error, if there is one, or the end of its time. */
    private void awaitTold() {
        Ending known = ended.join();
        CompletableFuture<Boolean> answer;
        lock.lock();
        try {
            answer = told;
        } finally {
            lock.unlock();
        }
        answer.copy()
                .completeOnTimeout(false, known.millisUntil(Ending.CLOSED_SHARE), TimeUnit.MILLISECONDS)
                .join();
    }

    private void close(Lambda lambda) {
        lock.lock();
        try {
            code.begin();
            interruptAt(ending.millisUntil(Ending.INTERRUPT_CLOSE_SHARE));
        } finally {
            lock.unlock();
        }
        try {
            lambda.close(ending.reason());
        } catch (Throwable error) {
            log.error(error, "close(%s) failed", ending.reason());
        } finally {
            code.leave();
        }
    }

    /** Waits for the outcomes of what the lambda produced: they decide about its last checkpoint. */
    private void awaitWritten() {
        CompletableFuture<Void> drained;
        lock.lock();
        try {
            drained = producing.drained();
        } finally {
            lock.unlock();
        }
        Ending known = ended.join();
        if (known.kind() != Ending.Kind.LOST) {
            drained.copy()
                    .completeOnTimeout(null, known.millisUntil(Ending.CLOSED_SHARE), TimeUnit.MILLISECONDS)
                    .join();
        }
    }

    /** Begins code of the lambda, unless the end has begun; returns whether it did. */
    private boolean enter() {
        lock.lock();
        try {
            if (ending == null) {
                code.begin();
            }
            return ending == null;
        } finally {
            lock.unlock();
        }
    }

    /** Interrupts the code of the lambda that runs now, if it still runs after this time. */
    private void interruptAt(long millis) {
        code.interruptAt(millis, () -> {
            if (!ending.isAtOnce()) {
                String what = inbox.workingOn() < 0 ? "create or close" : "the handler at " + inbox.workingOn();
                log.warn("interrupts %s: it still runs, and its time is over", what);
            }
        });
    }

    // ------------------------------------------------------------------------------------ what ends a life

    private void end(Ending reason) {
        lock.lock();
        try {
            if (ending != null) {
                return;
            }
            ending = reason;
            inbox.stop();
            signs.stop();
            if (reason.kind() == Ending.Kind.LOST) {
                log.warn("the stream broke, this lambda ends: %s", reason.why());
                producing.end("the stream to the sidecar broke");
                outcomes.end();
                progress.seal(-1);
            } else if (!reason.tellsCheckpoint()) {
                progress.seal(-1);
            }
            producing.sendNext(); // what waits for a checkpoint that is not sent any more ends there
            interruptAt(reason.isAtOnce() ? 0 : reason.millisUntil(Ending.INTERRUPT_SHARE));
            host.work().tick(reason.millisUntil(Ending.CLOSED_SHARE), this::finish);
        } finally {
            lock.unlock();
        }
        ended.complete(reason);
    }

    /** Takes a failure: of the lambda's code, or told by it. */
    void fail(Failure failure) {
        lock.lock();
        try {
            if (finished || (ending != null && ending.kind() == Ending.Kind.FAILED)) {
                log.info("an error after the end is not told: %s", Texts.messageOf(failure.error()));
                return;
            }
            reporting.log(failure);
            CheckpointEntry entry = progress.seal(failure.offset());
            if (ending != null) {
                // The partition is being given back. The next owner meets the same failure and can tell it with its
                // lease; here nothing at or above the failed message may count as done.
                if (!lastIsSealed) {
                    lastIsSealed = true;
                    last = entry;
                }
                return;
            }
            told = reporting.send(reporting.request(failure, entry), over::isDone);
            end(Ending.failed(host.limits().closeMillis()));
        } finally {
            lock.unlock();
        }
    }

    private void passed(long offset) {
        progress.checkpoint(offset);
        producing.sendNext();
        inbox.poke();
    }

    private void notTaken(ProduceException error) {
        fail(Failure.of(error, "; nobody took this outcome"));
    }

    private void outcomeUnknown(ProduceException error) {
        String because = "; nobody knows whether the sidecar holds it, so with exactly-once this lambda starts again";
        fail(Failure.of(error, because));
    }

    void report(Failure failure) {
        if (isEnding()) {
            log.info("an error after the end of the lease is not reported: %s", Texts.messageOf(failure.error()));
        } else {
            reporting.report(failure);
        }
    }

    // ------------------------------------------------------------------------------------- from the sidecar

    @Override
    public void frame(HostFrame frame) {
        lock.lock();
        try {
            switch (frame.getFrameCase()) {
                case BATCH -> inbox.take(frame.getBatch());
                case COMMITTED -> commits.committed(frame.getCommitted().getOffset());
                case RESUMED -> inbox.resumed(frame.getResumed());
                case REVOKED -> revoked(frame.getRevoked());
                default -> {} // an empty one, or a kind of a newer contract
            }
            if (frame.getFrameCase() != HostFrame.FrameCase.BATCH) {
                link.request();
            }
        } catch (LinkException broken) {
            link.cancel(Texts.messageOf(broken));
            end(Ending.lost(host.drainMillis(), Texts.messageOf(broken)));
        } finally {
            lock.unlock();
        }
    }

    private void revoked(Revoked revoked) {
        log.info("revoked: %s, deadline %d ms", revoked.getReason(), revoked.getDeadlineMs());
        long deadline = Integer.toUnsignedLong(revoked.getDeadlineMs());
        end(Ending.revoked(revoked.getReason(), deadline, host.limits().closeMillis()));
    }

    @Override
    public void over(RuntimeException why) {
        over.complete(null);
        lock.lock();
        try {
            commits.end();
        } finally {
            lock.unlock();
        }
        end(Ending.lost(host.drainMillis(), why == null ? "the sidecar ended the stream" : Texts.messageOf(why)));
    }

    // ---------------------------------------------------------------------------- what the sidecar is told

    /** Tells the sidecar the end, once. Called by the life's thread, or by the timer when that is late. */
    private void finish() {
        lock.lock();
        try {
            if (finished || ending == null) {
                return;
            }
            finished = true;
            producing.end("the partition's lambda has ended");
            int held = outcomes.end();
            CheckpointEntry entry = lastIsSealed ? last : progress.seal(-1);
            if (ending.kind() == Ending.Kind.LOST) {
                link.cancel("the stream is lost");
                return;
            }
            if (ending.kind() == Ending.Kind.FAILED && !Boolean.TRUE.equals(told.getNow(false))) {
                // Without Closed the sidecar takes the stream for broken, and starts the lambda again.
                link.cancel("the error did not get through");
                return;
            }
            if (held > 0 && ending.kind() != Ending.Kind.FAILED) {
                log.warn("%d checkpoints are not told: what was produced before them is not known to be written", held);
            }
            Closed.Builder frame = Closed.newBuilder().setReason(ending.closed(ready));
            if (entry != null && ending.tellsCheckpoint()) {
                frame.setLastCheckpoint(entry);
            }
            link.send(LambdaFrame.newBuilder().setClosed(frame).build());
            link.halfClose();
            log.info(
                    "closed: %s, last checkpoint %s",
                    frame.getReason(), frame.hasLastCheckpoint() ? Long.toString(entry.getOffset()) : "as it was");
            host.work().tick(END_MS, () -> link.cancel("no status came after Closed"));
        } finally {
            lock.unlock();
        }
    }
}
