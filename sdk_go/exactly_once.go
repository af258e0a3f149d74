package sidecar

import (
	"time"

	"google.golang.org/protobuf/proto"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

// With exactly-once the sidecar holds what a lambda produces, and a checkpoint makes visible all that is held when it
// arrives. So records and checkpoints must arrive in the order in which the lambda made them:
//
//  1. A record is sent only when every checkpoint is answered that was made before it. Otherwise the record could arrive
//     first, and become visible with a checkpoint that does not cover it.
//  2. A checkpoint that was made while records before it still wait to be sent goes in their call, as its commit. Of
//     several the last one goes, with all records before it.
//  3. Any other checkpoint goes in a Checkpoint call, and not while a Produce call is under way.
//
// The lease's mutex is held in all of these functions, but for those that say otherwise.

// lingerTime is how long a record waits for the checkpoint that may follow it.
const lingerTime = 5 * time.Millisecond

// linger gives the code that produces a moment to make the checkpoint too: then both go in one call. It ends with that
// checkpoint, when somebody waits for an outcome, or after lingerTime.
func (l *lease) linger() {
	if p := &l.producing; l.exactlyOnce && len(p.underWay) == 0 && !p.lingers {
		p.lingers = true
		time.AfterFunc(lingerTime, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.endLinger()
		})
	}
}

// awaited notes that somebody waits for an outcome. Called without the mutex.
func (l *lease) awaited() {
	if l.exactlyOnce {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.endLinger()
	}
}

func (l *lease) endLinger() {
	if l.producing.lingers {
		l.producing.lingers = false
		l.cond.Broadcast()
	}
}

// mayProduce reports whether the first record of the queue may be sent now, by rule 1. When that changes, the lease's
// condition is signalled.
func (l *lease) mayProduce() bool {
	p := &l.producing
	if p.lingers && len(p.outcomes.held) == 0 {
		return false
	}
	if l.progress.offsetUntold() {
		l.sender.hurry()
		return false
	}
	// A checkpoint that is still held back although all its records are answered waits for a failure to be taken.
	held := p.outcomes.held
	return len(held) == 0 || held[0].needs >= p.queue[0].number
}

// commitOf returns the checkpoint that goes with these records, by rule 2; nil: none does. The records are taken from the
// queue already.
func (l *lease) commitOf(batch []*Delivery) *pb.CheckpointEntry {
	p := &l.producing
	n := len(p.outcomes.held)
	if n == 0 || len(p.outcomes.failed) > 0 {
		return nil
	}
	last := p.outcomes.held[n-1]
	if len(p.queue) > 0 && p.queue[0].number <= last.needs {
		return nil // the request had no room for all records before it
	}
	size := 0
	for _, delivery := range batch {
		size += delivery.size
	}
	entry := l.progress.commit(last.offset)
	if entry == nil || size+proto.Size(entry) > l.limits.Load().requestBytes-requestReserve {
		return nil // it goes in a Checkpoint call, when these records are held
	}
	l.progress.sending(entry)
	return entry
}

// settleCommit takes what became of a call and of its commit, which may be nil.
func (l *lease) settleCommit(commit *pb.CheckpointEntry, result *pb.CheckpointResult) {
	l.progress.producing = false
	switch {
	case commit == nil:
	case result == nil:
		l.progress.failed()
	default:
		l.progress.answered(commit, result)
	}
	if l.progress.offsetUntold() {
		l.progress.mark()
	}
}

// outcomeUnknown fails the lambda: a call had no answer, so nobody knows what the sidecar holds, or has committed. To go on
// could make a record visible twice. Called without the mutex.
func (l *lease) outcomeUnknown(err *ProduceError) {
	told := *err
	told.Reason += "; nobody knows whether the sidecar holds it, so with exactly-once this lambda starts again"
	l.fail(failureOf(Restart(&told), "produce_failed"))
}
