package sidecar

import (
	"context"
	"fmt"
	"time"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

// NotCommittedError says that nobody will tell here whether an offset is committed.
type NotCommittedError struct {
	Offset int64
	Reason string
}

func (e *NotCommittedError) Error() string {
	return fmt.Sprintf("offset %d is not known to be committed: %s", e.Offset, e.Reason)
}

// awaitCommitted waits for a Committed that covers the offset.
func (l *lease) awaitCommitted(ctx context.Context, offset int64) error {
	if !l.tellsCommit {
		return &NotCommittedError{offset, "the sidecar cannot tell; it needs a newer version"}
	}
	over := false
	for {
		l.mu.Lock()
		reached, moved := l.committed >= offset, l.commits
		l.mu.Unlock()
		if reached {
			return nil
		} else if over {
			return &NotCommittedError{offset, "the lease has ended"}
		}
		select {
		case <-moved:
		case <-l.link.Done():
			over = true // once more: the last frame of the stream may have covered it
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// committedTo takes a Committed.
func (l *lease) committedTo(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset > l.committed {
		l.committed = offset
		close(l.commits)
		l.commits = make(chan struct{})
	}
}

// signInterval is how often a sign of life is sent at most.
const signInterval = time.Second

// sign is the lambda's last sign of life. Its lease's mutex guards it.
type sign struct {
	text  string
	due   bool        // writeOut sends it
	timer *time.Timer // makes it due; nil: nothing waits for that
	next  time.Time   // not due before
}

// tellProgress has a sign of life sent. After the lease's end it does nothing.
func (l *lease) tellProgress(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.sign
	if l.ending != nil {
		return
	}
	s.text = clip(text, maxName)
	if s.due || s.timer != nil {
		return // it goes with this text
	}
	if wait := time.Until(s.next); wait > 0 {
		s.timer = time.AfterFunc(wait, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if s.timer != nil { // otherwise the lease has ended
				s.timer = nil
				l.signDue()
			}
		})
		return
	}
	l.signDue()
}

// signDue has writeOut send the sign. The mutex is held.
func (l *lease) signDue() {
	l.sign.due = true
	l.busy(1)
	l.cond.Broadcast()
}

// take returns the frame of a sign that is due.
func (s *sign) take() *pb.LambdaFrame {
	s.due, s.next = false, time.Now().Add(signInterval)
	return &pb.LambdaFrame{Frame: &pb.LambdaFrame_Progress{Progress: &pb.Progress{Text: s.text}}}
}

// drop forgets a sign that was not sent; it returns how many of those were due.
func (s *sign) drop() (due int) {
	if s.due {
		due = 1
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.due, s.timer = false, nil
	return due
}
