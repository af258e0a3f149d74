package sidecar

import (
	"errors"
	"fmt"
	"time"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

// How a lease ends, by reason. ctx is that of the lambda's code:
//
//	reason    ctx ends                     Close gets                       told to the sidecar
//	revoked   at 70 % of the deadline,     rebalanced, or stopped           Closed(REVOKED, last checkpoint)
//	          at once if that is 0         (shutdown, seek, halted, paused), or error (aborted)
//	stopped   the same of the drain time   stopped                          Closed(STOPPED, last checkpoint)
//	failed    at once                      error                            Error, then Closed(ERROR)
//	lost      at once                      error                            nothing can be; checkpoints are void
type kind int

const (
	revoked kind = iota
	stopped
	failed
	lost
)

// Shares of the time from the end's beginning to its deadline, after which the next step begins. Closed goes out after
// nine tenths of it at the latest.
const (
	cancelShare  = 0.7
	patientShare = 0.8 // for code that was told to stop
	closeShare   = 0.85
	writtenShare = 0.9

	minPatience = 100 * time.Millisecond // code that was told to stop has to run to notice it
	endTimeout  = 5 * time.Second        // for the sidecar to end the stream after Closed
)

// ending is why a lease ends.
type ending struct {
	kind    kind
	why     string
	close   CloseReason
	request *pb.ErrorRequest // of failed
	atOnce  bool             // the context of the lambda's code ends at once
	began   time.Time
	time    time.Duration // from began to the deadline
}

func (l *lease) revokedBy(frame *pb.Revoked) ending {
	reason := CloseRebalanced
	switch frame.Reason {
	case pb.RevokeReason_REVOKE_REASON_ABORTED:
		reason = CloseError
	case pb.RevokeReason_REVOKE_REASON_SHUTDOWN, pb.RevokeReason_REVOKE_REASON_SEEK,
		pb.RevokeReason_REVOKE_REASON_HALTED, pb.RevokeReason_REVOKE_REASON_PAUSED:
		reason = CloseStopped
	}
	e := ending{
		kind: revoked, why: "the sidecar takes the partition back: " + frame.Reason.String(), close: reason,
		time: time.Duration(frame.DeadlineMs) * time.Millisecond,
	}
	if e.time == 0 { // the lease is dead already
		e.atOnce, e.time = true, l.limits.Load().close
	}
	return e
}

// left is the time until a share of the whole is over.
func (e *ending) left(share float64) time.Duration {
	return time.Until(e.began.Add(time.Duration(float64(e.time) * share)))
}

// end ends for this reason, unless there is one already.
func (l *lease) end(e ending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked(e)
}

func (l *lease) endLocked(e ending) bool {
	if l.ending != nil {
		return false
	}
	e.began = time.Now()
	l.ending = &e
	if e.kind == revoked && e.atOnce { // no checkpoint counts any more
		l.progress.sealed = true
	}
	l.gate.drop()
	l.setIdle(false)
	close(l.ended)
	l.cond.Broadcast()
	return true
}

// stop ends in order: the running Handle may finish, then come Close and Closed.
func (l *lease) stop() {
	l.end(ending{kind: stopped, why: "the process ends", close: CloseStopped, time: l.drain})
}

// lose notes that the stream is over.
func (l *lease) lose(why string) {
	l.linkBroken()
	l.mu.Lock()
	ended := l.endLocked(ending{kind: lost, why: "the stream to the sidecar broke: " + why, close: CloseError, atOnce: true, time: l.drain})
	l.mu.Unlock()
	if ended {
		l.log.Warn("the stream broke, this lambda ends", "reason", why)
	}
}

// fail ends with a failure of the lambda.
func (l *lease) fail(f failure) {
	l.mu.Lock()
	already := l.ending != nil
	if already {
		// The partition is being taken back or stopped: its next owner meets the same failure, and can report it with its
		// own lease. Nothing at or above the record that failed may count as done.
		if l.final == nil {
			l.final = l.progress.seal(f.offset)
		}
	} else {
		action := pb.ErrorAction_ERROR_ACTION_CRITICAL
		if f.recoverable() {
			action = pb.ErrorAction_ERROR_ACTION_RESTART
		}
		request := l.errorRequest(f, action)
		request.LastCheckpoint = l.progress.seal(f.offset)
		l.endLocked(ending{
			kind: failed, why: "the lambda failed", close: CloseError, request: request,
			atOnce: true, time: min(l.drain, l.limits.Load().close),
		})
	}
	l.mu.Unlock()
	l.logFailure(f, already)
}

func (l *lease) logFailure(f failure, already bool) {
	attributes := f.attributes()
	switch {
	case already:
		l.log.Info("an error after the lease's end is not reported", attributes...)
	case f.recoverable():
		l.log.Warn("recoverable error", attributes...)
	default:
		l.log.Error("critical error", attributes...)
	}
}

// notTaken fails: what the lambda produced was not written, and nobody took the outcome.
func (l *lease) notTaken(delivery *Delivery) {
	told := *delivery.err
	told.Reason += "; nobody waited for its outcome"
	l.fail(failureOf(Restart(&told), "produce_failed"))
}

// finishCode leads the lambda's code to its end, within its shares of the time; it returns whether Closed may follow.
// It may not after an Error that did not arrive: then the stream breaks instead, and the sidecar starts the lambda again.
func (l *lease) finishCode() bool {
	e := l.ending
	why := errors.New(e.why)
	if e.kind == lost {
		l.sealed()
		l.mu.Lock()
		l.endProducing("the stream to the sidecar broke")
		l.mu.Unlock()
	}
	told := make(chan bool, 1)
	go func() { told <- l.tell(e) }()
	if e.atOnce {
		l.cancelCtx(why)
	} else {
		timer := time.AfterFunc(e.left(cancelShare), func() { l.cancelCtx(why) })
		defer timer.Stop()
	}
	if !within(l.workOver, e.left(cancelShare)) {
		l.log.Warn("told to stop: it still runs when most of the time is over", "what", l.running())
		if !within(l.workOver, max(e.left(patientShare), minPatience)) {
			l.log.Error("the lambda's code does not stop when its context has ended", "what", l.running())
		}
	}
	acknowledged := <-told
	close(l.told)
	within(l.codeOver, e.left(closeShare))
	// What it produced has to arrive before another lambda gets the partition.
	l.mu.Lock()
	unwritten := l.producing.idle
	l.mu.Unlock()
	if unwritten != nil {
		within(unwritten, e.left(writtenShare))
	}
	return acknowledged
}

// tell sends Error for a failure; it returns whether Closed may follow.
func (l *lease) tell(e *ending) bool {
	return e.kind == revoked || e.kind == stopped || e.kind == failed && l.sendError(e.request)
}

func (l *lease) closedReason() pb.ClosedReason {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ending.kind == failed:
		return pb.ClosedReason_CLOSED_REASON_ERROR
	case l.ending.kind == revoked:
		return pb.ClosedReason_CLOSED_REASON_REVOKED
	case l.ready:
		return pb.ClosedReason_CLOSED_REASON_STOPPED
	default:
		return pb.ClosedReason_CLOSED_REASON_DECLINED
	}
}

// running says what of the lambda's code runs.
func (l *lease) running() string {
	if within(l.codeOver, 0) {
		return "the end of its stream"
	} else if within(l.workOver, 0) {
		return "Close"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.working == none {
		return "Create"
	}
	return fmt.Sprintf("Handle at offset %d", l.working)
}
