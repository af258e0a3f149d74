package sidecar

import (
	"context"
	"errors"
)

// runCode calls the lambda's code, one call after the other. It may outlive the time that the lease has for its end: then
// the sidecar was told already, and this process gets no other lambda for the partition before this one is closed.
func (l *lease) runCode(partition *Partition, after []*lease) {
	defer close(l.codeOver)
	lambda := l.work(partition, after)
	<-l.ended
	<-l.told
	closer, ok := lambda.(Closer)
	if !ok {
		return
	}
	e := l.ending
	ctx, cancel := context.WithTimeoutCause(context.Background(), e.left(closeShare), errors.New(e.why))
	defer cancel()
	if err := guard(func() error { return closer.Close(ctx, e.close) }); err != nil {
		l.log.Error("Close failed", "close_reason", e.close, "error", printable(err.Error()))
	}
}

// work creates the lambda and calls its handler until the lease ends. It returns the lambda, or nil.
func (l *lease) work(partition *Partition, after []*lease) (lambda Lambda) {
	defer close(l.workOver)
	returned := false
	defer func() {
		if !returned { // by a panic that nobody can recover, such as t.FailNow in a test
			l.fail(failureOf(errors.New("the lambda's code ended its goroutine (runtime.Goexit)"), "handler_failed"))
		}
	}()
	lambda = l.create(partition, after)
	if lambda != nil && l.sayReady() {
		start, known := partition.StartOffset()
		l.log.Info("ready", "start_offset", start, "start_known", known, "attempt", partition.attempt)
		l.handleAll(lambda)
	}
	returned = true
	return lambda
}

// create makes the lambda; nil when that failed, or the lease ended before.
func (l *lease) create(partition *Partition, after []*lease) (lambda Lambda) {
	for _, old := range after {
		if !within(old.done, 0) {
			l.log.Info("waits for an earlier lambda here to close", "of", old.name())
		}
		select {
		case <-old.done:
		case <-l.ended: // run waits for the earlier one, so that the partition's next lease does
		}
	}
	if within(l.ended, 0) {
		return nil
	}
	err := guard(func() (err error) {
		lambda, err = l.factory.Create(l.ctx, partition)
		if err == nil && lambda == nil {
			err = errors.New("Create returned neither a lambda nor an error")
		}
		return err
	})
	if err == nil {
		return lambda
	}
	if !l.stoppedBy(err) {
		l.fail(failureOf(Restart(err), "create_failed"))
	}
	return nil
}

// handleAll calls the handler with one record after the other.
func (l *lease) handleAll(lambda Lambda) {
	err := guard(func() error {
		for {
			record, more := l.take()
			if !more {
				return nil
			}
			if err := lambda.Handle(l.ctx, record); err != nil {
				return err
			}
		}
	})
	if err == nil || l.stoppedBy(err) {
		return
	}
	f := failureOf(err, "handler_failed")
	if f.offset == nil {
		l.mu.Lock()
		offset := l.working
		l.mu.Unlock()
		f.offset = &offset
	}
	l.fail(f)
}

// take notes that the handler returned, and waits for the next record; false: the lease has ended.
func (l *lease) take() (Record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.working != none {
		l.progress.handled = l.working
		l.working = none
	}
	for l.ending == nil && (l.gate.paused || l.producing.full || l.gate.waiting == 0) {
		l.setIdle(true)
		l.cond.Wait()
	}
	if l.ending != nil {
		return Record{}, false
	}
	l.setIdle(false)
	record := l.nextRecord()
	l.working = record.Offset
	return record, true
}

// stoppedBy reports whether an error is only that the code obeyed the end of its context.
func (l *lease) stoppedBy(err error) bool {
	if l.ctx.Err() == nil || !errors.Is(err, context.Canceled) && !errors.Is(err, context.Cause(l.ctx)) {
		return false
	}
	l.log.Info("the lambda's code stopped when its context ended", "what", l.running())
	return true
}
