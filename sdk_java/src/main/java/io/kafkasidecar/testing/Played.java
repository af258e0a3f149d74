package io.kafkasidecar.testing;

import com.google.protobuf.ByteString;
import io.kafkasidecar.Header;
import io.kafkasidecar.Message;
import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.internal.Calls;
import io.kafkasidecar.internal.Life;
import io.kafkasidecar.internal.Link;
import io.kafkasidecar.internal.LinkException;
import io.kafkasidecar.internal.Progress;
import io.kafkasidecar.internal.Work;
import io.kafkasidecar.v1.Assigned;
import io.kafkasidecar.v1.Batch;
import io.kafkasidecar.v1.CheckpointEntry;
import io.kafkasidecar.v1.CheckpointOutcome;
import io.kafkasidecar.v1.CheckpointResult;
import io.kafkasidecar.v1.ErrorOutcome;
import io.kafkasidecar.v1.ErrorRequest;
import io.kafkasidecar.v1.ErrorResponse;
import io.kafkasidecar.v1.HostFrame;
import io.kafkasidecar.v1.LambdaFrame;
import io.kafkasidecar.v1.Pause;
import io.kafkasidecar.v1.ProduceOutcome;
import io.kafkasidecar.v1.ProduceRequest;
import io.kafkasidecar.v1.ProduceResponse;
import io.kafkasidecar.v1.Resumed;
import io.kafkasidecar.v1.RevokeReason;
import io.kafkasidecar.v1.Revoked;
import io.kafkasidecar.v1.TimestampType;
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
    private final long startOffset;
    private final List<Long> checkpoints = new ArrayList<>();
    private final List<LambdaError> errors = new ArrayList<>();
    private final List<OutputRecord> sent = new ArrayList<>();
    private final Map<String, Long> ends = new HashMap<>(); // the next offset of each topic and partition
    private final Map<Long, CompletableFuture<Void>> waiters = new HashMap<>();
    int attempt;
    private Life life;
    private CompletableFuture<Void> ready = new CompletableFuture<>();
    private CompletableFuture<Void> over = new CompletableFuture<>();
    private long position;
    private Pause pause; // null: none
    private int beyond;
    private String produceError;

    Played(Work work, List<Message> log, long startOffset) {
        this.work = work;
        this.log = log;
        this.startOffset = startOffset;
    }

    // -------------------------------------------------------------------------------------- for the test

    synchronized Assigned assign(String lease, String topic, int partition) {
        position = resumeAt();
        attempt++;
        pause = null;
        ready = new CompletableFuture<>();
        over = new CompletableFuture<>();
        return Assigned.newBuilder()
                .setLease(lease)
                .setTopic(topic)
                .setPartition(partition)
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
        return log.isEmpty() ? startOffset : log.get(log.size() - 1).offset() + 1;
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
            to.frame(HostFrame.newBuilder().setBatch(batch(next)).build());
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
        produceError = reason;
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
        return List.copyOf(sent);
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
                case CLOSED -> accept(frame.getClosed().getLastCheckpoint());
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
        return CompletableFuture.completedFuture(
                ErrorResponse.newBuilder().setOutcome(outcome).build());
    }

    @Override
    public synchronized CompletableFuture<ProduceResponse> produce(ProduceRequest request, long deadlineMillis) {
        ProduceResponse.Builder response = ProduceResponse.newBuilder();
        for (OutputRecord record : records(request)) {
            int partition = record.partition().orElse(0);
            if (produceError == null) {
                long offset = ends.merge(record.topic() + "/" + partition, 1L, Long::sum) - 1;
                response.addOutcomes(ProduceOutcome.PRODUCE_OUTCOME_WRITTEN)
                        .addPartitions(partition)
                        .addOffsets(offset);
                sent.add(record);
            } else {
                response.addOutcomes(ProduceOutcome.PRODUCE_OUTCOME_FAILED)
                        .addPartitions(-1)
                        .addOffsets(-1)
                        .addErrors(produceError);
            }
        }
        return CompletableFuture.completedFuture(response.build());
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

    private void accept(CheckpointEntry entry) {
        if (entry.hasOffset() && entry.getOffset() >= resumeAt()) {
            checkpoints.add(entry.getOffset());
            attempt = 0;
            waiters.forEach((offset, waiter) -> {
                if (offset <= entry.getOffset()) {
                    waiter.complete(null);
                }
            });
        }
    }

    private long resumeAt() {
        return checkpoints.isEmpty() ? startOffset : checkpoints.get(checkpoints.size() - 1) + 1;
    }

    // -------------------------------------------------------------------------------------------- columns

    private static Batch batch(Message message) {
        Batch.Builder batch = Batch.newBuilder()
                .setFirstOffset(message.offset())
                .addTimestamps(message.timestamp())
                .setTimestampType(type(message))
                .addValues(bytes(message.value()));
        if (message.value() == null) {
            batch.addNullValues(0);
        }
        if (message.key() != null) {
            batch.addKeys(bytes(message.key()));
        }
        if (!message.headers().isEmpty()) {
            batch.addHeaderCounts(message.headers().size());
        }
        for (Header header : message.headers()) {
            if (header.value() == null) {
                batch.addNullHeaderValues(batch.getHeaderValuesCount());
            }
            batch.addHeaderNames(bytes(header.nameBytes())).addHeaderValues(bytes(header.value()));
        }
        return batch.build();
    }

    private static TimestampType type(Message message) {
        return switch (message.timestampType()) {
            case NONE -> TimestampType.TIMESTAMP_TYPE_UNSPECIFIED;
            case CREATE_TIME -> TimestampType.TIMESTAMP_TYPE_CREATE_TIME;
            case LOG_APPEND_TIME -> TimestampType.TIMESTAMP_TYPE_LOG_APPEND_TIME;
        };
    }

    private static ByteString bytes(byte[] bytes) {
        return bytes == null ? ByteString.EMPTY : ByteString.copyFrom(bytes);
    }

    private static List<OutputRecord> records(ProduceRequest request) {
        List<OutputRecord> records = new ArrayList<>();
        int header = 0;
        for (int at = 0; at < request.getValuesCount(); at++) {
            int topic = request.getTopicIndexesCount() == 0 ? 0 : request.getTopicIndexes(at);
            boolean noValue = request.getNullValuesList().contains(at);
            OutputRecord record = OutputRecord.of(
                    request.getTopics(topic),
                    noValue ? null : request.getValues(at).toByteArray());
            if (request.getKeysCount() > 0 && !request.getNullKeysList().contains(at)) {
                record = record.withKey(request.getKeys(at).toByteArray());
            }
            if (request.getPartitionsCount() > 0 && request.getPartitions(at) >= 0) {
                record = record.withPartition(request.getPartitions(at));
            }
            int count = request.getHeaderCountsCount() == 0 ? 0 : request.getHeaderCounts(at);
            List<Header> headers = new ArrayList<>(count);
            for (int end = header + count; header < end; header++) {
                boolean noHeader = request.getNullHeaderValuesList().contains(header);
                headers.add(Header.of(
                        request.getHeaderNames(header).toByteArray(),
                        noHeader ? null : request.getHeaderValues(header).toByteArray()));
            }
            records.add(record.withHeaders(headers));
        }
        return records;
    }
}
