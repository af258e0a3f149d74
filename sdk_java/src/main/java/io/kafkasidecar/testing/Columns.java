package io.kafkasidecar.testing;

import com.google.protobuf.ByteString;
import io.kafkasidecar.Header;
import io.kafkasidecar.Message;
import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.v1.Batch;
import io.kafkasidecar.v1.ProduceRequest;
import io.kafkasidecar.v1.TimestampType;
import java.util.ArrayList;
import java.util.List;

/** Messages and records as columns, as the sidecar makes and reads them. */
final class Columns {
    private Columns() {}

    static Batch batch(Message message) {
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

    static List<OutputRecord> records(ProduceRequest request) {
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
            if (request.getSourcesCount() > 0 && request.getSources(at) >= 0) {
                record = record.withSource(request.getSources(at));
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
