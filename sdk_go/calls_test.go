package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	sidecar "kafka-sidecar.example/sdk_go"
	"kafka-sidecar.example/sdk_go/internal/played"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

func TestCheckpointsOfAllLeasesTravelTogether(t *testing.T) {
	play(t, lambdas(checkpointing, nil), func(w *world) {
		kept := w.checkpoints(nil)
		first, second := w.ready("a", 0), (*link)(nil)
		second = w.spareAgain()
		second.assign("b", 1)
		second.next("Ready")
		for offset := range int64(10) {
			first.batch(offset)
			second.batch(offset + 100)
			time.Sleep(3 * time.Millisecond)
		}
		pass(time.Second)
		if kept.most != 1 {
			t.Errorf("%d calls under way at a time", kept.most)
		}
		if n := len(kept.all()); n > 6 {
			t.Errorf("%d calls within 30 ms", n)
		}
		if told := offsets(kept); !slices.Contains(told, 9) || !slices.Contains(told, 109) {
			t.Errorf("told %v", told)
		}
	})
}

func TestAFailedCheckpointIsSentAgain(t *testing.T) {
	play(t, lambdas(checkpointing, nil), func(w *world) {
		kept := w.checkpoints(func(n int, _ *pb.CheckpointEntry) (*pb.CheckpointResult, error) {
			if n < 4 {
				return nil, refused(codes.Unavailable)
			}
			return &pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_ACCEPTED}, nil
		})
		w.ready("a", 0).batch(0)
		pass(10 * time.Second)
		if told := offsets(kept); !slices.Equal(told, []int64{0, 0, 0, 0}) {
			t.Errorf("told %v", told)
		}
	})
}

func TestAnUnknownOutcomeIsNoSuccess(t *testing.T) {
	play(t, lambdas(checkpointing, nil), func(w *world) {
		w.checkpoints(func(int, *pb.CheckpointEntry) (*pb.CheckpointResult, error) {
			return &pb.CheckpointResult{Outcome: 99}, nil
		})
		stream := w.ready("a", 0)
		stream.batch(0)
		pass(time.Second)
		stream.revoke(rebalance, time.Second)
		if last := stream.closed(byRevoke); last != 0 {
			t.Errorf("last checkpoint %d, want 0: it is not known to be accepted", last)
		}
	})
}

func TestACheckpointAheadIsSentWithEachBatch(t *testing.T) {
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		if record.Offset == 0 {
			l.Checkpoint(100)
		}
		return nil
	}, nil), func(w *world) {
		var delivered atomic.Int64
		kept := w.checkpoints(func(_ int, entry *pb.CheckpointEntry) (*pb.CheckpointResult, error) {
			if last := delivered.Load(); entry.GetOffset() > last {
				return &pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_BEYOND_DELIVERED, Delivered: &last}, nil
			}
			return &pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_ACCEPTED}, nil
		})
		stream := w.ready("a", 0)
		for _, offset := range []int64{0, 5, 101} {
			delivered.Store(offset)
			stream.batch(offset)
			time.Sleep(100 * time.Millisecond)
		}
		if told := offsets(kept); !slices.Equal(told, []int64{0, 5, 100}) {
			t.Errorf("told %v", told)
		}
	})
}

func TestHandledAndCompletedBeyondAreTold(t *testing.T) {
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		if record.Offset == 1 {
			l.CompletedBeyond(1, 2)
			l.Skipped(3, 2, "doc")
		}
		return nil
	}, nil), func(w *world) {
		kept := w.checkpoints(nil)
		w.ready("a", 0).batch(0, 1)
		pass(5 * time.Second)
		last := kept.all()[len(kept.all())-1].Entries[0]
		if last.Offset != nil || last.GetHandled() != 1 || last.CompletedBeyond != 1 || last.CompletedBeyondBytes != 2 ||
			!slices.Equal(last.Skipping, []string{"doc"}) || last.SkippingCount != 2 {
			t.Errorf("told %v", last)
		}
		if n := len(kept.all()); n > 3 {
			t.Errorf("%d calls, though nothing moved", n)
		}
	})
}

