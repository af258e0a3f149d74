package sidecar

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"kafka-sidecar.example/sdk_go/internal/wire"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

const (
	// While so much waits, no handler is called, until half of it is gone.
	highBytes   = 4 << 20
	highRecords = 20_000
	// Records beyond this fail: they come from goroutines that ignore back-pressure.
	maxWaitingBytes = 64 << 20
	minBusyWait     = 5 * time.Millisecond
	requestReserve  = 4 << 10 // for the other fields of a request
)

// producing is the records of one lease on their way to the sidecar. One call is under way at a time, so they arrive in
// the order in which they were produced; what comes meanwhile goes with the next call.
//
// Its lease's mutex guards the fields. send runs in a goroutine that lives while there is something to send.
type producing struct {
	outcomes outcomes
	ctx      context.Context // of the calls; it ends with the lease
	cancel   context.CancelFunc
	queue    []*Delivery
	underWay []*Delivery
	bytes    int
	records  int
	full     bool          // no handler may be called
	lingers  bool          // exactly-once: records wait for the checkpoint that may follow at once
	over     string        // why nothing is taken any more
	idle     chan struct{} // closed when nothing waits any more; nil: nothing does
}

// produce takes a record.
func (l *lease) produce(output Output) *Delivery {
	delivery := &Delivery{lease: l, output: output, size: sizeOf(output), done: make(chan struct{})}
	refuse := func(kind ProduceFailure, reason string) {
		delivery.settle(Produced{}, &ProduceError{output.Topic, kind, reason})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.producing
	most := l.limits.Load().requestBytes - requestReserve
	if p.over != "" {
		refuse(ProduceStaleLease, p.over)
	} else if fault := faultOf(output); fault != "" {
		refuse(ProduceFailed, fault)
	} else if delivery.size > most {
		refuse(ProduceTooLarge, fmt.Sprintf("%d bytes; a record has at most %d on its way through the sidecar", delivery.size, most))
	} else if p.bytes+delivery.size > maxWaitingBytes {
		refuse(ProduceFailed, fmt.Sprintf("%d bytes wait already; wait for what is produced before there is more", p.bytes))
	}
	p.outcomes.add(delivery)
	if delivery.known() {
		return delivery
	}
	p.queue = append(p.queue, delivery)
	p.bytes += delivery.size
	p.records++
	l.weigh()
	l.linger()
	if p.idle == nil {
		p.idle = make(chan struct{})
		go l.sendProduced(p.idle)
	}
	return delivery
}

// weigh holds the handlers back while much waits.
func (l *lease) weigh() {
	p, share := &l.producing, 1
	if p.full {
		share = 2
	}
	if full := p.bytes > highBytes/share || p.records > highRecords/share; full != p.full {
		p.full = full
		l.cond.Broadcast()
	}
}

// sendProduced sends until nothing waits.
func (l *lease) sendProduced(idle chan struct{}) {
	defer close(idle)
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.producing
	for len(p.queue) > 0 && p.over == "" {
		if l.exactlyOnce && l.progress.sealed {
			l.endProducing("the partition does not belong to this lambda any more")
			break
		} else if l.exactlyOnce && !l.mayProduce() {
			l.cond.Wait()
			continue
		}
		batch, commit := l.takeOutputs(), (*pb.CheckpointEntry)(nil)
		if l.exactlyOnce {
			commit = l.commitOf(batch)
		}
		l.progress.producing = l.exactlyOnce
		p.underWay = batch
		l.mu.Unlock()
		answered := l.sendBatch(batch, commit)
		l.mu.Lock()
		l.settleCommit(commit, answered.commit)
		if p.over != "" {
			break // endProducing has failed them all
		}
		found := answered.outcomes
		for i, delivery := range batch {
			delivery.settle(found[i].produced, found[i].err)
			p.bytes -= delivery.size
			delivery.output = Output{} // the lambda may keep the delivery, and needs no record any more
		}
		p.records -= len(batch)
		p.underWay = nil
		p.outcomes.knownTo(batch)
		l.weigh()
		if answered.unknown && l.exactlyOnce {
			l.mu.Unlock()
			l.outcomeUnknown(found[0].err)
			l.mu.Lock()
		}
	}
	p.idle = nil
}

// takeOutputs takes as many records as one request may have; with exactly-once none that was produced after the last
// checkpoint.
func (l *lease) takeOutputs() []*Delivery {
	p, limits := &l.producing, l.limits.Load()
	topics, size, count, last := map[string]bool{}, 0, 0, int64(math.MaxInt64)
	if held := p.outcomes.held; l.exactlyOnce && len(held) > 0 {
		last = held[len(held)-1].needs
	}
	for count < len(p.queue) && count < limits.records && p.queue[count].number <= last {
		next := p.queue[count]
		size += next.size
		topics[next.output.Topic] = true
		if count > 0 && (size > limits.requestBytes/1024*900 || len(topics) > limits.topics) {
			break
		}
		count++
	}
	batch := p.queue[:count:count]
	p.queue = p.queue[count:]
	return batch
}

// outcome is what became of one record.
type outcome struct {
	produced Produced
	err      *ProduceError
}

// answered is what became of records, and of the commit that went with them; nil: it is not made.
type answered struct {
	outcomes []outcome
	commit   *pb.CheckpointResult
	unknown  bool // a call had no answer
}

func (a answered) failed() bool {
	return slices.ContainsFunc(a.outcomes, func(one outcome) bool { return one.err != nil })
}

// sendBatch sends records, in several calls if they cannot go in one. commit goes with the last of them, if nothing failed
// before; it may be nil.
func (l *lease) sendBatch(batch []*Delivery, commit *pb.CheckpointEntry) answered {
	request := produceRequest(l.id, batch)
	request.Commit = commit
	response, err := l.answer(request)
	if err != nil && wire.TooLarge(err) {
		return l.sendSmaller(batch, commit, err)
	}
	if err != nil {
		return answered{outcomes: allFailed(batch, ProduceFailed, reasonOf(err)), unknown: true}
	}
	n := len(batch)
	if len(response.Outcomes) != n || len(response.Partitions) != n || len(response.Offsets) != n ||
		len(response.Errors) != 0 && len(response.Errors) != n {
		why := fmt.Sprintf("the sidecar answered for %d of %d records", len(response.Outcomes), n)
		return answered{outcomes: allFailed(batch, ProduceFailed, why), unknown: true}
	}
	if all(response, pb.ProduceOutcome_PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED) {
		if parts := byTopic(batch); len(parts) > 1 {
			return l.sendParts(batch, parts)
		}
	}
	return answered{outcomes: outcomesOf(batch, response), commit: response.Commit}
}

// sendSmaller sends what was refused as a whole for its size, and would be for ever.
func (l *lease) sendSmaller(batch []*Delivery, commit *pb.CheckpointEntry, refused error) answered {
	switch {
	case len(batch) > 1:
		half := len(batch) / 2
		first := l.sendBatch(batch[:half], nil)
		if first.failed() {
			commit = nil
		}
		second := answered{outcomes: allFailed(batch[half:], ProduceFailed, "not sent: the call before it had no answer")}
		if !first.unknown || !l.exactlyOnce {
			second = l.sendBatch(batch[half:], commit)
		}
		return answered{append(first.outcomes, second.outcomes...), second.commit, first.unknown || second.unknown}
	case commit != nil:
		return l.sendBatch(batch, nil)
	default:
		return answered{outcomes: allFailed(batch, ProduceTooLarge, "larger than a call may be: "+reasonOf(refused))}
	}
}

// sendParts sends the records of each topic by themselves: nothing was written because of one topic, and the records of
// the others shall not fail with it.
// No commit goes with them, since one of the records before it failed.
func (l *lease) sendParts(batch []*Delivery, parts [][]*Delivery) answered {
	found, unknown := make(map[*Delivery]outcome, len(batch)), false
	for _, part := range parts {
		answered := l.sendBatch(part, nil)
		unknown = unknown || answered.unknown
		for i, one := range answered.outcomes {
			found[part[i]] = one
		}
	}
	inOrder := make([]outcome, len(batch))
	for i, delivery := range batch {
		inOrder[i] = found[delivery]
	}
	return answered{outcomes: inOrder, unknown: unknown}
}

// answer sends a request until the sidecar is not busy, for the lease's life if need be.
func (l *lease) answer(request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
	for {
		response, err := l.sidecar.Produce(l.producing.ctx, request)
		if err != nil || !all(response, pb.ProduceOutcome_PRODUCE_OUTCOME_BUSY) {
			return response, err
		}
		select {
		case <-l.producing.ctx.Done():
			return nil, context.Cause(l.producing.ctx)
		case <-time.After(max(minBusyWait, time.Duration(response.RetryAfterMs)*time.Millisecond)):
		}
	}
}

// endProducing takes no more records, and fails those without an outcome. It returns the highest checkpoint that waited
// for one, or none. The mutex is held.
func (l *lease) endProducing(why string) int64 {
	p := &l.producing
	held := p.outcomes.end()
	if p.over == "" {
		p.over = why
		p.cancel()
		for _, delivery := range append(p.underWay, p.queue...) {
			delivery.settle(Produced{}, &ProduceError{delivery.output.Topic, ProduceFailed, why})
		}
		p.queue, p.underWay = nil, nil
		l.cond.Broadcast()
	}
	return held
}

// received notes that a failure was taken.
func (l *lease) received(delivery *Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.producing.outcomes.taken(delivery)
}
