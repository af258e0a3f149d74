package io.kafkasidecar.testing;

import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.v1.CheckpointOutcome;
import io.kafkasidecar.v1.CheckpointResult;
import io.kafkasidecar.v1.ProduceOutcome;
import io.kafkasidecar.v1.ProduceRequest;
import io.kafkasidecar.v1.ProduceResponse;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * What a lambda produced, as the sidecar has it: written, or with exactly-once held until a checkpoint covers it.
 *
 * <p>Owner: the monitor of {@link Played}.
 */
final class Outputs {
    /** A record that is held; {@code at}: its index in the request that is answered now, or -1. */
    private record Held(OutputRecord record, int at) {}

    private final boolean exactlyOnce;
    private final List<OutputRecord> sent = new ArrayList<>();
    private final Map<String, Long> ends = new HashMap<>(); // the next offset of each topic and partition
    private List<Held> held = new ArrayList<>();
    private String lease = "";
    private String error; // null: records are written

    Outputs(boolean exactlyOnce) {
        this.exactlyOnce = exactlyOnce;
    }

    /** Drops what is held: from now on another lease lives, or none. */
    void begin(String newLease) {
        lease = newLease;
        held.clear();
    }

    void failAll(String reason) {
        error = reason;
    }

    List<OutputRecord> sent() {
        return List.copyOf(sent);
    }

    List<OutputRecord> held() {
        return held.stream().map(Held::record).toList();
    }

    /** Makes visible what a checkpoint covers. */
    void release(long checkpoint) {
        release(checkpoint, null);
    }

    ProduceResponse take(ProduceRequest request) {
        ProduceResponse.Builder response = ProduceResponse.newBuilder();
        List<OutputRecord> records = Columns.records(request);
        if (exactlyOnce && !request.getLease().equals(lease)) {
            records.forEach(record -> add(response, ProduceOutcome.PRODUCE_OUTCOME_STALE_LEASE));
            return request.hasCommit()
                    ? answer(response, CheckpointOutcome.CHECKPOINT_OUTCOME_STALE_LEASE)
                    : response.build();
        }
        if (error != null) {
            records.forEach(record ->
                    add(response, ProduceOutcome.PRODUCE_OUTCOME_FAILED).addErrors(error));
            return response.build();
        }
        if (!exactlyOnce) {
            for (OutputRecord record : records) {
                response.addOutcomes(ProduceOutcome.PRODUCE_OUTCOME_WRITTEN)
                        .addPartitions(partition(record))
                        .addOffsets(write(record));
            }
            return response.build();
        }
        for (OutputRecord record : records) {
            held.add(new Held(record, response.getOutcomesCount()));
            add(response, ProduceOutcome.PRODUCE_OUTCOME_HELD);
        }
        if (request.hasCommit()) {
            release(request.getCommit().getOffset(), response);
            response.setCommit(CheckpointResult.newBuilder().setOutcome(CheckpointOutcome.CHECKPOINT_OUTCOME_ACCEPTED));
        }
        held.replaceAll(one -> new Held(one.record, -1));
        return response.build();
    }

    private void release(long checkpoint, ProduceResponse.Builder response) {
        List<Held> left = new ArrayList<>();
        for (Held one : held) {
            if (one.record.source().orElse(-1) > checkpoint) {
                left.add(one);
                continue;
            }
            long offset = write(one.record);
            if (response != null && one.at >= 0) {
                response.setOutcomes(one.at, ProduceOutcome.PRODUCE_OUTCOME_WRITTEN)
                        .setPartitions(one.at, partition(one.record))
                        .setOffsets(one.at, offset);
            }
        }
        held = left;
    }

    private long write(OutputRecord record) {
        sent.add(record);
        return ends.merge(record.topic() + "/" + partition(record), 1L, Long::sum) - 1;
    }

    private static int partition(OutputRecord record) {
        return record.partition().orElse(0);
    }

    private static ProduceResponse.Builder add(ProduceResponse.Builder response, ProduceOutcome outcome) {
        return response.addOutcomes(outcome).addPartitions(-1).addOffsets(-1);
    }

    private static ProduceResponse answer(ProduceResponse.Builder response, CheckpointOutcome outcome) {
        return response.setCommit(CheckpointResult.newBuilder().setOutcome(outcome))
                .build();
    }
}
