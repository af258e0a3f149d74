package sidecar_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// pausing is a lambda that a test pauses; it notes what it handles.
type pausing struct {
	lambda
	handled []int64
}

func (p *pausing) Handle(_ context.Context, record sidecar.Record) error {
	p.handled = append(p.handled, record.Offset)
	return nil
}

// paused plays a test with such a lambda.
func paused(t *testing.T, test func(w *world, stream *link, lambda *pausing)) {
	t.Helper()
	made := &pausing{}
	factory := sidecar.FactoryFunc(func(_ context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
		made.Partition = partition
		return made, nil
	})
	play(t, factory, func(w *world) { test(w, w.ready("a", 0), made) })
}

func (l *link) resumed(number uint32, from int64) {
	l.Say(&pb.HostFrame{Frame: &pb.HostFrame_Resumed{Resumed: &pb.Resumed{Number: number, FromOffset: from}}})
}

func TestAPauseHoldsAndResumedReleases(t *testing.T) {
	paused(t, func(_ *world, stream *link, lambda *pausing) {
		lambda.Pause("down", 1500*time.Microsecond)
		pause := stream.next("Pause").GetPause()
		if pause.Number != 1 || pause.Offset != nil || pause.RetryAfterMs != 2 || pause.Reason != "down" {
			t.Errorf("%v", pause)
		}
		stream.batch(0, 1)
		pass(time.Minute)
		if len(lambda.handled) != 0 {
			t.Fatalf("handled %v in a pause", lambda.handled)
		}
		lambda.Resume()
		lambda.Resume()
		stream.next("Resume")
		stream.silent()
		stream.resumed(1, 2)
		pass(0)
		if !slices.Equal(lambda.handled, []int64{0, 1}) {
			t.Errorf("handled %v", lambda.handled)
		}
	})
}

func TestAResumedOfAnEarlierPauseIsNotTaken(t *testing.T) {
	paused(t, func(_ *world, stream *link, lambda *pausing) {
		lambda.Pause("first", time.Second)
		stream.next("Pause")
		lambda.Pause("second", 0)
		if pause := stream.next("Pause").GetPause(); pause.Number != 2 || pause.RetryAfterMs != 0 {
			t.Errorf("%v", pause)
		}
		stream.batch(0)
		stream.resumed(1, 1)
		pass(time.Second)
		if len(lambda.handled) != 0 {
			t.Fatal("an old Resumed ended the pause")
		}
		stream.resumed(2, 1)
		pass(0)
		if len(lambda.handled) != 1 {
			t.Errorf("handled %v", lambda.handled)
		}
	})
}

func TestAPauseWithAnOffsetDropsWhatComesUntilResumed(t *testing.T) {
	paused(t, func(_ *world, stream *link, lambda *pausing) {
		stream.batch(0, 1, 2)
		synctest.Wait()
		for offset, want := range map[int64]bool{-1: false, 3: false, 1: true} {
			if err := lambda.PauseFrom(offset, "down", time.Second); (err == nil) != want {
				t.Errorf("PauseFrom(%d): %v", offset, err)
			}
		}
		// A second one must not lose what the first asked for.
		if err := lambda.PauseFrom(2, "still down", time.Second); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		var last *pb.Pause
		for len(stream.frames) > 0 {
			last = stream.next("Pause").GetPause()
		}
		if last.GetOffset() != 1 {
			t.Errorf("%v", last)
		}
		stream.batch(3) // was under way
		stream.resumed(last.Number, 1)
		stream.batch(1, 2, 3)
		pass(0)
		if !slices.Equal(lambda.handled, []int64{0, 1, 2, 1, 2, 3}) {
			t.Errorf("handled %v", lambda.handled)
		}
	})
}

func TestAPausedLambdaEndsLikeAnyOther(t *testing.T) {
	paused(t, func(w *world, stream *link, lambda *pausing) {
		lambda.Pause("down", 0)
		stream.next("Pause")
		stream.batch(0)
		synctest.Wait()
		stream.revoke(rebalance, time.Second)
		stream.closed(byRevoke)
		lambda.Pause("too late", 0)
		lambda.Resume()
		stream.silent()
		stream.End(errEOF)
		w.spareAgain()
	})
}

func TestCreateMayPause(t *testing.T) {
	factory := sidecar.FactoryFunc(func(_ context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
		partition.Pause("not yet", time.Second)
		return &lambda{Partition: partition}, nil
	})
	play(t, factory, func(w *world) {
		stream := w.ready("a", 0)
		stream.next("Pause") // after Ready
	})
}

func TestReportsStopNothing(t *testing.T) {
	paused(t, func(w *world, stream *link, lambda *pausing) {
		kept := w.errorsOf(nil)
		lambda.Report(sidecar.At(7, errors.New("odd")))
		stream.batch(0)
		pass(time.Second)
		told := kept.all()[0]
		if told.Action != pb.ErrorAction_ERROR_ACTION_REPORT || told.GetOffset() != 7 || told.Message != "odd" || told.Type != "*errors.errorString" {
			t.Errorf("told %v", told)
		}
		if len(lambda.handled) != 1 {
			t.Error("the lambda does not go on")
		}
	})
}
