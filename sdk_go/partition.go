package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Partition is one partition in the hands of one lambda: what the lambda knows of it, and what it can say about it.
type Partition struct {
	lease    *lease
	settings Settings
	start    *int64
	attempt  int
	state    []byte
}

// Guarantee is what the sidecar promises for what a lambda produces.
type Guarantee string

const (
	// AtLeastOnce: what is produced is written as it comes. After a failure, records after the last checkpoint are handled
	// again, and what they produced is written again.
	AtLeastOnce Guarantee = "at-least-once"
	// ExactlyOnce: what is produced becomes visible together with the first checkpoint made after it, or never.
	ExactlyOnce Guarantee = "exactly-once"
)

// Topic is the partition's topic.
func (p *Partition) Topic() string { return p.lease.topic }

// Number is the partition's number in the topic.
func (p *Partition) Number() int32 { return p.lease.number }

// Lane says which lane of the partition this is, from 0. A lane has the records of some of the partition's keys, in order.
// Records, offsets and checkpoints are of the lane alone: other lambdas, here or elsewhere, have the other lanes.
func (p *Partition) Lane() int { return int(p.lease.lane) }

// Lanes is how many lanes the partition has. 1: it has none, and this is the whole partition.
func (p *Partition) Lanes() int { return int(p.lease.lanes) }

// Guarantee is the lambda's `guarantee` in the sidecar's config.
func (p *Partition) Guarantee() Guarantee {
	if p.lease.exactlyOnce {
		return ExactlyOnce
	}
	return AtLeastOnce
}

// State is what was given by [Partition.CheckpointState] with the checkpoint where this lambda starts, or with the last
// one before it that had any. nil: none.
func (p *Partition) State() []byte { return slices.Clone(p.state) }

// Lease is the id of this assignment of the partition to this lambda: random, and new each time.
func (p *Partition) Lease() string { return p.lease.id }

// StartOffset is where this lambda starts: its first record has this offset or a higher one. False: not known yet.
func (p *Partition) StartOffset() (int64, bool) {
	if p.start == nil {
		return 0, false
	}
	return *p.start, true
}

// Attempt is 1 for the first lambda that starts at this offset, then 2, 3, ... while each fails without a checkpoint.
func (p *Partition) Attempt() int { return p.attempt }

// Settings are the lambda's settings.
func (p *Partition) Settings() Settings { return p.settings }

// Logger logs with the lambda's name, the topic, the partition and, where it has several, the lane.
func (p *Partition) Logger() *slog.Logger { return p.lease.log }

// Checkpoint says that all records up to and including offset are processed. Call it as often as you like: only the
// latest is sent. Ignored are: an offset below an earlier one (so also a negative one), one at or above a record that
// failed, any after the lease's end.
func (p *Partition) Checkpoint(offset int64) {
	p.lease.checkpoint(offset, nil)
}

// CheckpointState is [Partition.Checkpoint] with a few bytes that belong to the offset, such as a count. They are
// committed to Kafka with it, and the next lambda that starts from there gets them by [Partition.State]. nil: those of the
// checkpoint before it hold, as with Checkpoint. Empty, but not nil: none from here on. A checkpoint that is ignored has
// its state ignored.
//
// The error is a [*StateError]: the state is longer than the sidecar keeps. Then nothing is checkpointed.
func (p *Partition) CheckpointState(offset int64, state []byte) error {
	if most := p.lease.maxState; len(state) > most || state != nil && most == 0 {
		return &StateError{len(state), most}
	}
	p.lease.checkpoint(offset, state)
	return nil
}

// Committed waits until everything up to and including offset is committed in Kafka, such as before an acknowledgement
// to whoever the records are from. It makes no checkpoint. A checkpoint is committed some time after it was made, so
// Handle had better not wait for its own record: that would hold up all that come after it.
//
// The error is a [*NotCommittedError] when the lease ends before, or the sidecar cannot tell; otherwise the cause of ctx's
// end.
func (p *Partition) Committed(ctx context.Context, offset int64) error {
	return p.lease.awaitCommitted(ctx, offset)
}

