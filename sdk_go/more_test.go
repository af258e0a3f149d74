package sidecar_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
	"kafka-sidecar.example/sdk_go/internal/played"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

func TestAQuarterOfTheWindowIsToldAtOnce(t *testing.T) {
	for unit, window := range map[string]struct {
		bytes uint64
		more  int // records: some more than a quarter of the window of 100 records, or of these bytes
	}{"records": {0, 30}, "bytes": {32, 10}} {
		t.Run(unit, func(t *testing.T) {
			play(t, lambdas(checkpointing, nil), func(w *world) {
				var times []time.Time
				w.remote.OnCheckpoint = func(request *pb.CheckpointRequest) (*pb.CheckpointResponse, error) {
					times = append(times, time.Now())
					return played.New().Checkpoint(t.Context(), request)
				}
				stream := w.readyWith(&pb.Welcome{WindowBytes: window.bytes}, "a", 0)
				stream.batch(0)
				synctest.Wait()
				stream.batch(1)
				synctest.Wait()
				if len(times) != 1 {
					t.Fatalf("%d calls without a pause", len(times))
				}
				next := make([]int64, window.more)
				for i := range next {
					next[i] = int64(i) + 2
				}
				stream.batch(next...)
				synctest.Wait()
				if len(times) != 2 || times[1] != times[0] {
					t.Errorf("calls at %v: a quarter of the window waits", times)
				}
			})
		})
	}
}

func TestCallsBegin50MillisecondsApart(t *testing.T) {
	play(t, lambdas(checkpointing, nil), func(w *world) {
		var times []time.Duration
		began := time.Now()
		w.remote.OnCheckpoint = func(request *pb.CheckpointRequest) (*pb.CheckpointResponse, error) {
			times = append(times, time.Since(began))
			return played.New().Checkpoint(t.Context(), request)
		}
		stream := w.ready("a", 0)
		began = time.Now()
		for offset := range int64(3) {
			stream.batch(offset)
			pass(30 * time.Millisecond)
		}
		pass(100 * time.Millisecond)
		if want := []time.Duration{0, 50 * time.Millisecond, 100 * time.Millisecond}; !slices.Equal(times, want) {
			t.Errorf("calls at %v", times)
		}
	})
}

func TestAStaleLeaseTellsNothingMore(t *testing.T) {
	play(t, lambdas(checkpointing, nil), func(w *world) {
		kept := w.checkpoints(func(int, *pb.CheckpointEntry) (*pb.CheckpointResult, error) {
			return &pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_STALE_LEASE}, nil
		})
		stream := w.ready("a", 0)
		for offset := range int64(5) {
			stream.batch(offset)
			pass(time.Second)
		}
		if told := offsets(kept); !slices.Equal(told, []int64{0}) {
			t.Errorf("told %v", told)
		}
	})
}

func TestAFailureInADrainIsNotPassed(t *testing.T) {
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		l.Checkpoint(record.Offset)
		if record.Offset == 1 {
			time.Sleep(time.Second)
			return errors.New("no")
		}
		return nil
	}, func(_ context.Context, l *lambda, _ sidecar.CloseReason) error {
		l.Checkpoint(1)
		return nil
	}), func(w *world) {
		w.checkpoints(func(int, *pb.CheckpointEntry) (*pb.CheckpointResult, error) { return nil, played.Broken })
		kept := w.errorsOf(nil)
		stream := w.ready("a", 0)
		stream.batch(0, 1)
		synctest.Wait()
		stream.revoke(rebalance, 10*time.Second)
		if last := stream.closed(byRevoke); last != -1 {
			t.Errorf("last checkpoint %d is at the record that failed", last)
		}
		if len(kept.all()) != 0 {
			t.Error("its next owner reports the failure")
		}
	})
}

func TestAGoroutineThatIsEndedIsAFailure(t *testing.T) {
	play(t, lambdas(func(context.Context, *lambda, sidecar.Record) error {
		runtime.Goexit()
		return nil
	}, nil), func(w *world) {
		kept := w.errorsOf(nil)
		stream := w.ready("a", 0)
		stream.batch(0)
		stream.closed(byError)
		if told := kept.all()[0]; !strings.Contains(told.Message, "Goexit") {
			t.Errorf("told %v", told)
		}
	})
}

