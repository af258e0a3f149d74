package sidecar_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// lambda is a lambda whose methods are functions; nil ones do nothing.
type lambda struct {
	*sidecar.Partition
	handle func(ctx context.Context, l *lambda, record sidecar.Record) error
	close  func(ctx context.Context, l *lambda, reason sidecar.CloseReason) error
}

func (l *lambda) Handle(ctx context.Context, record sidecar.Record) error {
	if l.handle == nil {
		return nil
	}
	return l.handle(ctx, l, record)
}

func (l *lambda) Close(ctx context.Context, reason sidecar.CloseReason) error {
	if l.close == nil {
		return nil
	}
	return l.close(ctx, l, reason)
}

func lambdas(
	handle func(context.Context, *lambda, sidecar.Record) error,
	close func(context.Context, *lambda, sidecar.CloseReason) error,
) sidecar.Factory {
	return sidecar.FactoryFunc(func(_ context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
		return &lambda{partition, handle, close}, nil
	})
}

func checkpointing(_ context.Context, l *lambda, record sidecar.Record) error {
	l.Checkpoint(record.Offset)
	return nil
}

const (
	rebalance = pb.RevokeReason_REVOKE_REASON_REBALANCE
	byRevoke  = pb.ClosedReason_CLOSED_REASON_REVOKED
	byStop    = pb.ClosedReason_CLOSED_REASON_STOPPED
	byError   = pb.ClosedReason_CLOSED_REASON_ERROR
	declined  = pb.ClosedReason_CLOSED_REASON_DECLINED
)

func TestTheNextStreamIsOpenedAfterAssigned(t *testing.T) {
	play(t, lambdas(checkpointing, nil), func(w *world) {
		first := w.stream()
		offer := first.offer()
		if offer.LambdaName != "words" || offer.ProtocolVersion != 1 || offer.MaxMessageBytes != 64<<20 || len(offer.ProcessId) != 32 {
			t.Errorf("offer: %v", offer)
		}
		first.silent() // no Available before the Welcome: nothing is loaded
		first.welcome(&pb.Welcome{})
		first.next("Available")
		synctest.Wait()
		if len(w.streams) != 0 {
			t.Fatal("a second spare stream")
		}
		first.assign("a", 0)
		first.next("Ready")
		second := w.stream()
		if got := second.offer().ProcessId; got != offer.ProcessId {
			t.Errorf("process_id %q, then %q", offer.ProcessId, got)
		}
		second.next("Available") // with the Offer: everything is loaded
	})
}

func TestRevokedDropsWhatWaits(t *testing.T) {
	var handled []int64
	play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		time.Sleep(time.Second)
		handled = append(handled, record.Offset)
		return checkpointing(ctx, l, record)
	}, func(_ context.Context, l *lambda, reason sidecar.CloseReason) error {
		if reason != sidecar.CloseRebalanced {
			t.Errorf("closed: %s", reason)
		}
		return nil
	}), func(w *world) {
		kept := w.checkpoints(nil)
		stream := w.ready("a", 0)
		stream.batch(5, 7, 8)
		pass(1500 * time.Millisecond)
		stream.revoke(rebalance, 10*time.Second)
		last := stream.closed(byRevoke)
		if last = max(last, slices.Max(offsets(kept))); last != 7 {
			t.Errorf("last checkpoint %d, want 7: the record that ran", last)
		}
		synctest.Wait()
		if _, half := stream.Over(); !half {
			t.Error("no half-close after Closed")
		}
		stream.End(errEOF)
	})
	if !slices.Equal(handled, []int64{5, 7}) {
		t.Errorf("handled %v", handled)
	}
}

func TestAHandlerIsToldAtSevenTenths(t *testing.T) {
	var told time.Duration
	play(t, lambdas(func(ctx context.Context, _ *lambda, _ sidecar.Record) error {
		began := time.Now()
		<-ctx.Done()
		told = time.Since(began)
		return ctx.Err()
	}, nil), func(w *world) {
		errors := w.errorsOf(nil)
		stream := w.ready("a", 0)
		stream.batch(0)
		synctest.Wait()
		stream.revoke(rebalance, 10*time.Second)
		stream.closed(byRevoke)
		if len(errors.all()) != 0 {
			t.Error("the end of its context is no failure of a handler")
		}
	})
	if told != 7*time.Second {
		t.Errorf("told after %s", told)
	}
}

func TestClosedComesInTimeWhateverTheHandlerDoes(t *testing.T) {
	release, closes := make(chan struct{}), 0
	play(t, lambdas(func(context.Context, *lambda, sidecar.Record) error {
		<-release // it looks at no context
		return nil
	}, func(context.Context, *lambda, sidecar.CloseReason) error {
		closes++
		return nil
	}), func(w *world) {
		release = make(chan struct{}) // of synctest's bubble
		stream := w.ready("a", 0)
		stream.batch(0)
		synctest.Wait()
		began := time.Now()
		stream.revoke(rebalance, 10*time.Second)
		stream.closed(byRevoke)
		if took := time.Since(began); took > 9*time.Second || took < 8*time.Second {
			t.Errorf("closed after %s", took)
		}
		stream.End(errEOF)
		// The same partition again: its lambda is created only when the old one has ended.
		again := w.spare()
		again.assign("b", 0)
		again.silent()
		if closes != 0 {
			t.Error("Close is called while the handler runs")
		}
		close(release)
		again.next("Ready")
		if closes != 1 {
			t.Errorf("%d calls of Close", closes)
		}
	})
}

