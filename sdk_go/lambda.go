package sidecar

import (
	"context"
	"time"
)

// Lambda handles the records of one partition. It may be a [Closer] as well.
type Lambda interface {
	// Handle takes one record. The next one comes after it returned. ctx ends with the lease: when the partition is taken
	// away and most of the time to give it back is over, or at once when the stream to the sidecar broke. Then stop: another
	// process may have the partition already. An error is critical unless it is wrapped by [Restart].
	Handle(ctx context.Context, record Record) error
}

// Closer is a [Lambda] that has something to do at its end.
type Closer interface {
	// Close is called once, after the last Handle returned. A checkpoint that is made here counts, except with
	// [CloseError]. ctx ends when the time to close is over.
	Close(ctx context.Context, reason CloseReason) error
}

// CloseReason says why a lambda is closed.
type CloseReason string

const (
	// CloseStopped: the process or the sidecar ends in order, or an operator pauses or moves the partition.
	CloseStopped CloseReason = "stopped"
	// CloseRebalanced: another process gets the partition.
	CloseRebalanced CloseReason = "rebalanced"
	// CloseError: the lambda failed, the stream to the sidecar broke or, with [ExactlyOnce], a transaction with what it did
	// was aborted.
	CloseError CloseReason = "error"
)

// Factory makes the lambdas of a process, one for each partition. It may be a [Loader] and a [Disposer] as well.
type Factory interface {
	// Create makes the lambda of a partition. After an error it is called again, by this process or another one, after a
	// back-off. It has a minute. ctx ends with the lease, as that of Handle.
	Create(ctx context.Context, partition *Partition) (Lambda, error)
}

// Loader is a [Factory] with something to load before the first partition, such as a connection to a database.
type Loader interface {
	// Load is called once. settings are those of the lambda in the sidecar's config. An error ends [Serve].
	Load(ctx context.Context, settings Settings) error
}

// Disposer is a [Factory] with something to close after the last lambda.
type Disposer interface {
	// Dispose is called once, when all lambdas are closed. ctx ends when the time to drain is over.
	Dispose(ctx context.Context) error
}

// FactoryFunc is a function that is a [Factory].
type FactoryFunc func(ctx context.Context, partition *Partition) (Lambda, error)

// Create calls the function.
func (f FactoryFunc) Create(ctx context.Context, partition *Partition) (Lambda, error) {
	return f(ctx, partition)
}

// HandlerFunc is a function that is a [Factory] of lambdas without a state of their own.
type HandlerFunc func(ctx context.Context, partition *Partition, record Record) error

// Create makes a lambda that calls the function.
func (f HandlerFunc) Create(_ context.Context, partition *Partition) (Lambda, error) {
	return &boundHandler{f, partition}, nil
}

type boundHandler struct {
	handle    HandlerFunc
	partition *Partition
}

func (b *boundHandler) Handle(ctx context.Context, record Record) error {
	return b.handle(ctx, b.partition, record)
}

// Record is one record of a partition. Its bytes belong to the lambda.
type Record struct {
	Topic         string
	Partition     int32
	Offset        int64     // may jump: transactions and compaction leave gaps
	Timestamp     time.Time // zero: the record has none
	TimestampType TimestampType
	Key           []byte // nil: null, which is not the same as empty
	Value         []byte // nil: a tombstone
	Headers       []Header
	// Epoch is how many calls of [Partition.PauseFrom] this record comes after. A lambda that calls it in a goroutine of
	// its own may meet, for one more record, a Handle that was about to begin: by Epoch it tells that this record comes
	// again.
	Epoch int
}

// Header is one header of a record. Kafka keeps their order and duplicates.
type Header struct {
	Name  string // usually UTF-8; Kafka does not promise it
	Value []byte // nil: null
}

// TimestampType says what a record's timestamp means.
type TimestampType int

const (
	// NoTimestamp: the record has none.
	NoTimestamp TimestampType = iota
	// CreateTime: the producer has set it.
	CreateTime
	// LogAppendTime: the broker has set it.
	LogAppendTime
)
