package sidecar

import (
	"fmt"
	"time"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

// columns is a frame of records that was checked, and how far it was read. Records are made one by one, in order.
type columns struct {
	batch   *pb.Batch
	count   int
	last    int64 // the last offset
	size    int   // bytes of keys and values, about those of the frame
	at      int   // the next record
	headers int   // the next header
	// The next entry of each list of nulls, which ascend.
	nullKey, nullValue, nullHeader int
}

// checked looks at each column once, so that no code after this meets one that is too short: frames come over a socket.
func checked(batch *pb.Batch) (*columns, error) {
	count, headers := len(batch.Values), 0
	for name, length := range map[string]int{
		"offsets": len(batch.Offsets), "timestamps": len(batch.Timestamps), "keys": len(batch.Keys),
		"header_counts": len(batch.HeaderCounts),
	} {
		if length != 0 && length != count {
			return nil, fmt.Errorf("frame: Batch.%s has %d entries for %d records", name, length, count)
		}
	}
	for _, some := range batch.HeaderCounts {
		headers += int(some)
	}
	if headers != len(batch.HeaderNames) || headers != len(batch.HeaderValues) {
		return nil, fmt.Errorf("frame: Batch has %d header_names and %d header_values for %d headers",
			len(batch.HeaderNames), len(batch.HeaderValues), headers)
	}
	for name, column := range map[string]struct {
		nulls  []uint32
		length int
	}{
		"null_keys": {batch.NullKeys, len(batch.Keys)}, "null_values": {batch.NullValues, count},
		"null_header_values": {batch.NullHeaderValues, headers},
	} {
		for i, null := range column.nulls {
			if int(null) >= column.length || i > 0 && null <= column.nulls[i-1] {
				return nil, fmt.Errorf("frame: Batch.%s names entry %d of %d, or does not ascend", name, null, column.length)
			}
		}
	}
	last := batch.FirstOffset + int64(count) - 1
	for i, offset := range batch.Offsets {
		if i == 0 && offset != batch.FirstOffset || i > 0 && offset <= last {
			return nil, fmt.Errorf("frame: Batch.offsets do not ascend from first_offset %d", batch.FirstOffset)
		}
		last = offset
	}
	if batch.FirstOffset < 0 {
		return nil, fmt.Errorf("frame: Batch.first_offset is %d", batch.FirstOffset)
	}
	return &columns{batch: batch, count: count, last: last, size: lengths(batch.Keys) + lengths(batch.Values)}, nil
}

func lengths(column [][]byte) (sum int) {
	for _, entry := range column {
		sum += len(entry)
	}
	return sum
}

// offset is that of the next record.
func (c *columns) offset() int64 {
	if len(c.batch.Offsets) > 0 {
		return c.batch.Offsets[c.at]
	}
	return c.batch.FirstOffset + int64(c.at)
}

// next makes the next record; there must be one.
func (c *columns) next(topic string, partition int32) Record {
	batch, i := c.batch, c.at
	record := Record{Topic: topic, Partition: partition, Offset: c.offset()}
	if kind := batch.TimestampType; len(batch.Timestamps) > 0 && batch.Timestamps[i] >= 0 &&
		(kind == pb.TimestampType_TIMESTAMP_TYPE_CREATE_TIME || kind == pb.TimestampType_TIMESTAMP_TYPE_LOG_APPEND_TIME) {
		record.Timestamp, record.TimestampType = time.UnixMilli(batch.Timestamps[i]), TimestampType(kind)
	}
	if len(batch.Keys) > 0 {
		record.Key = entry(batch.Keys, i, batch.NullKeys, &c.nullKey)
	}
	record.Value = entry(batch.Values, i, batch.NullValues, &c.nullValue)
	if len(batch.HeaderCounts) > 0 && batch.HeaderCounts[i] > 0 {
		record.Headers = make([]Header, batch.HeaderCounts[i])
		for j := range record.Headers {
			value := entry(batch.HeaderValues, c.headers, batch.NullHeaderValues, &c.nullHeader)
			record.Headers[j] = Header{string(batch.HeaderNames[c.headers]), value}
			c.headers++
		}
	}
	c.at++
	return record
}

// entry is the i-th entry of a column, and nil when it is null. It is never nil otherwise.
func entry(column [][]byte, i int, nulls []uint32, next *int) []byte {
	if *next < len(nulls) && int(nulls[*next]) == i {
		*next++
		return nil
	}
	if column[i] == nil {
		return []byte{}
	}
	return column[i]
}
