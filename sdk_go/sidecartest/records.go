package sidecartest

import (
	"slices"

	sidecar "kafka-sidecar.example/sdk_go"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// batchOf is the frame of one record. Records that a test made may differ in their kinds of timestamps.
func batchOf(record sidecar.Record) *pb.Batch {
	batch := &pb.Batch{
		FirstOffset: record.Offset, Timestamps: []int64{-1}, TimestampType: pb.TimestampType(record.TimestampType),
		Values: [][]byte{record.Value},
	}
	if !record.Timestamp.IsZero() {
		batch.Timestamps[0] = record.Timestamp.UnixMilli()
		if record.TimestampType == sidecar.NoTimestamp {
			batch.TimestampType = pb.TimestampType_TIMESTAMP_TYPE_CREATE_TIME
		}
	}
	if record.Value == nil {
		batch.NullValues = []uint32{0}
	}
	if record.Key != nil {
		batch.Keys = [][]byte{record.Key}
	}
	if len(record.Headers) > 0 {
		batch.HeaderCounts = []uint32{uint32(len(record.Headers))}
	}
	for i, header := range record.Headers {
		batch.HeaderNames = append(batch.HeaderNames, []byte(header.Name))
		batch.HeaderValues = append(batch.HeaderValues, header.Value)
		if header.Value == nil {
			batch.NullHeaderValues = append(batch.NullHeaderValues, uint32(i))
		}
	}
	return batch
}

// outputsOf are the records of a request. The bytes are copies: the lambda may use its own again.
func outputsOf(request *pb.ProduceRequest) []sidecar.Output {
	outputs, header := make([]sidecar.Output, len(request.Values)), 0
	for i := range outputs {
		output := &outputs[i]
		output.Topic = request.Topics[0]
		if len(request.TopicIndexes) > 0 {
			output.Topic = request.Topics[request.TopicIndexes[i]]
		}
		output.Value = entry(request.Values, i, request.NullValues)
		if len(request.Keys) > 0 {
			output.Key = entry(request.Keys, i, request.NullKeys)
		}
		if len(request.Partitions) > 0 && request.Partitions[i] >= 0 {
			output.Partition = new(request.Partitions[i])
		}
		if len(request.Sources) > 0 && request.Sources[i] >= 0 {
			output.Source = new(request.Sources[i])
		}
		if len(request.HeaderCounts) > 0 {
			for range request.HeaderCounts[i] {
				output.Headers = append(output.Headers, sidecar.Header{
					Name:  string(request.HeaderNames[header]),
					Value: entry(request.HeaderValues, header, request.NullHeaderValues),
				})
				header++
			}
		}
	}
	return outputs
}

// entry is nil when it is null, and never nil otherwise.
func entry(column [][]byte, i int, nulls []uint32) []byte {
	if slices.Contains(nulls, uint32(i)) {
		return nil
	}
	return append([]byte{}, column[i]...)
}
