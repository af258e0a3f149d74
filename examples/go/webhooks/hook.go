package main

import (
	"context"
	"errors"
	"sync"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
)

// hook is the lambda of one partition. Handle starts a request for each record, and waits only while too many are under
// way. The checkpoint follows the oldest request that is not answered.
//
// When the endpoint is down, all that is not answered is given up, and the partition pauses; afterwards these records
// come again. Each such turn is an epoch: what a request of an earlier one finds out does not count any more.
type hook struct {
	*sidecar.Partition
	endpoint *endpoint
	pause    time.Duration
	lease    context.Context
	slots    chan struct{} // holds one for each request under way
	requests sync.WaitGroup

	mu      sync.Mutex
	epoch   int
	pending window
	calls   context.Context // of the epoch's requests
	giveUp  context.CancelFunc
	trial   bool // after a pause the first record goes alone, until it is answered
}

func newHook(lease context.Context, partition *sidecar.Partition, endpoint *endpoint, inFlight int, pause time.Duration) *hook {
	made := &hook{
		Partition: partition, endpoint: endpoint, pause: pause, lease: lease, slots: make(chan struct{}, inFlight),
	}
	made.calls, made.giveUp = context.WithCancel(lease)
	return made
}

// Handle starts the request for a record.
func (h *hook) Handle(ctx context.Context, record sidecar.Record) error {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	h.mu.Lock()
	if record.Epoch != h.epoch { // it comes again
		h.mu.Unlock()
		<-h.slots
		return nil
	}
	h.pending.begin(record.Offset)
	calls, trial := h.calls, h.trial
	h.mu.Unlock()
	answered := make(chan struct{})
	h.requests.Go(func() {
		defer close(answered)
		defer func() { <-h.slots }()
		h.answered(record, h.endpoint.call(calls, record))
	})
	if trial {
		select {
		case <-answered:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// answered takes what became of a record's request.
func (h *hook) answered(record sidecar.Record, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var down *downError
	switch {
	case record.Epoch != h.epoch || errors.Is(err, context.Canceled):
		// Given up: the record comes again, here or elsewhere.
	case err == nil:
		h.trial = false
		h.Checkpoint(h.pending.done(record.Offset))
	case errors.As(err, &down):
		h.startOver(down)
	default:
		h.Fail(sidecar.At(record.Offset, err))
	}
}

// startOver gives up what is under way, and pauses. The mutex is held.
func (h *hook) startOver(down *downError) {
	h.giveUp()
	if err := h.PauseFrom(h.pending.first(), down.Error(), max(h.pause, down.retryAfter)); err != nil {
		h.Fail(sidecar.Restart(err))
		return
	}
	h.epoch++
	h.pending, h.trial = window{}, true
	h.calls, h.giveUp = context.WithCancel(h.lease)
}

// Close waits for the requests that are under way; their checkpoints still count.
func (h *hook) Close(ctx context.Context, reason sidecar.CloseReason) error {
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		h.requests.Wait()
	}()
	if reason != sidecar.CloseError {
		select {
		case <-finished:
		case <-ctx.Done():
		}
	}
	h.mu.Lock()
	h.giveUp()
	h.mu.Unlock()
	<-finished
	return nil
}
