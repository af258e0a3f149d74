package sidecar

import (
	"context"
	"fmt"
	"unicode/utf8"
)

// Output is a record to produce. Its bytes and headers must not change until the outcome is known.
type Output struct {
	Topic     string
	Key       []byte // nil: null
	Value     []byte // nil: null, a tombstone
	Headers   []Header
	Partition *int32 // nil: by the key, as the Java client does (murmur2); without a key any
	// Source is the offset of the record that this one was made from, for handlers that overlap. With [ExactlyOnce] it then
	// becomes visible with a checkpoint at this offset or above it; nil: with the next checkpoint. Otherwise it says nothing.
	Source *int64
}

// Produced is where a record was written. With [ExactlyOnce] that is not known when the record is held: partition and
// offset are -1.
type Produced struct {
	Topic     string
	Partition int32
	Offset    int64
}

// ProduceFailure is why a record was not written.
type ProduceFailure string

const (
	// ProduceFailed: anything but what follows. The record may have been written all the same.
	ProduceFailed ProduceFailure = "failed"
	// ProduceTooLarge: the record's size is refused, and would be refused again.
	ProduceTooLarge ProduceFailure = "too_large"
	// ProduceNotAllowed: the lambda's `produce` in the sidecar's config does not list the topic.
	ProduceNotAllowed ProduceFailure = "not_allowed"
	// ProduceStaleLease: the partition does not belong to this lambda any more.
	ProduceStaleLease ProduceFailure = "stale_lease"
	// ProduceTooMuchHeld: with [ExactlyOnce], more would wait for a checkpoint than the sidecar holds for a lambda. To
	// produce the record again is of no use before a checkpoint.
	ProduceTooMuchHeld ProduceFailure = "too_much_held"
)

// ProduceError says that a record was not written, or is not known to be.
type ProduceError struct {
	Topic  string
	Kind   ProduceFailure
	Reason string
}

func (e *ProduceError) Error() string {
	return fmt.Sprintf("not written to %s (%s): %s", printable(e.Topic), e.Kind, printable(e.Reason))
}

// Delivery is a record on its way to Kafka.
type Delivery struct {
	lease  *lease
	output Output
	size   int
	number int64 // of all that the lease produced
	done   chan struct{}
	// Written once, before done is closed.
	produced Produced
	err      *ProduceError
}

// Done is closed when the outcome is known.
func (d *Delivery) Done() <-chan struct{} { return d.done }

// Wait waits for the outcome. Its error is a [*ProduceError], or the cause of ctx's end. To get a ProduceError by Wait
// is to take the failure: the lambda knows of it now, and decides. For a second more, checkpoints do not pass the record,
// so there is time to call [Partition.Fail]. A failure that nobody takes fails the lambda.
func (d *Delivery) Wait(ctx context.Context) (Produced, error) {
	select {
	case <-d.done: // a known outcome is told also when ctx has ended
	default:
		d.lease.awaited()
		select {
		case <-d.done:
		case <-ctx.Done():
			return Produced{}, context.Cause(ctx)
		}
	}
	if d.err != nil {
		d.lease.received(d)
		return Produced{}, d.err
	}
	return d.produced, nil
}

func (d *Delivery) known() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// settle makes the outcome known. err nil: the record is written.
func (d *Delivery) settle(produced Produced, err *ProduceError) {
	if d.known() {
		return
	}
	d.produced, d.err = produced, err
	close(d.done)
}

const (
	maxTopic = 249 // characters of a topic's name; Kafka takes no longer one
	overhead = 32  // bytes of a record or a header on the wire
)

// sizeOf is the size of a record in a request, at most.
func sizeOf(output Output) int {
	size := overhead + len(output.Key) + len(output.Value)
	for _, header := range output.Headers {
		size += overhead + len(header.Name) + len(header.Value)
	}
	return size
}

// faultOf says why an output cannot even be sent; empty: it can.
func faultOf(output Output) string {
	if output.Topic == "" || len(output.Topic) > maxTopic || !utf8.ValidString(output.Topic) {
		return fmt.Sprintf("a topic's name has 1 to %d characters of UTF-8", maxTopic)
	}
	if output.Partition != nil && *output.Partition < 0 {
		return fmt.Sprintf("partition %d is negative; leave it nil to choose it by the key", *output.Partition)
	}
	if output.Source != nil && *output.Source < 0 {
		return fmt.Sprintf("source %d is negative; it is a record's offset, or nil", *output.Source)
	}
	return ""
}
