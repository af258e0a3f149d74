package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"kafka-sidecar.example/sdk_go/internal/wire"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

const (
	// Between the starts of two calls, unless a lease is in a hurry. A call takes some 2 ms of CPU time, sidecar and lambda
	// together: with 10 ms between them, a lambda that gets 200 records a second costs half as much again.
	spacing         = 50 * time.Millisecond
	handledInterval = time.Second // between looks at handled offsets that moved without a checkpoint
	minRetry        = 50 * time.Millisecond
	maxRetry        = time.Second
	maxEntryBytes   = maxNames*(maxName+3) + 4<<10 // the names, and a state with the other fields
)

// limits are what the sidecar takes in one call, as its Welcome says.
type limits struct {
	requestBytes, entries, records, topics int
	close                                  time.Duration // from Error to Closed
}

var defaultLimits = limits{
	requestBytes: 1 << 20, entries: 10_000, records: 10_000, topics: 100, close: 10 * time.Second,
}

// toldLimits reads a Welcome; 0 there means that the sidecar does not say.
func toldLimits(said *pb.Limits) *limits {
	told := defaultLimits
	for _, limit := range []struct {
		said uint32
		told *int
	}{
		{said.GetMaxRequestBytes(), &told.requestBytes}, {said.GetMaxCheckpointEntries(), &told.entries},
		{said.GetMaxProduceRecords(), &told.records}, {said.GetMaxProduceTopics(), &told.topics},
	} {
		if limit.said != 0 {
			*limit.told = int(limit.said)
		}
	}
	if said.GetCloseTimeoutMs() != 0 {
		told.close = time.Duration(said.GetCloseTimeoutMs()) * time.Millisecond
	}
	return &told
}

// sender sends the progress of all leases: one call under way, with all that moved.
//
// run is its goroutine. A lease's mutex may be held when its mutex is taken, never the other way round.
type sender struct {
	sidecar wire.Sidecar
	limits  atomic.Pointer[limits]
	log     *slog.Logger
	busy    func(int)
	wake    chan struct{}
	hurried chan struct{}

	mu     sync.Mutex
	leases map[*lease]struct{}
	moved  []*lease
}

func newSender(sidecar wire.Sidecar, log *slog.Logger, busy func(int)) *sender {
	made := &sender{
		sidecar: sidecar, log: log, busy: busy, leases: map[*lease]struct{}{},
		wake: make(chan struct{}, 1), hurried: make(chan struct{}, 1),
	}
	made.limits.Store(&defaultLimits)
	return made
}

func (s *sender) add(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[l] = struct{}{}
}

func (s *sender) forget(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, l)
}

// changed sends the lease with the next call. The lease is not among `moved`: its progress was not dirty.
func (s *sender) changed(l *lease) {
	s.busy(1)
	s.mu.Lock()
	s.moved = append(s.moved, l)
	s.mu.Unlock()
	nudge(s.wake)
	if l.progress.urgent() {
		nudge(s.hurried)
	}
}

func (s *sender) hurry() { nudge(s.hurried) }

func nudge(channel chan struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}

// run sends until ctx ends.
func (s *sender) run(ctx context.Context) {
	tick := time.NewTicker(handledInterval)
	defer tick.Stop()
	var retry time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.lookAtHandled()
			continue
		case <-s.wake:
		}
		began := time.Now()
		retry = s.send(ctx, retry)
		s.space(ctx, began, retry)
	}
}

// space waits until the next call may be made.
func (s *sender) space(ctx context.Context, began time.Time, retry time.Duration) {
	wait, hurried := spacing-time.Since(began), s.hurried
	if retry > 0 {
		wait, hurried = jittered(retry), nil
	}
	select {
	case <-ctx.Done():
	case <-hurried:
	case <-time.After(wait):
	}
}

func jittered(wait time.Duration) time.Duration {
	return time.Duration(float64(wait) * (0.5 + rand.Float64()/2))
}

func (s *sender) lookAtHandled() {
	s.mu.Lock()
	all := make([]*lease, 0, len(s.leases))
	for l := range s.leases {
		all = append(all, l)
	}
	s.mu.Unlock()
	for _, l := range all {
		l.mu.Lock()
		l.progress.handledMoved()
		l.mu.Unlock()
	}
}

// send makes one call; it returns how long to wait before the next, 0 when it came through.
func (s *sender) send(ctx context.Context, retry time.Duration) time.Duration {
	sent, entries := s.collect()
	if len(sent) == 0 {
		return 0
	}
	defer s.busy(-len(sent))
	response, err := s.sidecar.Checkpoint(ctx, &pb.CheckpointRequest{Entries: entries})
	if err == nil && len(response.Results) != len(sent) {
		err = fmt.Errorf("%d results for %d checkpoints", len(response.Results), len(sent))
	}
	for i, l := range sent {
		l.mu.Lock()
		if err != nil {
			l.progress.failed()
		} else {
			l.progress.answered(entries[i], response.Results[i])
		}
		if l.exactlyOnce {
			l.cond.Broadcast() // records that were produced after the checkpoint may go
		}
		l.mu.Unlock()
	}
	if err != nil && ctx.Err() == nil {
		if retry == 0 {
			s.log.Warn("checkpoints do not come through; they are kept and sent again", "reason", reasonOf(err))
		}
		return min(maxRetry, max(minRetry, retry*2))
	}
	if retry > 0 {
		s.log.Info("checkpoints come through again")
	}
	return 0
}

// collect takes what there is to send, as far as it fits one call, and at most one entry of each lease: what moves
// meanwhile goes with the next call.
func (s *sender) collect() (sent []*lease, entries []*pb.CheckpointEntry) {
	limits, size, seen := s.limits.Load(), 0, map[*lease]bool{}
	for len(sent) < limits.entries && size < max(1, limits.requestBytes-maxEntryBytes) {
		s.mu.Lock()
		if len(s.moved) == 0 {
			// Who is in a hurry has said so with its lease's mutex held, before it was taken here: so nobody is any more.
			select {
			case <-s.hurried:
			default:
			}
			s.mu.Unlock()
			return sent, entries
		}
		l := s.moved[0]
		if seen[l] { // it has moved since, and is after all that have not been seen
			s.mu.Unlock()
			break
		}
		seen[l] = true
		s.moved = s.moved[1:]
		s.mu.Unlock()
		l.mu.Lock()
		entry := l.progress.take()
		l.mu.Unlock()
		if entry == nil {
			s.busy(-1)
			continue
		}
		sent, entries = append(sent, l), append(entries, entry)
		size += proto.Size(entry) + 4 // and the bytes before it in the request
	}
	nudge(s.wake)
	return sent, entries
}