func TestAnErrorIsAnsweredBeforeClosed(t *testing.T) {
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		l.Checkpoint(record.Offset)
		if record.Offset == 2 {
			return errors.New("no\x00 good")
		}
		time.Sleep(time.Second)
		return nil
	}, nil), func(w *world) {
		w.checkpoints(func(int, *pb.CheckpointEntry) (*pb.CheckpointResult, error) { return nil, refused(codes.Unavailable) })
		kept := w.errorsOf(func(n int) error {
			time.Sleep(time.Second)
			if n == 1 {
				return refused(codes.Unavailable)
			}
			return nil
		})
		stream := w.ready("a", 0)
		stream.batch(0, 1, 2)
		pass(3 * time.Second)
		stream.silent()
		if last := stream.closed(byError); last != -1 {
			t.Errorf("a checkpoint %d in Closed after an Error", last)
		}
		told := kept.all()[1]
		if len(kept.all()) != 2 || told.Action != pb.ErrorAction_ERROR_ACTION_CRITICAL || told.GetOffset() != 2 ||
			told.LastCheckpoint != nil {
			t.Errorf("told %v: the checkpoint at the record that failed must not count", told)
		}
	})
}

func TestAnErrorCarriesTheLastCheckpoint(t *testing.T) {
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		if record.Offset == 1 {
			l.Fail(sidecar.Restart(errors.New("gone")))
			l.Checkpoint(1) // too late
			return nil
		}
		l.Checkpoint(record.Offset)
		return nil
	}, nil), func(w *world) {
		w.checkpoints(func(int, *pb.CheckpointEntry) (*pb.CheckpointResult, error) { return nil, refused(codes.Unavailable) })
		kept := w.errorsOf(nil)
		stream := w.ready("a", 0)
		stream.batch(0, 1, 2)
		stream.closed(byError)
		told := kept.all()[0]
		if told.Action != pb.ErrorAction_ERROR_ACTION_RESTART || told.Offset != nil || told.LastCheckpoint.GetOffset() != 0 {
			t.Errorf("told %v", told)
		}
	})
}

func TestAnErrorThatDoesNotArriveBreaksTheStream(t *testing.T) {
	play(t, lambdas(func(context.Context, *lambda, sidecar.Record) error { return errors.New("no") }, nil), func(w *world) {
		w.errorsOf(func(int) error { return refused(codes.Unavailable) })
		stream := w.ready("a", 0)
		stream.batch(0)
		stream.broken()
		select {
		case frame := <-stream.frames:
			t.Errorf("%v came", frame)
		default:
		}
	})
}

func TestProduceMakesOneCallAtATime(t *testing.T) {
	var got []sidecar.Produced
	play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		deliveries := []*sidecar.Delivery{}
		for i := range 5 {
			deliveries = append(deliveries, l.Produce(sidecar.Output{Topic: "out", Value: []byte{byte(i)}}))
			time.Sleep(time.Millisecond)
		}
		for _, delivery := range deliveries {
			produced, err := delivery.Wait(ctx)
			if err != nil {
				return err
			}
			got = append(got, produced)
		}
		l.Checkpoint(record.Offset)
		return nil
	}, nil), func(w *world) {
		checkpoints := w.checkpoints(nil)
		kept := w.produces(nil)
		w.ready("a", 0).batch(0)
		pass(time.Second)
		if kept.most != 1 {
			t.Errorf("%d calls under way at a time", kept.most)
		}
		requests := kept.all()
		if len(requests) != 2 || len(requests[0].Values) != 1 || len(requests[1].Values) != 4 {
			t.Errorf("requests: %v", requests)
		}
		if len(requests[0].Keys) != 0 || len(requests[0].NullKeys) != 0 {
			t.Error("null_keys without keys")
		}
		if len(got) != 5 || !slices.Equal(offsets(checkpoints), []int64{0}) {
			t.Errorf("produced %v, checkpoints %v", got, offsets(checkpoints))
		}
	})
}

