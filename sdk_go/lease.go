package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"kafka-sidecar.example/sdk_go/internal/wire"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// lease is one lease's life in this process, from Assigned to Closed. Its goroutines:
//
//   - run owns the end: it waits for a reason, and leads through the shares of the time that is left.
//   - runCode calls the lambda's code: Create, Handle for each record, Close. Nobody else calls it, so these calls never
//     overlap, whatever happens to the lease meanwhile.
//   - read always reads ahead, so that Revoked never waits for a slow handler.
//   - writeOut writes Pause, Resume and Progress; sendProduced makes the calls to Produce while there are any.
//
// A lease ends once, for the first of the reasons in ending.go. Who notices the reason calls end; for a failure the
// checkpoints are sealed in the same critical section. So no handler call and no checkpoint can slip in between.
type lease struct {
	host
	id     string
	topic  string
	number int32
	lane   uint32
	lanes  uint32 // 1: none, this is the whole partition
	stream wire.Stream
	hangUp context.CancelFunc // ends the stream
	log    *slog.Logger
	sendMu sync.Mutex // one frame at a time; never taken with mu held

	// ctx is what the lambda's code gets.
	ctx       context.Context
	cancelCtx context.CancelCauseFunc

	// link ends with the stream.
	link       context.Context
	linkBroken context.CancelFunc

	ended    chan struct{} // closed when there is an ending
	workOver chan struct{} // closed when neither Create nor Handle runs, and none will be called
	told     chan struct{} // closed when the sidecar knows why: Close may be called
	codeOver chan struct{} // closed when Close has returned
	done     chan struct{} // closed when everything is over

	mu        sync.Mutex
	cond      *sync.Cond // something changed: records, a pause, room, the end
	progress  progress
	gate      gate
	producing producing
	working   int64 // the record whose Handle runs, or none
	idle      bool  // no handler runs, and none will be called
	ready     bool
	reports   int // under way
	committed int64
	commits   chan struct{} // closed, and made anew, when committed moves
	sign      sign
	ending    *ending
	final     *pb.CheckpointEntry // the last checkpoint, when a failure sealed it after the lease's end had begun
}

// host is what a lease needs of its process.
type host struct {
	sidecar wire.Sidecar
	limits  *atomic.Pointer[limits]
	sender  *sender
	factory Factory
	terms
	drain time.Duration
	busy  func(int)
}

// terms are what the Welcome says of a stream.
type terms struct {
	window      int // in records
	windowBytes uint64
	maxState    int // in bytes; 0: no state is kept
	exactlyOnce bool
	tellsCommit bool // the sidecar sends Committed
}

func newLease(host host, assigned *pb.Assigned, stream wire.Stream, hangUp context.CancelFunc, log *slog.Logger) *lease {
	l := &lease{
		host: host, id: assigned.Lease, topic: assigned.Topic, number: assigned.Partition, lane: assigned.Lane,
		lanes: max(1, assigned.Lanes), stream: stream, hangUp: hangUp, committed: none, commits: make(chan struct{}),
		ended: make(chan struct{}), workOver: make(chan struct{}), told: make(chan struct{}),
		codeOver: make(chan struct{}), done: make(chan struct{}), working: none,
		gate: gate{rewind: none, highest: none},
	}
	l.log = log.With("topic", printable(l.topic), "partition", l.number)
	if l.lanes > 1 {
		l.log = l.log.With("lane", l.lane)
	}
	l.cond = sync.NewCond(&l.mu)
	l.ctx, l.cancelCtx = context.WithCancelCause(context.Background())
	l.link, l.linkBroken = context.WithCancel(context.Background())
	l.progress = newProgress(l.id, uint32(host.window), host.windowBytes, assigned.GetStartOffset(),
		func() { host.sender.changed(l) }, host.sender.hurry)
	l.producing.ctx, l.producing.cancel = context.WithCancel(context.Background())
	l.producing.outcomes = outcomes{
		pass: func(offset int64) {
			l.progress.checkpoint(offset)
			l.cond.Broadcast()
		},
		fail: l.notTaken, busy: host.busy,
		locked: func(do func()) {
			l.mu.Lock()
			defer l.mu.Unlock()
			do()
		},
	}
	l.busy(1) // it is not idle
	host.sender.add(l)
	return l
}

// name says which partition it is, and which lane of it.
func (l *lease) name() string {
	name := fmt.Sprintf("%s/%d", printable(l.topic), l.number)
	if l.lanes > 1 {
		name += fmt.Sprintf(" lane %d", l.lane)
	}
	return name
}

// overlaps reports whether two leases have records in common. Lanes of different numbers of lanes may.
func (l *lease) overlaps(other *lease) bool {
	return l.topic == other.topic && l.number == other.number && (l.lanes != other.lanes || l.lane == other.lane)
}

