package io.kafkasidecar.internal;

import com.google.protobuf.ByteString;
import io.kafkasidecar.Header;
import io.kafkasidecar.Message;
import io.kafkasidecar.OutputRecord;
import io.kafkasidecar.TimestampType;
import io.kafkasidecar.v1.Batch;
import io.kafkasidecar.v1.ProduceRequest;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Records as columns, in both directions. */
final class Wire {
    private static final int OVERHEAD_BYTES = 32; // of a record or a header on the wire

    private Wire() {}

    /** A record that is copied for the wire: the lambda may use its arrays again. A null stays null. */
    record Output(
            String topic,
            ByteString key,
            ByteString value,
            List<Output.Field> headers,
            int partition,
            long source,
            int size) {
        record Field(ByteString name, ByteString value) {}

        static Output of(OutputRecord record) {
            ByteString key = copied(record.key());
            ByteString value = copied(record.value());
            int size = OVERHEAD_BYTES + length(key) + length(value);
            List<Field> headers = new ArrayList<>(record.headers().size());
            for (Header header : record.headers()) {
                Field field = new Field(copied(header.nameBytes()), copied(header.value()));
                size += OVERHEAD_BYTES + length(field.name) + length(field.value);
                headers.add(field);
            }
            int partition = record.partition().orElse(-1);
            long source = record.source().orElse(-1);
            return new Output(record.topic(), key, value, headers, partition, source, size);
        }
    }

    /** Makes the columns of these records. Columns that are all null, or all the default, are left out. */
    static ProduceRequest.Builder request(String lease, List<Output> records) {
        ProduceRequest.Builder request = ProduceRequest.newBuilder().setLease(lease);
        Map<String, Integer> topics = new LinkedHashMap<>();
        records.forEach(record -> topics.putIfAbsent(record.topic, topics.size()));
        request.addAllTopics(topics.keySet());
        boolean keys = records.stream().anyMatch(record -> record.key != null);
        boolean headers = records.stream().anyMatch(record -> !record.headers.isEmpty());
        boolean partitions = records.stream().anyMatch(record -> record.partition >= 0);
        for (int at = 0; at < records.size(); at++) {
            Output record = records.get(at);
            if (topics.size() > 1) {
                request.addTopicIndexes(topics.get(record.topic));
            }
            if (keys) {
                request.addKeys(filled(record.key));
                if (record.key == null) {
                    request.addNullKeys(at);
                }
            }
            request.addValues(filled(record.value));
            if (record.value == null) {
                request.addNullValues(at);
            }
            if (partitions) {
                request.addPartitions(record.partition);
            }
            if (headers) {
                request.addHeaderCounts(record.headers.size());
                record.headers.forEach(header -> add(request, header));
            }
        }
        return request;
    }

    /** Adds the column of sources, which a sidecar takes with exactly-once only. */
    static void addSources(ProduceRequest.Builder request, List<Output> records) {
        if (records.stream().anyMatch(record -> record.source >= 0)) {
            records.forEach(record -> request.addSources(record.source));
        }
    }

    private static void add(ProduceRequest.Builder request, Output.Field header) {
        if (header.value == null) {
            request.addNullHeaderValues(request.getHeaderValuesCount());
        }
        request.addHeaderNames(header.name).addHeaderValues(filled(header.value));
    }

    private static ByteString copied(byte[] bytes) {
        return bytes == null ? null : ByteString.copyFrom(bytes);
    }

    private static ByteString filled(ByteString bytes) {
        return bytes == null ? ByteString.EMPTY : bytes;
    }

    private static int length(ByteString bytes) {
        return bytes == null ? 0 : bytes.size();
    }

    /** The records of a frame, read one after the other. */
    static final class Columns {
        static final Columns NONE = new Columns(Batch.getDefaultInstance(), "", 0);

        final int count;
        final long last;
        /** Bytes of keys and values, about those of the frame. */
        final long size;

        private final String topic;
        private final int partition;
        private final Batch batch;
        private final TimestampType type;
        private int nextNullKey;
        private int nextNullValue;
        private int nextHeader;
        private int nextNullHeader;

