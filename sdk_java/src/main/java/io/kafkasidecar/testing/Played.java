package io.kafkasidecar.testing;

import com.google.protobuf.ByteString;
import io.kafkasidecar.Message;
import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.internal.Calls;
import io.kafkasidecar.internal.Life;
import io.kafkasidecar.internal.Link;
import io.kafkasidecar.internal.LinkException;
import io.kafkasidecar.internal.Progress;
import io.kafkasidecar.internal.Work;
import io.kafkasidecar.v1.Assigned;
import io.kafkasidecar.v1.CheckpointEntry;
import io.kafkasidecar.v1.CheckpointOutcome;
import io.kafkasidecar.v1.CheckpointResult;
import io.kafkasidecar.v1.Committed;
import io.kafkasidecar.v1.ErrorOutcome;
import io.kafkasidecar.v1.ErrorRequest;
import io.kafkasidecar.v1.ErrorResponse;
import io.kafkasidecar.v1.HostFrame;
import io.kafkasidecar.v1.LambdaFrame;
import io.kafkasidecar.v1.Pause;
import io.kafkasidecar.v1.ProduceRequest;
import io.kafkasidecar.v1.ProduceResponse;
import io.kafkasidecar.v1.Resumed;
import io.kafkasidecar.v1.RevokeReason;
import io.kafkasidecar.v1.Revoked;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;

/**
 * The sidecar's side of one partition: its log, its stream and its calls. The lambda's threads call it with the lease's
 * lock, the test without. Its monitor is the inner lock, so nothing here calls the life while it has the monitor.
 */
final class Played implements Link, Calls, Progress.Sink {
    private final Work work;
    private final List<Message> log;
    private final FakeSidecar.Builder<?> config;
    private final Outputs outputs;
    private final List<Long> checkpoints = new ArrayList<>();
    private final List<LambdaError> errors = new ArrayList<>();
    private final Map<Long, CompletableFuture<Void>> waiters = new HashMap<>(); // for a checkpoint
    private final Map<String, CompletableFuture<Void>> listeners = new HashMap<>(); // for a sign of life
    int attempt;
    private Life life;
    private CompletableFuture<Void> ready = new CompletableFuture<>();
    private CompletableFuture<Void> over = new CompletableFuture<>();
    private long position;
    private Pause pause; // null: none
    private int beyond;
    private byte[] state; // of the checkpoint
    private long committed;
    private String sign = "";

    Played(Work work, List<Message> log, FakeSidecar.Builder<?> config) {
        this.work = work;
        this.log = log;
        this.config = config;
        this.outputs = new Outputs(config.exactlyOnce);
        this.state = config.state;
        this.committed = config.startOffset - 1;
    }

    // -------------------------------------------------------------------------------------- for the test

    synchronized Assigned assign(String lease) {
        outputs.begin(lease);
        position = resumeAt();
        attempt++;
        pause = null;
        ready = new CompletableFuture<>();
        over = new CompletableFuture<>();
        return Assigned.newBuilder()
                .setLease(lease)
                .setTopic(config.topic)
                .setPartition(config.partition)
                .setLane(config.lane)
                .setLanes(config.lanes)
                .setState(ByteString.copyFrom(state))
                .setStartOffset(position)
                .setAttempt(attempt)
                .build();
    }

    synchronized void begin(Life newLife) {
        life = newLife;
    }

    synchronized CompletableFuture<Void> ready() {
        return ready;
    }

    synchronized CompletableFuture<Void> over() {
        return over;
    }

    synchronized long nextOffset() {
        return log.isEmpty() ? config.startOffset : log.get(log.size() - 1).offset() + 1;
    }

    synchronized void append(List<Message> messages) {
        for (Message message : messages) {
            if (message.offset() < nextOffset()) {
                throw new IllegalArgumentException(message + " does not come after offset " + (nextOffset() - 1));
            }
            log.add(message);
        }
    }

