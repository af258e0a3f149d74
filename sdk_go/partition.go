package sidecar

import (
	"fmt"
	"log/slog"
	"time"
)

// Partition is one partition in the hands of one lambda: what the lambda knows of it, and what it can say about it.
type Partition struct {
	lease    *lease
	settings Settings
	start    *int64
	attempt  int
}

// Topic is the partition's topic.
func (p *Partition) Topic() string { return p.lease.topic }

// Number is the partition's number in the topic.
func (p *Partition) Number() int32 { return p.lease.number }

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

// Logger logs with the lambda's name, the topic and the partition.
func (p *Partition) Logger() *slog.Logger { return p.lease.log }

// Checkpoint says that all records up to and including offset are processed. Call it as often as you like: only the
// latest is sent. Ignored are: an offset below an earlier one (so also a negative one), one at or above a record that
// failed, any after the lease's end.
func (p *Partition) Checkpoint(offset int64) {
	l := p.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset > l.progress.offset && !l.progress.sealed && l.producing.outcomes.admits(offset) {
		l.progress.checkpoint(offset)
	}
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