// Progress is a sign of life of long work, for a lambda with a `deadline` in the sidecar's config: the time counts from
// here again. Operators see the text, such as "43 %", of which 256 bytes are shown. It is sent at once, and then at most
// once a second with the latest text.
func (p *Partition) Progress(text string) {
	p.lease.tellProgress(text)
}

// CompletedBeyond says that so many records after the checkpoint are done too, with so many bytes of keys and values.
// They do not fill the window any more, so one slow record does not stop those after it. The numbers stay until the next
// call: call it again when the checkpoint has caught up. After a restart these records are delivered again.
func (p *Partition) CompletedBeyond(count int, bytes int64) {
	l := p.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress.completedBeyond(uint32(max(count, 0)), uint64(max(bytes, 0)))
}

// Skipped says that the checkpoint has passed count records that were not handled, in total so far. things is how many
// documents or the like are being skipped now, and names are the latest of them; 10 are shown. All of it replaces what
// was said before. Operators see it.
func (p *Partition) Skipped(count uint64, things int, names ...string) {
	l, what := p.lease, madeSkips(count, things, names)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress.skip(what)
}

// Fail says that this lambda cannot go on; Handle is not called again, and only the first failure counts. Wrap the error
// by [Restart] if it is recoverable, and by [At] if it is about a record: without a record, none can be skipped or become
// a dead letter.
func (p *Partition) Fail(err error) {
	p.lease.fail(failureOf(err, "lambda_error"))
}

// Report tells operators of an error, which they see and count. The lambda goes on. [At] says which record it is about.
func (p *Partition) Report(err error) {
	p.lease.report(failureOf(err, "lambda_error"))
}

// Produce writes a record to Kafka through the sidecar. It is sent at once; [Delivery.Wait] tells what became of it.
//
// The records of one lambda are written in the order of the calls. No checkpoint that is made after Produce is sent
// before the outcome is known. A failure that nobody takes by Wait fails the lambda, as [Restart] does: within a second
// if it holds back a checkpoint, otherwise within ten. While 4 MiB or 20,000 records wait, Handle is not called.
//
// With [ExactlyOnce] the sidecar holds the record until a checkpoint comes that was made after it, and writes both in one
// Kafka transaction. Wait returns when the record is held. When the sidecar does not answer, nobody knows whether it
// holds the record: the lambda fails, as Restart does.
func (p *Partition) Produce(output Output) *Delivery {
	return p.lease.produce(output)
}

// Pause takes no records for now, such as while a dependency is down. Handle is not called from this moment; a running
// one goes on. The lambda keeps the partition, and its checkpoints count. The pause ends after retryAfter (0: it has no
// end of its own), by Resume, or by an operator, who sees the reason. A second pause replaces reason and time.
func (p *Partition) Pause(reason string, retryAfter time.Duration) {
	_ = p.lease.pause(reason, retryAfter, none) // no record is named that could not come again
}

// PauseFrom is Pause, and the records from this offset on are delivered again afterwards, such as one whose write failed.
// Forget what you hold of them. Of two pauses the lower offset counts. The error says that no such record can come
// again: it did not come yet, or is checkpointed.
func (p *Partition) PauseFrom(offset int64, reason string, retryAfter time.Duration) error {
	if offset < 0 {
		return fmt.Errorf("offset %d cannot come again: an offset is not negative", offset)
	}
	return p.lease.pause(reason, retryAfter, offset)
}

// Resume ends a pause. Handle is called again when the sidecar has answered. Without a pause it does nothing.
func (p *Partition) Resume() {
	if err := p.lease.resume(); err != nil {
		p.lease.log.Debug("resume is ignored", "reason", err)
	}
}