        /** Checks that the columns fit together, so that no code after this meets one that is too short. */
        Columns(Batch batch, String topic, int partition) {
            this.batch = batch;
            this.topic = topic;
            this.partition = partition;
            this.count = batch.getValuesCount();
            fits("offsets", batch.getOffsetsCount());
            fits("timestamps", batch.getTimestampsCount());
            fits("keys", batch.getKeysCount());
            fits("header_counts", batch.getHeaderCountsCount());
            ascends("null_keys", batch.getNullKeysList(), batch.getKeysCount());
            ascends("null_values", batch.getNullValuesList(), count);
            ascends("null_header_values", batch.getNullHeaderValuesList(), batch.getHeaderValuesCount());
            long headers =
                    batch.getHeaderCountsList().stream().mapToLong(n -> n).sum();
            boolean negative = batch.getHeaderCountsList().stream().anyMatch(n -> n < 0);
            if (negative || headers != batch.getHeaderNamesCount() || headers != batch.getHeaderValuesCount()) {
                throw new LinkException("Batch.header_counts, header_names and header_values do not fit together");
            }
            this.last = checkedLast();
            this.size = lengths(batch.getKeysList()) + lengths(batch.getValuesList());
            this.type = switch (batch.getTimestampType()) {
                case TIMESTAMP_TYPE_CREATE_TIME -> TimestampType.CREATE_TIME;
                case TIMESTAMP_TYPE_LOG_APPEND_TIME -> TimestampType.LOG_APPEND_TIME;
                default -> TimestampType.NONE;
            };
        }

        long offset(int index) {
            return batch.getOffsetsCount() == 0 ? batch.getFirstOffset() + index : batch.getOffsets(index);
        }

        /** The record at this index. Call it with 0, 1, 2, ...: the nulls and headers are read in step. */
        Message message(int index) {
            byte[] key = null;
            if (batch.getKeysCount() > 0) {
                if (nextNullKey < batch.getNullKeysCount() && batch.getNullKeys(nextNullKey) == index) {
                    nextNullKey++;
                } else {
                    key = batch.getKeys(index).toByteArray();
                }
            }
            byte[] value = null;
            if (nextNullValue < batch.getNullValuesCount() && batch.getNullValues(nextNullValue) == index) {
                nextNullValue++;
            } else {
                value = batch.getValues(index).toByteArray();
            }
            boolean timed = type != TimestampType.NONE && batch.getTimestampsCount() > 0;
            long timestamp = timed ? batch.getTimestamps(index) : -1;
            return new Message(topic, partition, offset(index), timestamp, type, key, value, headers(index));
        }

        private List<Header> headers(int index) {
            int many = batch.getHeaderCountsCount() == 0 ? 0 : batch.getHeaderCounts(index);
            if (many == 0) {
                return List.of();
            }
            List<Header> headers = new ArrayList<>(many);
            for (int end = nextHeader + many; nextHeader < end; nextHeader++) {
                boolean isNull = nextNullHeader < batch.getNullHeaderValuesCount()
                        && batch.getNullHeaderValues(nextNullHeader) == nextHeader;
                nextNullHeader += isNull ? 1 : 0;
                byte[] value = isNull ? null : batch.getHeaderValues(nextHeader).toByteArray();
                headers.add(Header.of(batch.getHeaderNames(nextHeader).toByteArray(), value));
            }
            return headers;
        }

        private static long lengths(List<ByteString> column) {
            long sum = 0;
            for (ByteString entry : column) {
                sum += entry.size();
            }
            return sum;
        }

        private void fits(String column, int length) {
            if (length != 0 && length != count) {
                throw new LinkException("Batch." + column + " has " + length + " entries for " + count + " records");
            }
        }

        private static void ascends(String column, List<Integer> indexes, int below) {
            int before = -1;
            for (int index : indexes) {
                if (index <= before || index >= below) {
                    throw new LinkException("Batch." + column + " does not ascend below " + below);
                }
                before = index;
            }
        }

        private long checkedLast() {
            long first = batch.getFirstOffset();
            if (first < 0) {
                throw new LinkException("Batch.first_offset is " + first);
            }
            if (batch.getOffsetsCount() == 0) {
                return first + count - 1;
            }
            long before = first - 1;
            for (int at = 0; at < count; at++) {
                long offset = batch.getOffsets(at);
                if (offset <= before || (at == 0 && offset != first)) {
                    throw new LinkException("Batch.offsets do not ascend from first_offset");
                }
                before = offset;
            }
            return before;
        }
    }
}