    /** Delivers what the lambda has not got, a frame each: messages of a test may differ in their timestamp types. */
    void deliver() {
        while (true) {
            Life to;
            Message next;
            synchronized (this) {
                long from = position;
                next = log.stream()
                        .filter(one -> one.offset() >= from)
                        .findFirst()
                        .orElse(null);
                if (next == null || pause != null || !ready.isDone() || life.isEnding()) {
                    return;
                }
                position = next.offset() + 1;
                to = life;
            }
            to.frame(HostFrame.newBuilder().setBatch(Columns.batch(next)).build());
        }
    }

    void revoke(RevokeReason reason, Duration deadline) {
        Revoked revoked = Revoked.newBuilder()
                .setReason(reason)
                .setDeadlineMs((int) deadline.toMillis())
                .build();
        life.frame(HostFrame.newBuilder().setRevoked(revoked).build());
    }

    void breakStream() {
        cancel("the test broke the stream");
    }

    /** Ends the pause; returns whether there was one. */
    boolean resume() {
        Resumed resumed;
        synchronized (this) {
            if (pause == null || life.isEnding()) {
                return false;
            }
            resumed = Resumed.newBuilder()
                    .setNumber(pause.getNumber())
                    .setFromOffset(position)
                    .build();
            pause = null;
        }
        life.frame(HostFrame.newBuilder().setResumed(resumed).build());
        deliver();
        return true;
    }

    synchronized void produceError(String reason) {
        outputs.failAll(reason);
    }

    /** Aborts the transaction: what is held is dropped, and the lease is dead. */
    void abort() {
        synchronized (this) {
            outputs.begin("");
        }
        revoke(RevokeReason.REVOKE_REASON_ABORTED, Duration.ZERO);
    }

    /** Commits the checkpoint, and tells the lambda. */
    void commit() {
        Life to;
        long offset;
        synchronized (this) {
            offset = resumeAt() - 1;
            if (offset <= committed) {
                return;
            }
            committed = offset;
            to = life;
        }
        to.frame(HostFrame.newBuilder()
                .setCommitted(Committed.newBuilder().setOffset(offset))
                .build());
    }

    synchronized CompletableFuture<Void> said(String text) {
        return text.equals(sign)
                ? CompletableFuture.completedFuture(null)
                : listeners.computeIfAbsent(text, key -> new CompletableFuture<>());
    }

    synchronized String sign() {
        return sign;
    }

    synchronized byte[] state() {
        return state.clone();
    }

    synchronized List<OutputRecord> held() {
        return outputs.held();
    }

    synchronized CompletableFuture<Void> checkpointed(long offset) {
        boolean there = !checkpoints.isEmpty() && checkpoints.get(checkpoints.size() - 1) >= offset;
        return there
                ? CompletableFuture.completedFuture(null)
                : waiters.computeIfAbsent(offset, key -> new CompletableFuture<>());
    }

    synchronized List<Long> checkpoints() {
        return List.copyOf(checkpoints);
    }

    synchronized List<LambdaError> errors() {
        return List.copyOf(errors);
    }

    synchronized List<OutputRecord> sent() {
        return outputs.sent();
    }

    synchronized int completedBeyond() {
        return beyond;
    }

    synchronized Optional<String> paused() {
        return Optional.ofNullable(pause).map(Pause::getReason);
    }

    // ----------------------------------------------------------------------------------------- the stream

    @Override
    public void send(LambdaFrame frame) {
        synchronized (this) {
            switch (frame.getFrameCase()) {
                case READY -> ready.complete(null);
                case CLOSED -> {
                    accept(frame.getClosed().getLastCheckpoint());
                    outputs.begin("");
                }
                case PROGRESS -> {
                    sign = frame.getProgress().getText();
                    CompletableFuture<Void> listener = listeners.remove(sign);
                    if (listener != null) {
                        listener.complete(null);
                    }
                }
                case PAUSE -> {
                    pause = frame.getPause();
                    if (pause.hasOffset()) {
                        position = Math.max(resumeAt(), Math.min(pause.getOffset(), position));
                    }
                }
                default -> {}
            }
        }
        if (frame.hasResume()) {
            resume();
        }
    }

