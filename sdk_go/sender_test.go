package sidecar

import (
	"log/slog"
	"runtime"
	"testing"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

// A lease that moves while the sender collects goes with the next call: with exactly-once, two entries of a lease in one
// call made the sidecar write a record twice.
func TestOneEntryOfALeaseInACall(t *testing.T) {
	s := newSender(nil, slog.Default(), func(int) {})
	leases := map[string]*lease{}
	moves := func(id string, offset int64) {
		l := leases[id]
		l.mu.Lock()
		defer l.mu.Unlock()
		l.progress.deliveredTo(offset)
		l.progress.checkpoint(offset)
	}
	for _, id := range []string{"a", "b"} {
		l := &lease{id: id}
		l.progress = newProgress(id, 100, 1<<40, 0, func() { s.changed(l) }, s.hurry)
		leases[id] = l
		moves(id, 1)
	}

	leases["b"].mu.Lock()
	collected := make(chan []*pb.CheckpointEntry)
	go func() {
		_, entries := s.collect()
		collected <- entries
	}()
	for waits := true; waits; runtime.Gosched() { // until it has taken a, and waits for b
		s.mu.Lock()
		waits = len(s.moved) > 0
		s.mu.Unlock()
	}
	moves("a", 2)
	leases["b"].mu.Unlock()

	if got := <-collected; len(got) != 2 || got[0].Lease != "a" || got[1].Lease != "b" {
		t.Errorf("the first call has %v", got)
	}
	if _, got := s.collect(); len(got) != 1 || got[0].GetOffset() != 2 {
		t.Errorf("the next call has %v", got)
	}
}