// checkpoint notes that everything up to offset is done. state belongs to it; nil: none does.
func (l *lease) checkpoint(offset int64, state []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, o := &l.progress, &l.producing.outcomes
	if offset <= p.offset || p.sealed || offset <= o.highest() {
		return
	}
	if state != nil {
		p.states.add(offset, state)
	}
	if o.admits(offset) {
		p.checkpoint(offset)
	} else if l.exactlyOnce {
		l.cond.Broadcast() // it goes with the records that wait
	}
}

// run lives. after are earlier leases in this process that overlap with it: the lambda is created after theirs are closed.
// The lease fences the checkpoints of an old lambda, but not what it still writes to a database.
func (l *lease) run(partition *Partition, after []*lease) {
	defer close(l.done)
	reading, written := make(chan struct{}), make(chan struct{})
	go func() { defer close(reading); l.read() }()
	go func() { defer close(written); l.writeOut() }()
	go l.runCode(partition, after)
	<-l.ended
	acknowledged := l.finishCode()
	l.mu.Lock()
	if within(l.codeOver, 0) {
		l.producing.outcomes.settle()
	}
	held := l.endProducing("the partition's lambda has ended")
	l.mu.Unlock()
	if held != none && acknowledged && !l.ending.atOnce {
		l.log.Error("a checkpoint is not told: what was produced before it is not known to be written", "offset", held)
	}
	if acknowledged {
		<-written
		l.sayClosed()
		_ = l.stream.CloseSend() // if it fails the stream is over, which is as good
		within(reading, endTimeout)
	}
	l.sealed()
	l.cancelCtx(errEnded)
	l.hangUp()
	<-reading
	if !within(l.codeOver, 0) {
		l.log.Warn("the lambda's code still runs after its time was over", "what", l.running())
		<-l.codeOver
	}
	for _, old := range after {
		<-old.done
	}
	l.mu.Lock()
	l.setIdle(true)
	l.mu.Unlock()
}

// read reads ahead until the stream ends.
func (l *lease) read() {
	defer l.linkBroken()
	for {
		frame, err := l.stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			l.lose("the sidecar ended the stream")
			return
		case err != nil:
			l.lose(reasonOf(err))
			return
		}
		switch kind := frame.Frame.(type) { // another kind is of a newer contract
		case *pb.HostFrame_Batch:
			if err := l.takeBatch(kind.Batch); err != nil {
				l.lose(err.Error())
				return
			}
		case *pb.HostFrame_Committed:
			l.committedTo(kind.Committed.Offset)
		case *pb.HostFrame_Resumed:
			if l.resumed(kind.Resumed) {
				l.log.Info("resumed")
			}
		case *pb.HostFrame_Revoked:
			l.log.Info("revoked", "reason", kind.Revoked.Reason.String(), "deadline_ms", kind.Revoked.DeadlineMs)
			l.end(l.revokedBy(kind.Revoked))
		}
	}
}

// send writes a frame; it reports whether that was possible. If not, the stream is over, and read learns why.
func (l *lease) send(frame *pb.LambdaFrame) bool {
	l.sendMu.Lock()
	defer l.sendMu.Unlock()
	return l.stream.Send(frame) == nil
}

// sayReady sends Ready, unless the lease has ended: then nothing may come between that and Closed.
func (l *lease) sayReady() bool {
	l.sendMu.Lock()
	defer l.sendMu.Unlock()
	l.mu.Lock()
	l.ready = l.ending == nil
	ready := l.ready
	l.cond.Broadcast()
	l.mu.Unlock()
	return ready && l.stream.Send(&pb.LambdaFrame{Frame: &pb.LambdaFrame_Ready{Ready: &pb.Ready{Lease: l.id}}}) == nil
}

// sayClosed sends Closed with the last checkpoint, which Close may have made.
func (l *lease) sayClosed() {
	entry := l.sealed()
	reason := l.closedReason()
	frame := &pb.LambdaFrame{Frame: &pb.LambdaFrame_Closed{Closed: &pb.Closed{Reason: reason, LastCheckpoint: entry}}}
	if l.send(frame) {
		last := none
		if entry != nil {
			last = entry.GetOffset()
		}
		l.log.Info("closed", "reason", reason.String(), "last_checkpoint", last)
	}
}

// sealed takes no more checkpoints, and returns the last one; nil: the accepted one holds.
func (l *lease) sealed() *pb.CheckpointEntry {
	l.sender.forget(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.final == nil {
		l.final = l.progress.seal(nil)
	}
	return l.final
}

// setIdle notes whether a handler runs or will be called. The mutex is held.
func (l *lease) setIdle(idle bool) {
	if idle != l.idle {
		l.idle = idle
		if idle {
			l.busy(-1)
		} else {
			l.busy(1)
		}
	}
}

// within waits for a channel to be closed; it reports whether it was in time.
func within(over <-chan struct{}, wait time.Duration) bool {
	select { // what is over already is in time, also with no time left
	case <-over:
		return true
	default:
	}
	if wait <= 0 {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-over:
		return true
	case <-timer.C:
		return false
	}
}