    @Override
    public void request() {
        // Frames come as soon as they are there.
    }

    @Override
    public void halfClose() {
        end(null);
    }

    @Override
    public void cancel(String why) {
        end(new LinkException(why));
    }

    private synchronized void end(RuntimeException why) {
        Life ended = life;
        CompletableFuture<Void> done = over;
        work.now(() -> {
            ended.over(why);
            done.complete(null);
        });
    }

    // ------------------------------------------------------------------------------------------ the calls

    @Override
    public synchronized CompletableFuture<ErrorResponse> error(ErrorRequest request) {
        accept(request.getLastCheckpoint());
        LambdaError.Action action = switch (request.getAction()) {
            case ERROR_ACTION_RESTART -> LambdaError.Action.RESTART;
            case ERROR_ACTION_CRITICAL -> LambdaError.Action.CRITICAL;
            default -> LambdaError.Action.REPORT;
        };
        errors.add(new LambdaError(
                action,
                request.hasOffset() ? OptionalLong.of(request.getOffset()) : OptionalLong.empty(),
                request.getCode(),
                request.getMessage(),
                request.getType()));
        ErrorOutcome outcome = switch (action) {
            case RESTART -> ErrorOutcome.ERROR_OUTCOME_RESTARTING;
            case CRITICAL -> ErrorOutcome.ERROR_OUTCOME_HALTED;
            case REPORT -> ErrorOutcome.ERROR_OUTCOME_REPORTED;
        };
        if (action != LambdaError.Action.REPORT) {
            outputs.begin("");
        }
        return CompletableFuture.completedFuture(
                ErrorResponse.newBuilder().setOutcome(outcome).build());
    }

    @Override
    public CompletableFuture<ProduceResponse> produce(ProduceRequest request, long deadlineMillis) {
        ProduceResponse response;
        synchronized (this) {
            response = outputs.take(request);
            if (response.hasCommit()
                    && response.getCommit().getOutcome() == CheckpointOutcome.CHECKPOINT_OUTCOME_ACCEPTED) {
                accept(request.getCommit());
            }
        }
        commitAtOnce();
        return CompletableFuture.completedFuture(response);
    }

    // ------------------------------------------------------------------------------------ the checkpoints

    @Override
    public void changed(Progress progress, boolean urgent) {
        CheckpointEntry entry = progress.take();
        if (entry == null) {
            return;
        }
        synchronized (this) {
            accept(entry);
            beyond = entry.getCompletedBeyond();
        }
        commitAtOnce();
        progress.answered(
                entry,
                CheckpointResult.newBuilder()
                        .setOutcome(CheckpointOutcome.CHECKPOINT_OUTCOME_ACCEPTED)
                        .build());
    }

    @Override
    public void hurry() {
        // Nothing waits here.
    }

    @Override
    public void forget(Progress progress) {
        // Nothing is kept here.
    }

    private void commitAtOnce() {
        if (!config.holdCommits) {
            work.now(this::commit); // in a thread of its own, as a frame comes: this one may have the lease's lock
        }
    }

    private void accept(CheckpointEntry entry) {
        if (entry.hasOffset() && entry.getOffset() >= resumeAt()) {
            checkpoints.add(entry.getOffset());
            attempt = 0;
            state = entry.hasState() ? entry.getState().toByteArray() : state;
            outputs.release(entry.getOffset());
            waiters.forEach((offset, waiter) -> {
                if (offset <= entry.getOffset()) {
                    waiter.complete(null);
                }
            });
        }
    }

    private long resumeAt() {
        return checkpoints.isEmpty() ? config.startOffset : checkpoints.get(checkpoints.size() - 1) + 1;
    }
}