func TestBusySendsTheSameRecordsAgain(t *testing.T) {
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		l.Produce(sidecar.Output{Topic: "out", Value: record.Value})
		return nil
	}, nil), func(w *world) {
		kept := w.produces(func(n int, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			if n == 1 {
				busy := played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_BUSY)
				busy.RetryAfterMs = 700
				return busy, nil
			}
			return played.Written(request, 0), nil
		})
		w.ready("a", 0).batch(0, 1)
		began := time.Now()
		for len(kept.all()) < 2 {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began); took < 700*time.Millisecond {
			t.Errorf("again after %s", took)
		}
		pass(time.Second)
		var values []string
		for _, request := range kept.all() {
			values = append(values, fmt.Sprintf("%s", request.Values))
		}
		if all := strings.Join(values, " "); all != "[0] [0] [1]" && all != "[0 1] [0 1]" {
			t.Errorf("sent %s", all)
		}
	})
}

func TestOneTopicThatIsNotAllowedDoesNotStopTheOthers(t *testing.T) {
	var outcomes []string
	play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		deliveries := []*sidecar.Delivery{}
		for _, topic := range []string{"first", "bad", "good", "bad", "good"} {
			deliveries = append(deliveries, l.Produce(sidecar.Output{Topic: topic, Value: []byte(topic)}))
		}
		for _, delivery := range deliveries {
			_, err := delivery.Wait(ctx)
			outcomes = append(outcomes, fmt.Sprint(err))
		}
		l.Checkpoint(record.Offset)
		return nil
	}, nil), func(w *world) {
		checkpoints := w.checkpoints(nil)
		w.produces(func(_ int, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			if slices.Contains(request.Topics, "bad") {
				return played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED), nil
			}
			return played.Written(request, 0), nil
		})
		w.ready("a", 0).batch(0)
		pass(3 * time.Second)
		bad := "not written to bad (not_allowed): the sidecar's answer is PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED"
		if want := []string{"<nil>", bad, "<nil>", bad, "<nil>"}; !slices.Equal(outcomes, want) {
			t.Errorf("outcomes %q", outcomes)
		}
		if told := offsets(checkpoints); !slices.Equal(told, []int64{0}) {
			t.Errorf("checkpoints %v: the failures were taken", told)
		}
	})
}

func TestARequestThatIsTooLargeIsHalved(t *testing.T) {
	var failed []int
	play(t, lambdas(func(ctx context.Context, l *lambda, _ sidecar.Record) error {
		deliveries := []*sidecar.Delivery{l.Produce(sidecar.Output{Topic: "out"})}
		for i := range 4 {
			deliveries = append(deliveries, l.Produce(sidecar.Output{Topic: "out", Value: make([]byte, 10+i*100)}))
		}
		deliveries = append(deliveries, l.Produce(sidecar.Output{Topic: "out", Value: make([]byte, 1<<20)}))
		for i, delivery := range deliveries {
			var produce *sidecar.ProduceError
			if _, err := delivery.Wait(ctx); errors.As(err, &produce) && produce.Kind == sidecar.ProduceTooLarge {
				failed = append(failed, i)
			}
		}
		return nil
	}, nil), func(w *world) {
		w.produces(func(_ int, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			size := 0
			for _, value := range request.Values {
				size += len(value)
			}
			if size > 300 {
				return nil, refused(codes.ResourceExhausted)
			}
			return played.Written(request, 0), nil
		})
		w.ready("a", 0).batch(0)
		pass(time.Second)
	})
	if !slices.Equal(failed, []int{4, 5}) {
		t.Errorf("too large: %v", failed)
	}
}