func TestADeadLeaseIsClosedInOrder(t *testing.T) {
	play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		<-ctx.Done()
		return ctx.Err()
	}, func(context.Context, *lambda, sidecar.CloseReason) error {
		time.Sleep(time.Second)
		return nil
	}), func(w *world) {
		stream := w.ready("a", 0)
		stream.batch(0)
		synctest.Wait()
		began := time.Now()
		stream.revoke(pb.RevokeReason_REVOKE_REASON_LOST, 0)
		stream.closed(byRevoke)
		if took := time.Since(began); took != time.Second {
			t.Errorf("closed after %s: the handler is told at once, and Close is waited for", took)
		}
	})
}

func TestABrokenStreamClosesTheLambdaBeforeTheNextOffer(t *testing.T) {
	var closedAt time.Time
	play(t, lambdas(func(ctx context.Context, _ *lambda, _ sidecar.Record) error {
		<-ctx.Done()
		return ctx.Err()
	}, func(_ context.Context, _ *lambda, reason sidecar.CloseReason) error {
		if reason != sidecar.CloseError {
			t.Errorf("closed: %s", reason)
		}
		time.Sleep(3 * time.Second)
		closedAt = time.Now()
		return nil
	}), func(w *world) {
		stream := w.ready("a", 0)
		stream.batch(0)
		spare := w.spareAgain()
		// The spare stream's end is noticed first.
		spare.breakOff()
		synctest.Wait()
		stream.breakOff()
		next := w.stream()
		if closedAt.IsZero() || next.opened.Before(closedAt) {
			t.Error("offers again before the old lambda is closed")
		}
	})
}

func TestTheProcessEndsInOrder(t *testing.T) {
	play(t, lambdas(nil, func(_ context.Context, l *lambda, reason sidecar.CloseReason) error {
		if reason != sidecar.CloseStopped {
			t.Errorf("closed: %s", reason)
		}
		l.Checkpoint(1)
		return nil
	}), func(w *world) {
		w.checkpoints(nil)
		stream := w.ready("a", 0)
		spare := w.spareAgain()
		stream.batch(0, 1)
		synctest.Wait()
		w.stop()
		if last := stream.closed(byStop); last != 1 {
			t.Errorf("last checkpoint %d, want that of Close", last)
		}
		stream.End(errEOF)
		spare.broken()
		if err := w.ends(); err != nil {
			t.Error(err)
		}
	})
}

func TestAStopBeforeReadyDeclines(t *testing.T) {
	factory := sidecar.FactoryFunc(func(ctx context.Context, _ *sidecar.Partition) (sidecar.Lambda, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	play(t, factory, func(w *world) {
		errors := w.errorsOf(nil)
		stream := w.spare()
		stream.assign("a", 0)
		synctest.Wait()
		w.stop()
		stream.closed(declined)
		stream.End(errEOF)
		if err := w.ends(); err != nil {
			t.Error(err)
		}
		if len(errors.all()) != 0 {
			t.Error("a lambda that is not needed any more has not failed")
		}
	})
}

func TestWhatDoesNotEndIsNamed(t *testing.T) {
	var release chan struct{}
	play(t, lambdas(func(context.Context, *lambda, sidecar.Record) error {
		<-release
		return nil
	}, nil), func(w *world) {
		release = make(chan struct{})
		stream := w.ready("a", 3)
		stream.batch(41)
		synctest.Wait()
		began := time.Now()
		w.stop()
		stream.closed(byStop)
		stream.End(errEOF)
		err := w.ends()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("ended after %s", took)
		}
		var unfinished *sidecar.UnfinishedError
		if !errors.As(err, &unfinished) || !strings.Contains(err.Error(), "t/3: Handle at offset 41") {
			t.Errorf("%v", err)
		}
		close(release)
	})
}

func TestALambdaThatCannotBeCreatedIsReported(t *testing.T) {
	factory := sidecar.FactoryFunc(func(context.Context, *sidecar.Partition) (sidecar.Lambda, error) {
		panic("no lambda")
	})
	play(t, factory, func(w *world) {
		kept := w.errorsOf(nil)
		stream := w.spare()
		stream.assign("a", 0)
		stream.closed(byError)
		told := kept.all()[0]
		if told.Action != pb.ErrorAction_ERROR_ACTION_RESTART || told.Code != "create_failed" || told.Offset != nil {
			t.Errorf("told: %v", told)
		}
	})
}

func TestAFrameThatBreaksTheContractBreaksTheStream(t *testing.T) {
	play(t, lambdas(checkpointing, nil), func(w *world) {
		stream := w.ready("a", 0)
		stream.batch(3, 4)
		stream.batch(4, 5)
		stream.broken()
	})
}

// spareAgain is the next stream of a process that has loaded already.
func (w *world) spareAgain() *link {
	w.t.Helper()
	stream := w.stream()
	stream.offer()
	stream.next("Available")
	stream.welcome(&pb.Welcome{})
	return stream
}
