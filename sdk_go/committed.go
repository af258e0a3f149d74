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

// sign is the lambda's signs of life. Its lease's mutex guards it.
type sign struct {
	text    string
	due     bool        // writeOut sends text
	waiting bool        // one was made less than a second ago, or is not sent yet
	later   *string     // the latest text since then
	timer   *time.Timer // ends the second
}

// tellProgress has a sign of life sent. After the lease's end it does nothing.
func (l *lease) tellProgress(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text = clip(text, maxName)
	switch s := &l.sign; {
	case l.ending != nil:
	case s.waiting:
		s.later = &text
	default:
		l.signDue(text)
	}
}

// signDue has writeOut send a sign. The mutex is held.
func (l *lease) signDue(text string) {
	l.sign.text, l.sign.due, l.sign.waiting = text, true, true
	l.busy(1)
	l.cond.Broadcast()
}

// takeSign returns the frame of the sign that is due, and begins the second in which no other is sent. The mutex is held.
func (l *lease) takeSign() *pb.LambdaFrame {
	s := &l.sign
	s.due = false
	s.timer = time.AfterFunc(signInterval, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		s.waiting = false
		if later := s.later; later != nil && l.ending == nil {
			s.later = nil
			l.signDue(*later)
		}
	})
	return &pb.LambdaFrame{Frame: &pb.LambdaFrame_Progress{Progress: &pb.Progress{Text: s.text}}}
}

// dropSigns forgets what was not sent; it returns how many of them were due. The mutex is held.
func (l *lease) dropSigns() (due int) {
	if l.sign.due {
		due = 1
	}
	if l.sign.timer != nil {
		l.sign.timer.Stop()
	}
	l.sign.due, l.sign.later = false, nil
	return due
}