func TestOutputsAreColumns(t *testing.T) {
	play(t, lambdas(func(_ context.Context, l *lambda, _ sidecar.Record) error {
		l.Produce(sidecar.Output{Topic: "first"})
		time.Sleep(time.Millisecond) // so it goes alone, and the other two go together when it is answered
		l.Produce(sidecar.Output{Topic: "a", Key: []byte{}, Headers: []sidecar.Header{{Name: "\xff"}, {Name: "h", Value: []byte{}}}})
		l.Produce(sidecar.Output{Topic: "b", Value: []byte("v"), Partition: new(int32(3))})
		return nil
	}, nil), func(w *world) {
		kept := w.produces(nil)
		w.ready("a", 0).batch(0)
		pass(time.Second)
		all := kept.all()
		got := all[len(all)-1]
		n := len(got.Values)
		if got.Topics[len(got.Topics)-1] != "b" || got.TopicIndexes[n-1] != got.TopicIndexes[n-2]+1 ||
			!slices.Equal(got.Partitions[n-2:], []int32{-1, 3}) || !slices.Contains(got.NullKeys, uint32(n-1)) ||
			slices.Contains(got.NullKeys, uint32(n-2)) || !slices.Contains(got.NullValues, uint32(n-2)) ||
			string(got.HeaderNames[0]) != "\xff" || !slices.Equal(got.NullHeaderValues, []uint32{0}) ||
			!slices.Equal(got.HeaderCounts[n-2:], []uint32{2, 0}) {
			t.Errorf("%v", got)
		}
	})
}

func TestOutputsThatCannotBeSentFail(t *testing.T) {
	var kinds []sidecar.ProduceFailure
	play(t, lambdas(func(ctx context.Context, l *lambda, _ sidecar.Record) error {
		for _, output := range []sidecar.Output{
			{}, {Topic: strings.Repeat("x", 250)}, {Topic: "\xff"}, {Topic: "t", Partition: new(int32(-1))},
			{Topic: "t", Value: make([]byte, 1<<20)},
		} {
			delivery := l.Produce(output)
			<-delivery.Done()
			_, err := delivery.Wait(ctx)
			var failed *sidecar.ProduceError
			if errors.As(err, &failed) {
				kinds = append(kinds, failed.Kind)
			}
		}
		return nil
	}, nil), func(w *world) {
		kept := w.produces(nil)
		w.ready("a", 0).batch(0)
		pass(20 * time.Second)
		if len(kept.all()) != 0 {
			t.Error("they were sent")
		}
	})
	want := []sidecar.ProduceFailure{
		sidecar.ProduceFailed, sidecar.ProduceFailed, sidecar.ProduceFailed, sidecar.ProduceFailed, sidecar.ProduceTooLarge,
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("%v", kinds)
	}
}

func TestCodeThatTookAFailureHasTimeToFail(t *testing.T) {
	play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		delivery := l.Produce(sidecar.Output{Topic: "out", Value: record.Value})
		if record.Offset == 0 {
			go func() {
				if _, err := delivery.Wait(ctx); err != nil {
					time.Sleep(500 * time.Millisecond)
					l.Fail(sidecar.Restart(err))
				}
			}()
		}
		l.Checkpoint(record.Offset)
		time.Sleep(100 * time.Millisecond)
		return nil
	}, nil), func(w *world) {
		checkpoints := w.checkpoints(nil)
		w.produces(func(_ int, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			if string(request.Values[0]) == "0" {
				return played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_FAILED), nil
			}
			return played.Written(request, 0), nil
		})
		kept := w.errorsOf(nil)
		stream := w.ready("a", 0)
		stream.batch(0, 1, 2, 3, 4, 5, 6, 7, 8)
		stream.closed(byError)
		if told := offsets(checkpoints); len(told) != 0 || kept.all()[0].LastCheckpoint != nil {
			t.Errorf("checkpoints %v passed a record that is not written", told)
		}
	})
}

func TestACheckpointAfterATakenFailureCountsAtTheEnd(t *testing.T) {
	play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		if _, err := l.Produce(sidecar.Output{Topic: "out"}).Wait(ctx); err == nil {
			t.Error("written")
		}
		l.Checkpoint(record.Offset)
		return nil
	}, nil), func(w *world) {
		checkpoints := w.checkpoints(nil)
		w.produces(func(_ int, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			return played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_FAILED), nil
		})
		stream := w.ready("a", 0)
		stream.batch(0)
		pass(100 * time.Millisecond)
		stream.revoke(rebalance, time.Second)
		// The checkpoint is free once the handler has returned. Either the sender's goroutine sends it in a call of its own
		// before Closed, which then has none, or Closed carries it.
		told := offsets(checkpoints)
		if last := stream.closed(byRevoke); last == -1 {
			told = offsets(checkpoints)
			if !slices.Equal(told, []int64{0}) {
				t.Errorf("checkpoints %v, and none in Closed", told)
			}
		} else if last != 0 || len(told) != 0 {
			t.Errorf("checkpoints %v, and %d in Closed", told, last)
		}
	})
}

func TestARecordIsOfTheEpochInWhichItIsTaken(t *testing.T) {
	var epochs []int
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		epochs = append(epochs, record.Epoch)
		if len(epochs) == 1 {
			return l.PauseFrom(record.Offset, "down", time.Second)
		}
		return nil
	}, nil), func(w *world) {
		stream := w.ready("a", 0)
		stream.batch(0)
		stream.resumed(stream.next("Pause").GetPause().Number, 0)
		stream.batch(0, 1)
		pass(time.Second)
		if !slices.Equal(epochs, []int{0, 1, 1}) {
			t.Errorf("%v", epochs)
		}
	})
}