func TestACheckpointWaitsForTheOutcome(t *testing.T) {
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		l.Produce(sidecar.Output{Topic: "out", Value: record.Value})
		l.Checkpoint(record.Offset)
		return nil
	}, nil), func(w *world) {
		checkpoints := w.checkpoints(nil)
		release := make(chan struct{})
		w.produces(func(_ int, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			<-release
			return played.Written(request, 0), nil
		})
		stream := w.ready("a", 0)
		stream.batch(0, 1, 2)
		pass(30 * time.Second)
		if told := offsets(checkpoints); len(told) > 0 {
			t.Fatalf("checkpoints %v before any outcome", told)
		}
		close(release)
		pass(time.Second)
		if told := offsets(checkpoints); told[len(told)-1] != 2 {
			t.Errorf("checkpoints %v", told)
		}
	})
}

func TestAFailureThatNobodyTakesRestarts(t *testing.T) {
	for name, checkpoint := range map[string]bool{"held": true, "nothing held": false} {
		t.Run(name, func(t *testing.T) {
			play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
				if record.Offset == 1 {
					l.Produce(sidecar.Output{Topic: "out", Value: record.Value})
				}
				if checkpoint || record.Offset == 0 {
					l.Checkpoint(record.Offset)
				}
				return nil
			}, nil), func(w *world) {
				checkpoints, kept := w.checkpoints(nil), w.errorsOf(nil)
				w.produces(func(int, *pb.ProduceRequest) (*pb.ProduceResponse, error) { return nil, refused(codes.Unavailable) })
				stream := w.ready("a", 0)
				stream.batch(0, 1, 2, 3)
				began := time.Now()
				if last := stream.closed(byError); last != -1 {
					t.Errorf("last checkpoint %d", last)
				}
				if took := time.Since(began); checkpoint && took > 2*time.Second || took > 11*time.Second {
					t.Errorf("after %s", took)
				}
				told := kept.all()[0]
				if told.Action != pb.ErrorAction_ERROR_ACTION_RESTART || told.Code != "produce_failed" ||
					!strings.Contains(told.Message, "not written to out") || !strings.Contains(told.Message, "Unavailable") ||
					told.Type != "*sidecar.ProduceError" || told.LastCheckpoint.GetOffset() > 0 {
					t.Errorf("told %v", told)
				}
				if slices.Max(offsets(checkpoints)) > 0 {
					t.Errorf("checkpoints %v", offsets(checkpoints))
				}
			})
		})
	}
}

func TestAnOutcomeThatIsNotKnownIsNotPassedAtTheEnd(t *testing.T) {
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		l.Produce(sidecar.Output{Topic: "out", Value: record.Value})
		l.Checkpoint(record.Offset)
		return nil
	}, nil), func(w *world) {
		w.remote.OnProduce = func(ctx context.Context, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		stream := w.ready("a", 0)
		stream.batch(0)
		synctest.Wait()
		began := time.Now()
		stream.revoke(rebalance, 10*time.Second)
		if last := stream.closed(byRevoke); last != -1 {
			t.Errorf("last checkpoint %d", last)
		}
		if took := time.Since(began); took != 9*time.Second {
			t.Errorf("closed after %s: outcomes are waited for until nine tenths", took)
		}
	})
}

func TestNoHandlerIsCalledWhileMuchWaits(t *testing.T) {
	handled := 0
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		handled++
		for range 11_000 {
			l.Produce(sidecar.Output{Topic: "out", Value: record.Value})
		}
		return nil
	}, nil), func(w *world) {
		release := make(chan struct{})
		w.produces(func(_ int, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			<-release
			return played.Written(request, 0), nil
		})
		w.ready("a", 0).batch(0, 1, 2, 3)
		pass(time.Minute)
		if handled != 2 {
			t.Errorf("%d handled while 22,000 records wait", handled)
		}
		close(release)
		pass(time.Minute)
		if handled != 4 {
			t.Errorf("%d handled", handled)
		}
	})
}
