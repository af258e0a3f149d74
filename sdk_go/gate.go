package sidecar

import (
	"errors"
	"fmt"
	"math"
	"time"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

// gate is the records of one lease on their way to the handler: frames come in, and pauses hold them.
//
// A pause begins here at once. It ends when the sidecar sends Resumed for the latest pause; a Resumed for an earlier one
// crossed the latest pause on the way. With an offset, the sidecar sends the records from that offset on again. So the
// records that wait here are dropped, and so is every frame until Resumed: the sidecar wrote it before it knew of the
// pause. A second pause must not lose what the first one asked for: the rewind only moves down until a Resumed.
//
// Its lease's mutex guards it.
type gate struct {
	frames  []*columns // what no handler has begun
	waiting int        // so many records
	next    int64      // the offset that has to come next, or a higher one
	highest int64      // that ever came
	paused  bool
	rewind  int64 // records from here on come again; none: no rewind
	number  uint32
	epoch   int               // how often records were asked for again
	out     []*pb.LambdaFrame // Pause and Resume that are not written: at most one of each
}

// takeBatch queues a frame. It returns when there is room for the next.
//
// The window bounds how much comes. Only a lambda that checkpoints far ahead of its handler opens it wider; then not
// reading on bounds what waits here. During a pause reading goes on: the Resumed that ends it comes after what is not
// read, and the sidecar sends no more than it had sent.
func (l *lease) takeBatch(batch *pb.Batch) error {
	came, err := checked(batch)
	l.mu.Lock()
	defer l.mu.Unlock()
	g := &l.gate
	if err != nil || g.rewind != none || came.count == 0 {
		return err
	}
	if batch.FirstOffset < g.next {
		return fmt.Errorf("frame: Batch.first_offset %d comes after %d", batch.FirstOffset, g.next-1)
	}
	g.next = came.last + 1
	g.highest = max(g.highest, came.last)
	l.progress.came(came.count, came.last, came.size)
	if l.ending != nil {
		return nil // another lease gets them
	}
	g.frames = append(g.frames, came)
	g.waiting += came.count
	if !g.paused && !l.producing.full {
		l.setIdle(false)
	}
	l.cond.Broadcast()
	for g.waiting > 2*l.window && !g.paused && l.ending == nil {
		l.cond.Wait()
	}
	return nil
}

// nextRecord takes the first record that waits; there must be one.
func (l *lease) nextRecord() Record {
	g := &l.gate
	first := g.frames[0]
	record := first.next(l.topic, l.number)
	record.Epoch = g.epoch
	if first.at == first.count {
		g.frames[0] = nil
		g.frames = g.frames[1:]
	}
	g.waiting--
	if g.waiting == 2*l.window {
		l.cond.Broadcast() // the reader has room
	}
	return record
}

// drop forgets the records that wait: they come again.
func (g *gate) drop() {
	g.frames, g.waiting = nil, 0
}

// resumed ends the pause that the sidecar names, if it is the latest; it reports whether it did.
func (l *lease) resumed(resumed *pb.Resumed) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := &l.gate
	if !g.paused || resumed.Number != g.number {
		return false
	}
	g.paused = false
	if g.rewind != none {
		g.rewind = none
		g.next = resumed.FromOffset
		l.progress.deliveredTo(resumed.FromOffset - 1)
	}
	if g.waiting > 0 && !l.producing.full {
		l.setIdle(false)
	}
	l.cond.Broadcast()
	return true
}

var errEnded = errors.New("the lease has ended")

// pause begins a pause, or replaces the present one. from is none, or the record from which on all come again. After the
// lease's end it does nothing.
func (l *lease) pause(reason string, retryAfter time.Duration, from int64) error {
	l.mu.Lock()
	again, err := l.beginPause(reason, retryAfter, from)
	l.mu.Unlock()
	if errors.Is(err, errEnded) {
		return nil
	}
	if err == nil {
		l.log.Warn("paused", "reason", printable(reason), "retry_after", retryAfter, "again_from", again)
	}
	return err
}

// beginPause returns from which offset on records come again, or none.
func (l *lease) beginPause(reason string, retryAfter time.Duration, from int64) (int64, error) {
	g := &l.gate
	if l.ending != nil {
		return none, errEnded
	}
	if from != none {
		if err := l.checkRewind(from); err != nil {
			return none, err
		}
		l.rewindTo(from)
		g.epoch++
	}
	replaced := false
	for _, frame := range g.out {
		replaced = replaced || frame.GetPause() != nil
	}
	if !replaced {
		g.number++
	}
	l.busy(-len(g.out))
	frame := &pb.Pause{Reason: clip(reason, maxReason), RetryAfterMs: milliseconds(retryAfter), Number: g.number}
	if rewind := g.rewind; rewind != none {
		frame.Offset = &rewind
	}
	g.paused = true
	g.out = []*pb.LambdaFrame{{Frame: &pb.LambdaFrame_Pause{Pause: frame}}}
	l.busy(1)
	l.cond.Broadcast()
	return g.rewind, nil
}

// milliseconds rounds up: 0 would be a pause without an end.
func milliseconds(wait time.Duration) uint32 {
	return uint32(min((wait+time.Millisecond-1)/time.Millisecond, math.MaxUint32))
}

// resume ends a pause when the sidecar has answered it.
func (l *lease) resume() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := &l.gate
	switch {
	case l.ending != nil:
		return errEnded
	case !g.paused:
		return errors.New("there is no pause")
	case len(g.out) > 0 && g.out[len(g.out)-1].GetResume() != nil:
		return nil
	}
	g.out = append(g.out, &pb.LambdaFrame{Frame: &pb.LambdaFrame_Resume{Resume: &pb.Resume{}}})
	l.busy(1)
	l.cond.Broadcast()
	return nil
}

func (l *lease) checkRewind(from int64) error {
	if from < 0 || from > l.gate.highest {
		return fmt.Errorf("offset %d cannot come again: no such record came; the last one has %d", from, l.gate.highest)
	}
	if from <= l.progress.offset {
		return fmt.Errorf("offset %d does not come again: the checkpoint is at %d", from, l.progress.offset)
	}
	return nil
}

// rewindTo drops what waits here, so that has to come again as well, also if it is below the offset.
func (l *lease) rewindTo(from int64) {
	g := &l.gate
	if len(g.frames) > 0 {
		from = min(from, g.frames[0].offset())
	} else {
		from = min(from, g.next)
	}
	from = max(from, l.progress.offset+1) // the sidecar does not go lower
	if g.rewind != none {
		from = min(from, g.rewind)
	} else if from >= g.next {
		return // it is still to come, after an earlier rewind
	}
	g.rewind = from
	l.progress.deliveredTo(from - 1)
	g.drop()
}

// writeOut writes Pause and Resume in their order, and signs of life, after Ready, until the lease has ended and no pause
// waits.
func (l *lease) writeOut() {
	for {
		l.mu.Lock()
		for l.ending == nil && (!l.ready || len(l.gate.out) == 0 && !l.sign.due) {
			l.cond.Wait()
		}
		var frame *pb.LambdaFrame
		if l.ready && len(l.gate.out) > 0 {
			frame = l.gate.out[0]
			l.gate.out = l.gate.out[1:]
		} else if l.ending == nil {
			frame = l.takeSign()
		} else {
			l.busy(-len(l.gate.out) - l.dropSigns())
			l.gate.out = nil
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		l.send(frame)
		l.busy(-1)
	}
}
